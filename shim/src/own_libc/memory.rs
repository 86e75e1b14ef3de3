//! Mappings: the system calls of libc's functions.
#![allow(unsafe_code)]

use core::ffi::{c_int, c_void};

use super::call::pointer;
use super::own;

own! { madvise mmap mmap64 mprotect munmap }

unsafe extern "C" fn mmap(
    at: *mut c_void,
    size: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: libc::off_t,
) -> *mut c_void {
    // SAFETY: the caller's contract, which is that of the system call. -1 is MAP_FAILED.
    pointer(unsafe { libc::syscall(libc::SYS_mmap, at, size, protection, flags, fd, offset) })
}

unsafe extern "C" fn mmap64(
    at: *mut c_void,
    size: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: libc::off64_t,
) -> *mut c_void {
    // SAFETY: the caller's contract.
    unsafe { mmap(at, size, protection, flags, fd, offset) }
}

unsafe extern "C" fn madvise(at: *mut c_void, size: usize, advice: c_int) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_madvise, at, size, advice) as c_int }
}

unsafe extern "C" fn mprotect(at: *mut c_void, size: usize, protection: c_int) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_mprotect, at, size, protection) as c_int }
}

unsafe extern "C" fn munmap(at: *mut c_void, size: usize) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_munmap, at, size) as c_int }
}
