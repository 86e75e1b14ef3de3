//! Protection keys: the register PKRU, which each thread of the program has for itself.
//!
//! A program writes it by an instruction, so that nothing tells of a change.
//! [`Rare`](super::rare::Rare) keeps it for each guest, from when the program has a key at all.
//! Our own code runs with its guest's rights, so that the kernel answers a call of the guest
//! with `EFAULT` where it would; the host context may access everything.
//!
//! A signal handler begins with the rights of a new process, and what it interrupted has its own
//! back afterwards, from the image in a signal frame.
#![allow(unsafe_code)]

use core::arch::asm;
use core::arch::x86_64::__cpuid_count;

use super::syscall::{syscall1, syscall2};

/// What a new process, and a signal handler, begins with: access by key 0 alone.
pub(super) const FIRST: u32 = 0x5555_5554;

/// PKRU's component of an XSAVE image.
pub(super) const COMPONENT: u32 = 9;

/// Where PKRU is in an XSAVE image, in bytes. The CPU must have it.
pub(super) fn offset() -> usize {
    __cpuid_count(0xd, COMPONENT).ebx as usize
}

/// Whether CPU and kernel have protection keys (OSPKE).
pub(super) fn exist() -> bool {
    // Leaf 0 says which is the last.
    let last = __cpuid_count(0, 0).eax;
    last >= 7 && __cpuid_count(7, 0).ecx & 1 << 4 != 0
}

/// Whether the program has a key already. They must [`exist`]. `may_ask`: whether the
/// kernel may be asked to make one, which a filter might punish; if not, it has for all we know.
pub(super) fn are_made(may_ask: bool) -> bool {
    let before = read();
    if before != FIRST || !may_ask {
        return true;
    }
    // SAFETY: a key that nobody uses, and which is freed at once; its rights are taken back.
    let key = unsafe { syscall2(libc::SYS_pkey_alloc, 0, 0) };
    if key >= 0 {
        // SAFETY: as above.
        unsafe { syscall1(libc::SYS_pkey_free, key as u64) };
    }
    set(before);
    // Keys are given out from the lowest; 0 is that of all memory.
    key != 1
}

/// Gives the running context these rights. Keys must exist.
#[inline]
pub(super) fn set(rights: u32) {
    // Reading costs a fraction of writing, which waits for the accesses before it.
    if read() != rights {
        // SAFETY: as in `read`; ecx and edx must be 0. Our own memory has key 0, to which
        // whatever a program runs with gives access.
        unsafe {
            asm!("wrpkru", in("ecx") 0, in("edx") 0, in("eax") rights,
                options(nostack, preserves_flags));
        }
    }
}

/// The rights of the running context. Keys must exist.
#[inline]
pub(super) fn read() -> u32 {
    let rights: u32;
    // SAFETY: the kernel has enabled protection keys, by the caller's contract; ecx must be 0.
    unsafe {
        asm!("rdpkru", in("ecx") 0, out("eax") rights, out("edx") _,
            options(nomem, nostack, preserves_flags));
    }
    rights
}
