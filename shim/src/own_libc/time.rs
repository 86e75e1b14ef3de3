//! Time, as the kernel counts it.
#![allow(unsafe_code)]

use core::arch::global_asm;
use core::ffi::c_int;

use gevent_runtime::vdso;
use libc::{clockid_t, timespec};

use super::call::{errno, set_errno};
use super::own;

own! { clock_nanosleep }

// The library exports a function of that name: the linker's --wrap tells the two apart.
global_asm!(
    ".text",
    ".hidden __wrap_clock_gettime",
    ".globl __wrap_clock_gettime",
    ".type __wrap_clock_gettime,@function",
    "__wrap_clock_gettime:",
    "jmp {clock_gettime}",
    clock_gettime = sym clock_gettime,
);

unsafe extern "C" fn clock_gettime(clock: clockid_t, to: *mut timespec) -> c_int {
    // SAFETY: the caller's place.
    match vdso::clock_gettime(clock, unsafe { &mut *to }) {
        0 => 0,
        error => {
            set_errno(-error as c_int);
            -1
        }
    }
}

unsafe extern "C" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    time: *const timespec,
    left: *mut timespec,
) -> c_int {
    let before = errno();
    // SAFETY: the caller's contract, which is that of the system call.
    if unsafe { libc::syscall(libc::SYS_clock_nanosleep, clock, flags, time, left) } == 0 {
        return 0;
    }
    let error = errno();
    set_errno(before);
    error
}
