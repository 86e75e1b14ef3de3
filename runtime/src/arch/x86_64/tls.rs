//! Two words in every thread's own TLS: who runs on this TCB, and on which processor of
//! ours.
//!
//! They are one initial-exec variable: reading it is two instructions, needs no
//! allocation and no call to `__tls_get_addr`, and every TCB that libc makes has
//! them, zeroed, at the same distance from its FS base. Rust's `thread_local!`
//! gives none of that in a cdylib, so the variable is declared in assembly.
#![allow(unsafe_code)]

use core::arch::{asm, global_asm};

global_asm!(
    ".section .tbss,\"awT\",@nobits",
    ".p2align 3",
    ".hidden gevent_shim_current",
    ".globl gevent_shim_current",
    ".type gevent_shim_current,@object",
    ".size gevent_shim_current,16",
    "gevent_shim_current:",
    ".zero 16",
    ".text",
);

/// Distance of the word from the FS base (negative).
#[inline(always)]
fn offset() -> i64 {
    let off: i64;
    // SAFETY: reads the GOT entry that the dynamic linker filled.
    unsafe {
        asm!(
            "mov {}, qword ptr [rip + gevent_shim_current@GOTTPOFF]",
            out(reg) off,
            options(nostack, readonly, preserves_flags),
        );
    }
    off
}

/// How many bytes before the thread pointer the words begin.
pub fn word_distance() -> usize {
    offset().unsigned_abs() as usize
}

/// The word of the TCB the CPU is on now.
///
/// Not inlined: callers may be on another TCB after a switch, and a compiler
/// that saw the read could keep its value.
#[inline(never)]
pub fn current_word() -> usize {
    let word: usize;
    // SAFETY: fs:[offset] is in the static TLS block of every TCB of libc.
    unsafe {
        asm!(
            "mov {0}, qword ptr fs:[{0}]",
            inlateout(reg) offset() => word,
            options(nostack, readonly, preserves_flags),
        );
    }
    word
}

/// Sets the word of the TCB the CPU is on now.
#[inline(never)]
pub fn set_current_word(word: usize) {
    // SAFETY: as in `current_word`; the word is ours alone.
    unsafe {
        asm!(
            "mov qword ptr fs:[{0}], {1}",
            in(reg) offset(), in(reg) word,
            options(nostack, preserves_flags),
        );
    }
}

/// Where the word of another TCB is, by its thread pointer.
pub fn word_at(fs_base: u64) -> *const usize {
    (fs_base as i64).wrapping_add(offset()) as *const usize
}

/// Sets the word of a TCB that does not run now.
///
/// # Safety
/// `fs_base` must be the thread pointer of a TCB that libc has set up.
pub unsafe fn set_word_of(fs_base: u64, word: usize) {
    // SAFETY: the caller's contract; the word is ours alone.
    unsafe { ((fs_base as i64 + offset()) as *mut usize).write(word) };
}

/// The thread pointer of the TCB the CPU is on now.
///
/// Not inlined, as [`current_word`].
#[inline(never)]
pub fn thread_pointer() -> u64 {
    let pointer: u64;
    // SAFETY: the first word of every TCB of libc is its own address.
    unsafe {
        asm!(
            "mov {}, qword ptr fs:[0]",
            out(reg) pointer,
            options(nostack, readonly, preserves_flags),
        );
    }
    pointer
}

/// Bytes from the first word to the second.
pub(super) const PROCESSOR: i64 = 8;

/// The second word of the TCB the CPU is on now.
///
/// Not inlined, as [`current_word`].
#[inline(never)]
pub fn current_processor() -> usize {
    let word: usize;
    // SAFETY: as in `current_word`.
    unsafe {
        asm!(
            "mov {0}, qword ptr fs:[{0} + {at}]",
            inlateout(reg) offset() => word,
            at = const PROCESSOR,
            options(nostack, readonly, preserves_flags),
        );
    }
    word
}

/// Sets the second word of a TCB that runs on no other CPU.
///
/// # Safety
/// `fs_base` must be the thread pointer of a TCB that libc has set up.
#[inline]
pub unsafe fn set_processor_of(fs_base: u64, processor: usize) {
    // SAFETY: the caller's contract; the word is ours alone.
    unsafe { ((fs_base as i64 + offset() + PROCESSOR) as *mut usize).write(processor) };
}
