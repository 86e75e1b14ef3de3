//! The lock and the parker that the primitives stand on, in one place so that the
//! interleaving tests can put loom's in their stead.
#![allow(unsafe_code)]

pub(super) use std::sync::Arc;
pub(super) use std::sync::atomic::{AtomicU32, Ordering};

use std::ops::{Deref, DerefMut};
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::raw;

use super::section::Section;

/// A mutex that is held for some instructions and never while its holder waits.
///
/// # Synchronization
/// `owner` is the address of the holder's TCB, written under the mutex. A thread that
/// finds its own address there is a signal handler that interrupted the holder: it
/// would wait for itself. Any other value is some other thread's, however old.
#[derive(Debug, Default)]
pub(super) struct Lock<T> {
    owner: AtomicUsize,
    value: Mutex<T>,
}

/// The lock is held by the code that this signal handler interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reentered;

impl<T> Lock<T> {
    pub(super) const fn new(value: T) -> Self {
        Lock {
            owner: AtomicUsize::new(0),
            value: Mutex::new(value),
        }
    }

    /// Waits for the lock.
    ///
    /// # Panics
    /// In a signal handler that interrupted the holder.
    pub(super) fn lock(&self) -> Guard<'_, T> {
        match self.try_enter() {
            Ok(guard) => guard,
            Err(Reentered) => {
                panic!("a signal handler used the object that the code it interrupted is changing")
            }
        }
    }

    /// Waits for the lock, unless that would be for ever.
    pub(super) fn try_enter(&self) -> Result<Guard<'_, T>, Reentered> {
        let own = own_address();
        if self.owner.load(Ordering::Relaxed) == own {
            return Err(Reentered);
        }
        let section = Section::enter();
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        self.owner.store(own, Ordering::Relaxed);
        Ok(Guard {
            owner: &self.owner,
            value,
            _section: section,
        })
    }
}

/// The lock, held.
pub(super) struct Guard<'a, T> {
    owner: &'a AtomicUsize,
    value: MutexGuard<'a, T>,
    /// Left last.
    _section: Section,
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.owner.store(0, Ordering::Relaxed);
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// Tells threads apart while they live.
fn own_address() -> usize {
    // SAFETY: no preconditions; signal-safe.
    unsafe { libc::pthread_self() as usize }
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
