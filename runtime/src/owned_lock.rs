//! A mutual exclusion that knows its holder, so that a signal handler which interrupted the
//! holder is told so instead of waiting for itself.
//!
//! It is neither libc's nor std's: theirs can be held before they tell by whom. It is for
//! stretches of some instructions. How it sleeps is its user's choice: in the kernel, where
//! no holder is ever switched out; or through libc, whose call is a site, so that a guest
//! parks, where the holder may be a guest that was preempted.
//!
//! # Synchronization
//! `holder` is the address of the holder's TCB, or 0: one exchange takes the lock and says
//! who has it. A thread that finds its own address there is a handler that interrupted the
//! holder; any other value is some other thread's, however old. Who has to wait is counted in
//! `waiting` first, reads `wakes`, looks at `holder` again and only then sleeps on `wakes`;
//! who lets go empties `holder` before it looks at `waiting`. So one of the two sees the
//! other.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::arch::{syscall3, syscall4};

const WAIT: u64 = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as u64;
const WAKE: u64 = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64;

/// The lock is held by the code that the calling signal handler interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reentered;

impl core::fmt::Display for Reentered {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a signal handler used the object that the code it interrupted is changing")
    }
}

impl std::error::Error for Reentered {}

/// How threads sleep until they get a lock: all that use it in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sleep {
    /// In the kernel.
    Kernel,
    /// Through libc.
    Libc,
}

impl Sleep {
    fn wait(self, word: &AtomicU32, value: u32) {
        let (at, none) = (word.as_ptr(), core::ptr::null::<libc::timespec>());
        // SAFETY: a wait needs a valid address only.
        unsafe {
            match self {
                Sleep::Kernel => drop(syscall4(
                    libc::SYS_futex,
                    at as u64,
                    WAIT,
                    value as u64,
                    none as u64,
                )),
                Sleep::Libc => drop(libc::syscall(libc::SYS_futex, at, WAIT, value, none)),
            }
        }
    }

    fn wake(self, word: &AtomicU32) {
        let at = word.as_ptr();
        // SAFETY: a wake needs a valid address only.
        unsafe {
            match self {
                Sleep::Kernel => drop(syscall3(libc::SYS_futex, at as u64, WAKE, 1)),
                Sleep::Libc => drop(libc::syscall(libc::SYS_futex, at, WAKE, 1)),
            }
        }
    }
}

/// The lock.
#[derive(Debug, Default)]
pub struct OwnedLock {
    holder: AtomicUsize,
    waiting: AtomicU32,
    wakes: AtomicU32,
}

impl OwnedLock {
    /// A lock that nobody has.
    pub const fn new() -> Self {
        OwnedLock {
            holder: AtomicUsize::new(0),
            waiting: AtomicU32::new(0),
            wakes: AtomicU32::new(0),
        }
    }

    /// Takes it, waiting for it if another thread has it. Any thread, also in a signal
    /// handler.
    ///
    /// # Errors
    /// [`Reentered`].
    #[inline]
    pub fn lock(&self, sleep: Sleep) -> Result<(), Reentered> {
        let own = own_address();
        match self.take(own) {
            Ok(()) => Ok(()),
            Err(holder) if holder == own => Err(Reentered),
            Err(_) => {
                self.wait(own, sleep);
                Ok(())
            }
        }
    }

    /// Takes it if nobody has it; else who has.
    fn take(&self, own: usize) -> Result<(), usize> {
        let taken = self
            .holder
            .compare_exchange(0, own, Ordering::SeqCst, Ordering::Relaxed);
        taken.map(drop)
    }

    #[cold]
    fn wait(&self, own: usize, sleep: Sleep) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        loop {
            let wakes = self.wakes.load(Ordering::SeqCst);
            if self.take(own).is_ok() {
                break;
            }
            sleep.wait(&self.wakes, wakes);
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    /// Gives it back: the caller took it.
    #[inline]
    pub fn unlock(&self, sleep: Sleep) {
        self.holder.swap(0, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) != 0 {
            self.wake(sleep);
        }
    }

    /// Forgets who waits, in a forked child: they are in the parent.
    pub fn forget_waiting(&self) {
        self.waiting.store(0, Ordering::SeqCst);
    }

    #[cold]
    fn wake(&self, sleep: Sleep) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        sleep.wake(&self.wakes);
    }
}

/// Tells threads apart while they live.
fn own_address() -> usize {
    // SAFETY: no preconditions; signal-safe.
    unsafe { libc::pthread_self() as usize }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::UnsafeCell;

    struct Shared {
        lock: OwnedLock,
        value: UnsafeCell<u64>,
    }

    // SAFETY: `value` is touched by the holder of `lock` alone.
    unsafe impl Sync for Shared {}

    #[test]
    fn one_holder_at_a_time() {
        for sleep in [Sleep::Kernel, Sleep::Libc] {
            one_holder(sleep);
        }
    }

    fn one_holder(sleep: Sleep) {
        let shared = Shared {
            lock: OwnedLock::new(),
            value: UnsafeCell::new(0),
        };
        let add = |shared: &Shared| {
            for _ in 0..20_000 {
                shared.lock.lock(sleep).unwrap();
                // SAFETY: the lock is held.
                unsafe { *shared.value.get() += 1 };
                shared.lock.unlock(sleep);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| add(&shared));
            }
        });
        assert_eq!(shared.value.into_inner(), 80_000);
        assert_eq!(shared.lock.holder.load(Ordering::Relaxed), 0);
        assert_eq!(shared.lock.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_holder_is_told() {
        let lock = OwnedLock::new();
        assert_eq!(lock.lock(Sleep::Kernel), Ok(()));
        assert_eq!(lock.lock(Sleep::Kernel), Err(Reentered));
        lock.unlock(Sleep::Kernel);
        assert_eq!(lock.lock(Sleep::Kernel), Ok(()));
    }
}
