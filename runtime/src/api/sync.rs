//! The lock and the parker that the primitives stand on, in one place so that the
//! interleaving tests can put loom's in their stead.
#![allow(unsafe_code)]

pub(super) use std::sync::Arc;
pub(super) use std::sync::atomic::{AtomicU32, Ordering};

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::owned_lock::{OwnedLock, Sleep};
use crate::raw;

use super::section::Section;

/// A mutex that is held for some instructions and never while its holder waits.
///
/// # Synchronization
/// That of [`owned_lock`](crate::owned_lock).
#[derive(Default)]
pub(super) struct Lock<T> {
    lock: OwnedLock,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by the lock's holder alone, one thread at a time.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

impl<T> Lock<T> {
    pub(super) const fn new(value: T) -> Self {
        Lock {
            lock: OwnedLock::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits for the lock.
    ///
    /// # Panics
    /// With [`Reentered`](crate::owned_lock::Reentered), in a signal handler that interrupted
    /// the holder, and in code of the program's that the holder calls. Nothing is printed:
    /// in a handler nothing may be.
    pub(super) fn lock(&self) -> Guard<'_, T> {
        let section = Section::enter();
        if let Err(reentered) = self.lock.lock(Sleep::Libc) {
            drop(section);
            std::panic::resume_unwind(Box::new(reentered));
        }
        Guard {
            lock: self,
            _section: section,
        }
    }
}

/// The lock, held.
pub(super) struct Guard<'a, T> {
    lock: &'a Lock<T>,
    /// Left last.
    _section: Section,
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.lock.lock.unlock(Sleep::Libc);
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held, and the guard is borrowed alone.
        unsafe { &mut *self.lock.value.get() }
    }
}

/// CLOCK_MONOTONIC in nanoseconds.
pub(super) fn now() -> u64 {
    raw::now()
}

/// Wakes one thread, its owner. A wake that finds the owner awake makes its next
/// [`park`](Parker::park) return at once.
#[derive(Debug, Default)]
pub(super) struct Parker {
    /// 1: woken since the last `park`.
    token: AtomicU32,
}

impl Parker {
    /// Sleeps until woken or until `deadline`, in nanoseconds of CLOCK_MONOTONIC. May
    /// return for no reason. The wait goes through libc's `syscall`, which is a site:
    /// a guest parks, another thread sleeps on the futex table or in the kernel.
    pub(super) fn park(&self, deadline: Option<u64>) {
        if self.token.swap(0, Ordering::Acquire) == 1 {
            return;
        }
        let until = deadline.map(raw::ns_timespec);
        let until = until
            .as_ref()
            .map_or(std::ptr::null(), |until| until as *const libc::timespec);
        // SAFETY: a word and a time of ours. Every outcome is looked at by the caller,
        // who asks for the state it waits for and for the time.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.token.as_ptr(),
                libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG,
                0,
                until,
                std::ptr::null::<u32>(),
                !0u32,
            );
        }
        self.token.swap(0, Ordering::Acquire);
    }

    /// Wakes the owner.
    pub(super) fn unpark(&self) {
        if self.token.swap(1, Ordering::Release) == 0 {
            // SAFETY: a wake needs a valid address only.
            unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    self.token.as_ptr(),
                    libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
                    1,
                );
            }
        }
    }
}
