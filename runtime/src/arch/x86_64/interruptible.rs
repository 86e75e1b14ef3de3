//! A system call on a thread of ours that another thread can end.
//!
//! A signal ends a call that waits; but one that comes just before the call is made
//! would be lost. So the request to end it is a flag that is looked at right before,
//! and the signal's handler sends a thread that is past that look, but not in the
//! kernel yet, to the end.
#![allow(unsafe_code)]

use core::arch::naked_asm;
use core::sync::atomic::AtomicU32;

use crate::raw;

/// Makes call `nr` unless `ended` is set before; a signal that finds `ended` set ends
/// the call. `-EINTR` in both cases.
///
/// # Safety
/// As [`syscall`](super::syscall()).
pub unsafe fn interruptible_syscall(ended: &AtomicU32, nr: u64, args: &[u64; 6]) -> i64 {
    // SAFETY: the caller's contract; the flag and the arguments outlive the call.
    unsafe { call(ended.as_ptr(), nr, args.as_ptr()) }
}

/// rdi, rsi, rdx: the flag, the number, the arguments. rbx holds the flag's address
/// during the call, because the kernel keeps it (rcx and r11 it does not).
#[unsafe(naked)]
unsafe extern "C" fn call(ended: *mut u32, nr: u64, args: *const u64) -> i64 {
    naked_asm!(
        "push rbx",
        "mov rbx, rdi",
        "mov rax, rsi",
        "mov r11, rdx",
        "mov rdi, [r11]",
        "mov rsi, [r11 + 8]",
        "mov rdx, [r11 + 16]",
        "mov r10, [r11 + 24]",
        "mov r8, [r11 + 32]",
        "mov r9, [r11 + 40]",
        "jmp {look}",
        look = sym look,
    )
}

/// From here to the `syscall` a signal sends the thread to [`ended`].
#[unsafe(naked)]
unsafe extern "C" fn look() {
    naked_asm!(
        "cmp dword ptr [rbx], 0",
        "jne {ended}",
        "syscall",
        "pop rbx",
        "ret",
        ended = sym ended,
    )
}

#[unsafe(naked)]
unsafe extern "C" fn ended() {
    naked_asm!("mov rax, {eintr}", "pop rbx", "ret", eintr = const raw::err(libc::EINTR))
}

/// Bytes from `look` to its `syscall`: a compare (3) and a near jump to another section
/// (6).
const LOOK_LEN: u64 = 9;

/// Whether a thread at `ip`, with `rbx`, is about to make a call that is to end.
pub(super) fn is_to_end(ip: u64, rbx: u64) -> bool {
    let from = look as *const () as u64;
    // SAFETY: in this range rbx points to the flag of the call's caller.
    (from..=from + LOOK_LEN).contains(&ip) && unsafe { *(rbx as *const u32) } != 0
}

/// Where such a thread goes on.
pub(super) fn end_address() -> u64 {
    ended as *const () as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instruction_looked_up_to_is_the_system_call() {
        // SAFETY: code of this process is readable.
        let code = unsafe { core::slice::from_raw_parts((look as *const u8).add(9), 2) };
        assert_eq!(code, [0x0f, 0x05]);
        assert_eq!(LOOK_LEN, 9);
    }

    #[test]
    fn a_call_is_made_unless_it_was_ended_before() {
        let ended = AtomicU32::new(0);
        // SAFETY: no arguments.
        let pid = unsafe { interruptible_syscall(&ended, libc::SYS_getpid as u64, &[0; 6]) };
        assert_eq!(pid, std::process::id() as i64);
        let ended = AtomicU32::new(1);
        // SAFETY: as above.
        let none = unsafe { interruptible_syscall(&ended, libc::SYS_getpid as u64, &[0; 6]) };
        assert_eq!(none, raw::err(libc::EINTR));
    }
}
