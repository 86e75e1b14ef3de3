//! What a thread asks of its processor's registers: arch_prctl(2), pkey_alloc(2).
#![allow(unsafe_code)]

use super::{Call, Outcome};
use crate::arch::{self, rare};
use crate::raw::err;

/// Requests of arch_prctl(2) in the kernel's `asm/prctl.h`.
const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
const ARCH_SHSTK_ENABLE: u64 = 0x5001;

/// arch_prctl(2): a guest has a base of GS for itself, and no shadow stack.
///
/// # Safety
/// `c` must be the present call of its guest.
pub unsafe fn arch_prctl(c: &mut Call<'_>) -> Outcome {
    match c.a[0] {
        rare::ARCH_SET_GS => {
            rare::sets_gs();
            Outcome::Native
        }
        // As of a CPU without one.
        ARCH_SHSTK_ENABLE => Outcome::Done(err(libc::EOPNOTSUPP)),
        ARCH_REQ_XCOMP_PERM => {
            // SAFETY: the guest's own call; no pointers.
            let ret = unsafe { arch::syscall(c.frame.rax, c.a) };
            if ret == 0 {
                arch::note_permission();
            }
            Outcome::Done(ret)
        }
        _ => Outcome::Native,
    }
}

/// pkey_alloc(2): from here on, each guest has its rights for itself.
///
/// # Safety
/// As [`arch_prctl`].
pub unsafe fn pkey_alloc(_: &mut Call<'_>) -> Outcome {
    rare::makes_a_key();
    Outcome::Native
}
