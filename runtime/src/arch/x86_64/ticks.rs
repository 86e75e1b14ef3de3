//! The time-stamp counter.
#![allow(unsafe_code)]

/// Reads it. The processor may read it some instructions early or late.
#[inline(always)]
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 has the instruction, and Linux forbids it only to a thread that
    // asked for that (PR_SET_TSC).
    unsafe { core::arch::x86_64::_rdtsc() }
}
