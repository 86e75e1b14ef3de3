//! The one lock of all our code when there are several processors.
//!
//! Guests run their own code in parallel; the library's code runs on one processor at a
//! time, so that everything it keeps (run queue, timers, descriptors, masks, records) is
//! as with one. Where a processor sleeps in the kernel it does not hold it.
//!
//! With one processor nobody takes it. After a [`rescue`](super::rescue) of the only one its
//! holder keeps it in its guests' own code too.
//!
//! # Synchronization
//! The word is 0 (free), 1 (held) or 2 (held, and somebody may sleep). Its holder is a
//! processor, not a guest: a switch within our code hands it on with the processor. The
//! handler of signals takes it where it interrupted a guest's own code, never in ours.
#![allow(unsafe_code)]

use core::hint;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::arch::{syscall2, syscall3, syscall4};
use crate::raw;

const WAIT: u64 = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as u64;
const WAKE: u64 = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64;

/// Looks before a waiter sleeps: our code mostly takes a microsecond or two.
const LOOKS: u32 = 200;

/// A mutual exclusion that spins for a moment and then sleeps in the kernel.
#[derive(Debug)]
pub(super) struct Giant {
    word: AtomicU32,
    /// Who sleeps for it, or is about to.
    waiters: AtomicU32,
}

/// See the file's first lines.
pub(super) static GIANT: Giant = Giant::new();

impl Giant {
    const fn new() -> Self {
        Giant {
            word: AtomicU32::new(0),
            waiters: AtomicU32::new(0),
        }
    }

    /// Takes it. The caller does not hold it.
    #[inline]
    pub(super) fn lock(&self) {
        if self
            .word
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            self.wait();
        }
    }

    #[cold]
    fn wait(&self) {
        for _ in 0..LOOKS {
            hint::spin_loop();
            if self.word.load(Ordering::Relaxed) == 0
                && self
                    .word
                    .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return;
            }
        }
        self.waiters.fetch_add(1, Ordering::Relaxed);
        while self.word.swap(2, Ordering::Acquire) != 0 {
            // SAFETY: a wait needs a valid address only.
            unsafe { syscall4(libc::SYS_futex, self.word.as_ptr() as u64, WAIT, 2, 0) };
        }
        self.waiters.fetch_sub(1, Ordering::Relaxed);
    }

    /// Gives it back: the caller holds it.
    #[inline]
    pub(super) fn unlock(&self) {
        if self.word.swap(0, Ordering::Release) == 2 {
            // SAFETY: a wake needs a valid address only.
            unsafe { syscall3(libc::SYS_futex, self.word.as_ptr() as u64, WAKE, 1) };
        }
    }

    /// Whether somebody sleeps until it is given back.
    #[inline]
    pub(super) fn is_contended(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) != 0
    }

    /// Gives it to one who waits for it, and takes it again after that one. The caller holds it.
    pub(super) fn hand_on(&self) {
        /// How long the one that was woken may take to get a CPU: looks, and nanoseconds
        /// between two.
        const TURNS: u32 = 50;
        const NAP: u64 = 20_000;
        self.unlock();
        for _ in 0..TURNS {
            if self.word.load(Ordering::Relaxed) != 0 {
                break;
            }
            let nap = raw::ns_timespec(NAP);
            // SAFETY: a time span of ours.
            unsafe { syscall2(libc::SYS_nanosleep, &raw const nap as u64, 0) };
        }
        self.lock();
    }

    /// Sets whether the only processor there is holds it: when there begin to be several,
    /// and in a forked child.
    pub(super) fn set_held(&self, held: bool) {
        self.word.store(held as u32, Ordering::SeqCst);
        self.waiters.store(0, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::UnsafeCell;

    struct Shared {
        lock: Giant,
        value: UnsafeCell<u64>,
    }

    // SAFETY: `value` is touched by the holder of `lock` alone.
    unsafe impl Sync for Shared {}

    #[test]
    fn one_holder_at_a_time() {
        let shared = Shared {
            lock: Giant::new(),
            value: UnsafeCell::new(0),
        };
        let add = |shared: &Shared| {
            for _ in 0..50_000 {
                shared.lock.lock();
                // SAFETY: the lock is held.
                unsafe { *shared.value.get() += 1 };
                shared.lock.unlock();
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| add(&shared));
            }
        });
        assert_eq!(shared.value.into_inner(), 200_000);
        assert_eq!(shared.lock.word.load(Ordering::Relaxed), 0);
    }
}
