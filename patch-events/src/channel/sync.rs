//! The atomics the ring stands on, in one place so that its interleaving tests can
//! put loom's in their stead.
#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

pub(super) use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A value that its owner of the moment writes or reads.
#[derive(Debug)]
pub(super) struct Value<T>(UnsafeCell<MaybeUninit<T>>);

impl<T> Default for Value<T> {
    fn default() -> Self {
        Value(UnsafeCell::new(MaybeUninit::uninit()))
    }
}

impl<T> Value<T> {
    /// # Safety
    /// Nobody else may use the value now.
    pub(super) unsafe fn write(&self, value: T) {
        // SAFETY: the caller's contract.
        unsafe { (*self.0.get()).write(value) };
    }
}

impl<T: Copy> Value<T> {
    /// # Safety
    /// It must have been written, and nobody may write it now.
    pub(super) unsafe fn read(&self) -> T {
        // SAFETY: the caller's contract.
        unsafe { (*self.0.get()).assume_init() }
    }
}
