//! Sets or reads a flag of the processor that the caller runs on, where the caller may be moved
//! to another processor at any instruction: a guest in its own code, which a signal preempts.
//!
//! Which processor it is must not be found on one and used on another. So a signal handler
//! that interrupts a guest here, before the flag is set or read, has it begin again
//! ([`restarted`]), as restartable sequences of the kernel's do (rseq(2)).
#![allow(unsafe_code)]

use core::arch::{asm, naked_asm};
use core::sync::atomic::AtomicU8;

/// `rdi`: the processor where the TCB has none, or where there is only that one: bit 0 of the
/// byte at `rcx` is clear. `rsi`: where its flag is. Out: `rax` the processor, `rdx` the flag
/// before.
#[unsafe(naked)]
unsafe extern "C" fn set() {
    naked_asm!(
        ".cfi_startproc",
        "xor eax, eax",
        "test byte ptr [rcx], 1",
        "jz 2f",
        "mov rax, qword ptr [rip + gevent_shim_current@GOTTPOFF]",
        "mov rax, qword ptr fs:[rax + {at}]",
        "2:",
        "test rax, rax",
        "cmovz rax, rdi",
        "movzx edx, byte ptr [rax + rsi]",
        "mov byte ptr [rax + rsi], 1",
        ".hidden gevent_shim_claim_set",
        ".globl gevent_shim_claim_set",
        "gevent_shim_claim_set:",
        "ret",
        ".cfi_endproc",
        at = const super::tls::PROCESSOR,
    )
}

/// As [`set`], which it leaves undone.
#[unsafe(naked)]
unsafe extern "C" fn get() {
    naked_asm!(
        ".cfi_startproc",
        "xor eax, eax",
        "test byte ptr [rcx], 1",
        "jz 2f",
        "mov rax, qword ptr [rip + gevent_shim_current@GOTTPOFF]",
        "mov rax, qword ptr fs:[rax + {at}]",
        "2:",
        "test rax, rax",
        "cmovz rax, rdi",
        "movzx edx, byte ptr [rax + rsi]",
        ".hidden gevent_shim_claim_got",
        ".globl gevent_shim_claim_got",
        "gevent_shim_claim_got:",
        "ret",
        ".cfi_endproc",
        at = const super::tls::PROCESSOR,
    )
}

unsafe extern "C" {
    /// Behind the last instruction of [`set`] and of [`get`] that may be repeated.
    fn gevent_shim_claim_set();
    fn gevent_shim_claim_got();
}

/// Where a guest that was interrupted at `ip`, and may be moved, is to go on.
pub(super) fn restarted(ip: u64) -> u64 {
    let sequences = [
        (
            set as *const () as u64,
            gevent_shim_claim_set as *const () as u64,
        ),
        (
            get as *const () as u64,
            gevent_shim_claim_got as *const () as u64,
        ),
    ];
    let inside = |&&(begin, end): &&(u64, u64)| begin <= ip && ip < end;
    sequences
        .iter()
        .find(inside)
        .map_or(ip, |&(begin, _)| begin)
}

macro_rules! call {
    ($function:ident, $otherwise:expr, $flag:expr, $mode:expr) => {{
        let (processor, was): (usize, usize);
        // SAFETY: the caller's contract; the other registers are kept.
        unsafe {
            asm!(
                "call {f}",
                f = sym $function,
                in("rdi") $otherwise,
                in("rsi") $flag,
                in("rcx") $mode.as_ptr(),
                lateout("rax") processor,
                lateout("rdx") was,
            );
        }
        (processor, was != 0)
    }};
}

/// Sets the byte `flag` bytes from the begin of the processor that the second word of the TCB
/// points to, or of `otherwise` if that is null or bit 0 of `mode` is clear. That processor, and
/// whether the byte was set before.
///
/// # Safety
/// Both must be processors, whose byte there is one of their own kernel thread's.
#[inline]
pub unsafe fn claim_flag(otherwise: usize, flag: usize, mode: &AtomicU8) -> (usize, bool) {
    call!(set, otherwise, flag, mode)
}

/// Whether that byte is set.
///
/// # Safety
/// As [`claim_flag`].
#[inline]
pub unsafe fn is_flag_set(otherwise: usize, flag: usize, mode: &AtomicU8) -> bool {
    call!(get, otherwise, flag, mode).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{fs_base, set_processor_of};

    #[test]
    fn the_flag_of_this_tcbs_processor_is_set_once() {
        let (mut own, mut other) = ([0u8; 8], [0u8; 8]);
        let otherwise = other.as_mut_ptr() as usize;
        let (one, several) = (AtomicU8::new(0), AtomicU8::new(1));
        // SAFETY: this thread's TCB, and bytes of this test.
        unsafe {
            assert_eq!(claim_flag(otherwise, 3, &several), (otherwise, false));
            set_processor_of(fs_base(), own.as_mut_ptr() as usize);
            let own = own.as_ptr() as usize;
            assert!(!is_flag_set(otherwise, 2, &several));
            assert_eq!(claim_flag(otherwise, 2, &several), (own, false));
            assert!(is_flag_set(otherwise, 2, &several));
            assert_eq!(claim_flag(otherwise, 2, &several), (own, true));
            assert!(!is_flag_set(otherwise, 2, &one));
            assert_eq!(claim_flag(otherwise, 4, &one), (otherwise, false));
            set_processor_of(fs_base(), 0);
        }
        assert_eq!((own[2], other[3]), (1, 1));
        assert_eq!((own[3], other[2]), (0, 0));
        assert_eq!((own[4], other[4]), (0, 1));
    }

    #[test]
    fn only_what_is_not_done_begins_again() {
        let (begin, end) = (
            set as *const () as u64,
            gevent_shim_claim_set as *const () as u64,
        );
        for ip in begin..end {
            assert_eq!(restarted(ip), begin);
        }
        assert_eq!(restarted(end), end);
        assert_eq!(restarted(begin - 1), begin - 1);
        let got = gevent_shim_claim_got as *const () as u64;
        assert_eq!(restarted(got), got);
        assert_eq!(restarted(got - 1), get as *const () as u64);
    }
}
