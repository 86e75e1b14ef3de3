//! The process and its threads: the system calls of libc's functions.
#![allow(unsafe_code)]

use core::arch::asm;
use core::ffi::{c_int, c_long, c_uint, c_void};
use core::ptr;

use libc::{pid_t, rlimit};

use super::own;

own! {
    geteuid getpid getrandom getrlimit gettid kill pause prctl pthread_self sched_getaffinity
    sched_setaffinity sched_yield setrlimit waitpid
}

/// The thread pointer, which is what glibc's and musl's are.
extern "C" fn pthread_self() -> libc::pthread_t {
    let own: libc::pthread_t;
    // SAFETY: the first word of a thread control block is its address (x86-64 psABI).
    unsafe { asm!("mov {}, fs:0", out(reg) own, options(nostack, readonly, preserves_flags)) };
    own
}

unsafe extern "C" fn sched_getaffinity(pid: pid_t, size: usize, to: *mut libc::cpu_set_t) -> c_int {
    // SAFETY: the caller's contract; the kernel returns how many bytes it wrote, and libc
    // clears the others.
    unsafe {
        let written = libc::syscall(libc::SYS_sched_getaffinity, pid, size, to);
        if written < 0 {
            return -1;
        }
        let written = written as usize;
        to.cast::<u8>().add(written).write_bytes(0, size - written);
    }
    0
}

unsafe extern "C" fn geteuid() -> libc::uid_t {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_geteuid) as libc::uid_t }
}

unsafe extern "C" fn getpid() -> pid_t {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_getpid) as pid_t }
}

unsafe extern "C" fn getrandom(to: *mut c_void, size: usize, flags: c_uint) -> isize {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_getrandom, to, size, flags) as isize }
}

unsafe extern "C" fn getrlimit(resource: c_uint, to: *mut rlimit) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, ptr::null::<rlimit>(), to) as c_int }
}

unsafe extern "C" fn gettid() -> pid_t {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_gettid) as pid_t }
}

unsafe extern "C" fn kill(pid: pid_t, signal: c_int) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_kill, pid, signal) as c_int }
}

unsafe extern "C" fn pause() -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_pause) as c_int }
}

unsafe extern "C" fn prctl(option: c_int, a: c_long, b: c_long, c: c_long, d: c_long) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_prctl, option, a, b, c, d) as c_int }
}

unsafe extern "C" fn sched_setaffinity(
    pid: pid_t,
    size: usize,
    set: *const libc::cpu_set_t,
) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_sched_setaffinity, pid, size, set) as c_int }
}

unsafe extern "C" fn sched_yield() -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_sched_yield) as c_int }
}

unsafe extern "C" fn setrlimit(resource: c_uint, limit: *const rlimit) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            limit,
            ptr::null_mut::<rlimit>(),
        ) as c_int
    }
}

unsafe extern "C" fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe {
        libc::syscall(
            libc::SYS_wait4,
            pid,
            status,
            options,
            ptr::null_mut::<c_void>(),
        ) as pid_t
    }
}
