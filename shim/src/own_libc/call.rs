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
use gevent_runtime::host::POOL_WORD;

/// Where [`syscall`](libc::syscall) leads.
static TARGET: AtomicPtr<c_void> = AtomicPtr::new(raw_syscall as *mut c_void);

global_asm!(
    ".text",
    ".hidden gevent_shim_own_syscall",
    ".globl gevent_shim_own_syscall",
    ".type gevent_shim_own_syscall,@function",
    "gevent_shim_own_syscall:",
    "cmp qword ptr [rip + {refuses}], 0",
    "jne {asking_syscall}",
    "jmp qword ptr [rip + {target}]",
    refuses = sym arch::REFUSES,
    asking_syscall = sym asking_syscall,
    target = sym TARGET,
);

/// `syscall` where the program, or who started it, has filters of system calls: such a call is
/// made if they let it pass.
///
/// # Safety
/// As the call's.
unsafe extern "C" fn asking_syscall(
    number: c_long,
    a: u64,
    b: u64,
    c: u64,
    d: u64,
    e: u64,
    f: u64,
) -> c_long {
    // Elsewhere what the call leads to asks, and knows what else to do.
    let here = matches!(arch::current_word(), 0 | POOL_WORD);
    if here && arch::is_refused(number as u64, &[a, b, c, d, e, f]) {
        set_errno(libc::EPERM);
        return -1;
    }
    // SAFETY: the caller's contract; what is stored there is a function of this type.
    unsafe {
        let target = core::mem::transmute::<*mut c_void, Syscall>(TARGET.load(Ordering::Relaxed));
        target(number, a, b, c, d, e, f)
    }
}

/// `syscall` for a call of the program's own, which is to have the kernel's answer.
///
/// # Safety
/// As the call's.
pub(crate) unsafe fn syscall_of_program(number: c_long, a: u64, b: u64) -> c_long {
    let target = TARGET.load(Ordering::Relaxed);
    // SAFETY: the caller's contract. The call takes no more arguments. In a program that links
    // the crate, the name is libc's.
    unsafe {
        if ptr::eq(target, raw_syscall as *const c_void) {
            libc::syscall(number, a, b)
        } else {
            core::mem::transmute::<*mut c_void, Syscall>(target)(number, a, b, 0, 0, 0, 0)
        }
    }
}

/// syscall(2), with as many arguments as there may be.
type Syscall = unsafe extern "C" fn(c_long, u64, u64, u64, u64, u64, u64) -> c_long;

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
