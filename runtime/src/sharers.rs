//! Kernel threads on the TCB of a guest.
//!
//! clone(2) with CLONE_VM and without CLONE_SETTLS makes a thread, or a process, that shares
//! its maker's thread-local storage, and so the word that says whose calls are made there.
//! With CLONE_VFORK its maker sleeps meanwhile (see
//! [`Processor::shared_child`](crate::hub::Processor::shared_child)). Without, both go on, and
//! nothing but the kernel's id of the caller tells them apart.
//!
//! From the first such thread on every call asks for that id. What they call is the kernel's,
//! as for other [foreign threads](crate::foreign).
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicBool, Ordering};

use crate::arch::syscall0;
use crate::hub::processor;

static ANY: AtomicBool = AtomicBool::new(false);

/// Whether there has been one.
#[inline(always)]
pub fn any() -> bool {
    ANY.load(Ordering::Relaxed)
}

/// A guest is about to make one.
pub fn begin() {
    ANY.store(true, Ordering::Relaxed);
}

/// In a forked child, which has none.
pub fn reset_after_fork() {
    ANY.store(false, Ordering::Relaxed);
}

/// Whether the caller, on the TCB of a guest, is one. Async-signal-safe.
pub fn is_one() -> bool {
    if !any() {
        return false;
    }
    // SAFETY: no arguments.
    let tid = unsafe { syscall0(libc::SYS_gettid) } as i32;
    // A guest may be moved between two looks, but runs on one of them.
    processor::each()
        .iter()
        .all(|processor| processor.kernel_tid() != tid)
}
