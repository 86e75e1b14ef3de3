//! A lock that can be tried for a time, in any mode and across a fork.
//!
//! std's would be in an unknown state in a forked child, and its slow path is for
//! host mode. Waiting is rare here: those who listen are given events by one thread,
//! and others come at exit and at fork.
#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use rustix::thread::{NanosleepRelativeResult, Timespec, nanosleep};

use crate::event::now;

/// Synchronization: who turned `taken` from false to true owns the value until the
/// store that turns it back, which releases what was done.
#[derive(Debug)]
pub(crate) struct Gate<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: see Synchronization.
unsafe impl<T: Send> Sync for Gate<T> {}

/// Nanoseconds between two tries.
const NAP: i64 = 50_000;

impl<T> Gate<T> {
    pub(crate) const fn new(value: T) -> Self {
        Gate {
            taken: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Takes the lock, or gives up after `patience` nanoseconds. Allocates nothing and
    /// calls no libc function, so it may be used in guest mode.
    pub(crate) fn take(&self, patience: u64) -> bool {
        let mut since = None;
        while self.taken.swap(true, Ordering::Acquire) {
            let now = now();
            if now - *since.get_or_insert(now) > patience {
                return false;
            }
            let _: NanosleepRelativeResult = nanosleep(&Timespec {
                tv_sec: 0,
                tv_nsec: NAP,
            });
        }
        true
    }

    /// Gives it back.
    pub(crate) fn give(&self) {
        self.taken.store(false, Ordering::Release);
    }

    /// The value, for who holds the lock.
    ///
    /// # Safety
    /// The caller must hold the lock and use no other reference to the value.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn value(&self) -> &mut T {
        // SAFETY: the caller's contract.
        unsafe { &mut *self.value.get() }
    }

    /// Runs `f` with the value. `None`: the lock could not be had in time.
    pub(crate) fn with<R>(&self, patience: u64, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        struct Back<'a, T>(&'a Gate<T>);
        impl<T> Drop for Back<'_, T> {
            fn drop(&mut self) {
                self.0.give();
            }
        }
        if !self.take(patience) {
            return None;
        }
        let back = Back(self);
        // SAFETY: ours until `back` is dropped.
        let result = f(unsafe { &mut *self.value.get() });
        drop(back);
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_patience_ends() {
        static GATE: Gate<u32> = Gate::new(0);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    for _ in 0..1000 {
                        GATE.with(u64::MAX, |n| *n += 1).unwrap();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(GATE.with(0, |n| *n), Some(4000));
        let nested = GATE.with(0, |_| GATE.with(1_000_000, |_| ()));
        assert_eq!(nested, Some(None));
    }
}
