//! Signals: sets of them, the mask, and the alternate stack. Actions need libc's own way back
//! from a handler, so `sigaction` is [libc's](super::real).
#![allow(unsafe_code)]

use core::ffi::c_int;

use libc::{sigset_t, stack_t};

use super::call::set_errno;
use super::own;

own! { sigaddset sigaltstack sigemptyset sigfillset sigprocmask }

/// The signals that glibc keeps for itself.
const INTERNAL: u64 = 1 << (32 - 1) | 1 << (33 - 1);

unsafe extern "C" fn sigemptyset(set: *mut sigset_t) -> c_int {
    // SAFETY: the caller's set.
    unsafe { set.write_bytes(0, 1) };
    0
}

unsafe extern "C" fn sigfillset(set: *mut sigset_t) -> c_int {
    // SAFETY: the caller's set, which begins with the word that the kernel reads.
    unsafe {
        set.write_bytes(0xff, 1);
        set.cast::<u64>().write(!INTERNAL);
    }
    0
}

unsafe extern "C" fn sigaddset(set: *mut sigset_t, signal: c_int) -> c_int {
    if !(1..=64).contains(&signal) || INTERNAL >> (signal - 1) & 1 != 0 {
        set_errno(libc::EINVAL);
        return -1;
    }
    // SAFETY: the caller's set, which begins with the word that the kernel reads.
    unsafe { *set.cast::<u64>() |= 1 << (signal - 1) };
    0
}

unsafe extern "C" fn sigprocmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    // SAFETY: null or the caller's set.
    let word = unsafe { set.cast::<u64>().as_ref() }.map(|set| set & !INTERNAL);
    let word = word.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, word, old, size_of::<u64>()) as c_int }
}

unsafe extern "C" fn sigaltstack(stack: *const stack_t, old: *mut stack_t) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_sigaltstack, stack, old) as c_int }
}
