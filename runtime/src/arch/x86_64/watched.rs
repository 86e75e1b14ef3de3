//! A system call that a signal always ends, whatever the handler's flags and however
//! close before the call it comes.
#![allow(unsafe_code)]

use core::arch::{asm, naked_asm};

/// Whether this is the call's instruction: it is about to begin, or to begin again.
pub(super) fn is_at(ip: u64) -> bool {
    ip == call as *const () as u64
}

/// Where to go on instead.
pub(super) fn ended() -> u64 {
    interrupted as *const () as u64
}

#[unsafe(naked)]
unsafe extern "C" fn call() {
    naked_asm!("syscall", "ret")
}

#[unsafe(naked)]
unsafe extern "C" fn interrupted() {
    naked_asm!("mov rax, -{eintr}", "ret", eintr = const libc::EINTR)
}

/// Runs system call `nr` as [`syscall`](fn@super::syscall) does; -EINTR if a signal came
/// before it had done anything.
///
/// # Safety
/// As [`syscall`](fn@super::syscall).
pub unsafe fn watched_syscall(nr: u64, a: [u64; 6]) -> i64 {
    let ret: i64;
    // SAFETY: the kernel keeps every register but rax, rcx and r11; the caller answers
    // for the arguments.
    unsafe {
        asm!(
            "call {f}",
            f = sym call,
            inlateout("rax") nr as i64 => ret,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _,
        );
    }
    ret
}
