//! The word that a baton is, in one place so that the interleaving tests can put loom's in its
//! stead.
#![allow(unsafe_code)]

pub(super) use core::sync::atomic::{AtomicU32, Ordering};

use crate::arch::{syscall3, syscall4};

const WAIT: u64 = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as u64;
const WAKE: u64 = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64;

/// Sleeps while the word has that value, or less long.
pub(super) fn sleep(word: &AtomicU32, value: u32) {
    let (at, value) = (word.as_ptr() as u64, value.into());
    // SAFETY: a word of ours.
    unsafe { syscall4(libc::SYS_futex, at, WAIT, value, 0) };
}

/// Wakes who sleeps so.
pub(super) fn wake(word: &AtomicU32) {
    // SAFETY: a wake needs a valid address only.
    unsafe { syscall3(libc::SYS_futex, word.as_ptr() as u64, WAKE, 1) };
}
