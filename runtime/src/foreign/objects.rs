//! Objects whose code makes its system calls itself, opened beside guests: Go's runtime.
//!
//! They stay as they are: their calls are made on stacks that have no room for a stub's way
//! into ours. Threads are the kernel's once such an object is there, so what its threads
//! do goes on whatever a guest waits for. A guest that was there before and is in
//! its code waits in the kernel, with the processor; it is preempted there, which
//! such code expects, but nowhere else in it: elsewhere it may hold a lock of its runtime's that
//! others spin for, with all signals blocked.
//!
//! # Synchronization
//! `START` and `END` are written by whoever maps an object, before any of its code runs; that
//! a thread sees one of two changes only is of no consequence for the code that it runs.
#![allow(unsafe_code)]

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::arch::Ucontext;
use crate::frame::SYSCALL_LEN;
use crate::guest::Guest;
use crate::raw::err;

/// The least range that holds the text of all of them; empty if there are none.
static START: AtomicU64 = AtomicU64::new(u64::MAX);
static END: AtomicU64 = AtomicU64::new(0);

/// The instruction, as it lies in memory.
const SYSCALL: [u8; SYSCALL_LEN as usize] = [0x0f, 0x05];

/// Bytes that the initial thread's stack may take in nearly every program: the gap that the
/// kernel keeps below it is larger.
const INITIAL_STACK: u64 = 8 << 20;

/// One is being mapped, with this text. Any thread.
pub fn note(text: Range<u64>) {
    START.fetch_min(text.start, Ordering::Relaxed);
    END.fetch_max(text.end, Ordering::Relaxed);
}

/// Whether there are any.
#[inline]
pub fn are_there() -> bool {
    END.load(Ordering::Relaxed) != 0
}

/// Whether a guest was interrupted on a stack that is not a thread's own, while there are such
/// objects: it may be one of their small ones, on which nothing must be built.
pub fn is_on_their_stack(guest: &Guest, uc: &Ucontext) -> bool {
    if !are_there() {
        return false;
    }
    let (low, high) = guest.stack.get();
    let own = if guest.is_initial() {
        // What the kernel put at the begin of the stack lies above all that is on it.
        // SAFETY: getauxval has no preconditions.
        let top = unsafe { libc::getauxval(libc::AT_RANDOM) };
        top.saturating_sub(INITIAL_STACK)..top
    } else {
        low..high
    };
    !own.contains(&uc.sp())
}

/// Whether a guest that was interrupted may be preempted: where there are such objects, not in
/// their code, but while it waits in a futex.
pub fn may_be_preempted(guest: &Guest, uc: &Ucontext) -> bool {
    let text = START.load(Ordering::Relaxed)..END.load(Ordering::Relaxed);
    if is_on_their_stack(guest, uc) {
        return false;
    }
    if !text.contains(&uc.ip()) {
        return true;
    }
    let is_syscall = |at: u64| {
        let at = core::ptr::with_exposed_provenance::<[u8; 2]>(at as usize);
        // SAFETY: the text that the guest runs, which has its first bytes elsewhere.
        text.contains(&(at.addr() as u64)) && unsafe { at.read_unaligned() } == SYSCALL
    };
    // Made again, or ended.
    uc.result() == libc::SYS_futex && is_syscall(uc.ip())
        || uc.result() == err(libc::EINTR) && is_syscall(uc.ip().wrapping_sub(SYSCALL_LEN))
}
