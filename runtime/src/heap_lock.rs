//! The lock of the library's own heap.
//!
//! It is not one of libc's or std's: fork must hold it while the child is made, or the
//! child may find the heap as a thread of the pool has just left it. Around the call
//! itself only, in our code, where the guest that forks is not switched out: a handler
//! of `pthread_atfork` would keep it while other guests run, and the monitor, which
//! allocates, would wait for a guest that only the monitor can make room for.
//!
//! # Synchronization
//! The word is 0 (free), 1 (held) or 2 (held, and somebody may sleep). Who holds it is
//! host code, a thread of ours, or a fork; none of them waits for a guest meanwhile.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering};

use crate::arch::{syscall3, syscall4};

const WAIT: u64 = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as u64;
const WAKE: u64 = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64;

/// A mutual exclusion that sleeps in the kernel.
#[derive(Debug)]
pub struct HeapLock(AtomicU32);

/// The heap's.
pub static HEAP: HeapLock = HeapLock::new();

impl HeapLock {
    const fn new() -> Self {
        HeapLock(AtomicU32::new(0))
    }

    /// Takes it. Not for signal handlers.
    pub fn lock(&self) {
        if self
            .0
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
        {
            return;
        }
        while self.0.swap(2, Ordering::Acquire) != 0 {
            // SAFETY: a wait needs a valid address only.
            unsafe { syscall4(libc::SYS_futex, self.0.as_ptr() as u64, WAIT, 2, 0) };
        }
    }

    /// Gives it back: the caller holds it.
    pub fn unlock(&self) {
        if self.0.swap(0, Ordering::Release) == 2 {
            // SAFETY: a wake needs a valid address only.
            unsafe { syscall3(libc::SYS_futex, self.0.as_ptr() as u64, WAKE, 1) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::UnsafeCell;

    struct Shared {
        lock: HeapLock,
        value: UnsafeCell<u64>,
    }

    // SAFETY: `value` is touched by the holder of `lock` alone.
    unsafe impl Sync for Shared {}

    #[test]
    fn one_holder_at_a_time() {
        let shared = Shared {
            lock: HeapLock::new(),
            value: UnsafeCell::new(0),
        };
        let add = |shared: &Shared| {
            for _ in 0..20_000 {
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
        assert_eq!(shared.value.into_inner(), 80_000);
        assert_eq!(shared.lock.0.load(Ordering::Relaxed), 0);
    }
}
