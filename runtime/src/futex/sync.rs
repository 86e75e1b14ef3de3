//! The atomics the futex table stands on, in one place so that the
//! interleaving tests can put loom's in their stead.
#![allow(unsafe_code)]

pub(super) use core::sync::atomic::{AtomicU32, AtomicUsize, fence};

use crate::arch;

/// Rounds of busy waiting before the processor is offered to another thread.
/// A critical section is some tens of instructions, so a holder that is
/// running is done within this many; one that is not was preempted.
const SPINS: u32 = 128;

/// One round of waiting for another kernel thread. `rounds` counts them.
#[inline]
pub(super) fn relax(rounds: &mut u32) {
    *rounds += 1;
    if *rounds < SPINS {
        core::hint::spin_loop();
    } else {
        *rounds = 0;
        // SAFETY: sched_yield takes no arguments and touches no memory.
        unsafe { arch::syscall0(libc::SYS_sched_yield) };
    }
}

/// A full barrier, given that the caller has just done an atomic
/// read-modify-write: what Linux calls `smp_mb__after_atomic`.
#[inline]
pub(super) fn barrier_after_rmw() {
    // A locked instruction is a full barrier on x86; only the compiler is left.
    #[cfg(target_arch = "x86_64")]
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
    #[cfg(not(target_arch = "x86_64"))]
    fence(core::sync::atomic::Ordering::SeqCst);
}
