//! `syscall(2)` and `errno`.
//!
//! The call is libc's own `syscall`, past interposers, once that is known: its site is
//! patched like any other, so a guest that waits in this library's interface parks. Before,
//! and where the libc is an unknown one, the kernel is asked from here.
#![allow(unsafe_code)]

use core::arch::global_asm;
use core::ffi::{c_int, c_long, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use gevent_runtime::arch;

/// Where [`syscall`](libc::syscall) leads.
static TARGET: AtomicPtr<c_void> = AtomicPtr::new(raw_syscall as *mut c_void);

global_asm!(
    ".text",
    ".hidden gevent_shim_own_syscall",
    ".globl gevent_shim_own_syscall",
    ".type gevent_shim_own_syscall,@function",
    "gevent_shim_own_syscall:",
    "jmp qword ptr [rip + {target}]",
    target = sym TARGET,
);

/// From here on the calls are made by libc's function at this address.
///
/// # Safety
/// It must be libc's `syscall`.
pub(super) unsafe fn lead_to(libc_syscall: *mut c_void) {
    TARGET.store(libc_syscall, Ordering::Relaxed);
}

/// # Safety
/// As the call's.
unsafe extern "C" fn raw_syscall(
    number: c_long,
    a: u64,
    b: u64,
    c: u64,
    d: u64,
    e: u64,
    f: u64,
) -> c_long {
    // SAFETY: the caller's contract. Arguments that were not passed are ignored.
    let ret = unsafe { arch::syscall(number as u64, [a, b, c, d, e, f]) };
    if (-4095..0).contains(&ret) {
        set_errno(-ret as c_int);
        return -1;
    }
    ret
}

pub(super) fn set_errno(error: c_int) {
    // SAFETY: libc's variable of this thread.
    unsafe { *libc::__errno_location() = error };
}

pub(super) fn errno() -> c_int {
    // SAFETY: libc's variable of this thread.
    unsafe { *libc::__errno_location() }
}

/// What a function that returns a pointer returns for the result of a call.
pub(super) fn pointer(result: c_long) -> *mut c_void {
    ptr::with_exposed_provenance_mut(result as usize)
}
