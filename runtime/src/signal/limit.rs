//! How many signals may be pending: RLIMIT_SIGPENDING.
//!
//! The kernel counts for each user what came with the signals that are pending, and the timers
//! that there are. What waits here is not among that any more, and what a guest sends to another
//! never was: both are counted besides where a guest sends. Who sends from another process asks
//! the kernel, which may so accept more than it would have, and nothing of that is lost.
//!
//! # Synchronization
//! As [`super`].

use super::Info;
use super::queue::{self, FIRST_REALTIME};
use crate::fdinfo;
use crate::ops::sched;

/// What becomes of a signal that a guest sends.
pub(super) enum Admission {
    /// It is pending with what came with it.
    Whole,
    /// It is pending, and what came with it is lost.
    Bare,
    /// The sender gets EAGAIN.
    Refused,
}

/// As the kernel's `__send_signal_locked`.
pub(super) fn admit(signal: i32, info: &Info) -> Admission {
    if signal < FIRST_REALTIME {
        // One of the kernel's own, or of kill(2), is never counted. Most programs have none
        // but standard signals, and never come near a limit.
        let counted = info.code() < 0 && queue::kept() != 0;
        return if counted && is_reached() {
            Admission::Bare
        } else {
            Admission::Whole
        };
    }
    match is_reached() {
        false => Admission::Whole,
        true if info.code() == libc::SI_USER => Admission::Bare,
        true => Admission::Refused,
    }
}

/// Whether the kernel, which does not count what waits here, would accept a signal that is one
/// too many. For one that is left to it.
pub fn is_exceeded(signal: i32, info: &Info) -> bool {
    queue::kept() != 0 && matches!(admit(signal, info), Admission::Refused)
}

/// So near to the limit the kernel is asked how many it counts for our user.
const NEAR: u64 = 4096;

fn is_reached() -> bool {
    let Some(limit) = sched::limit(libc::RLIMIT_SIGPENDING) else {
        // A filter of the program's lets nobody ask.
        return false;
    };
    let left = limit.saturating_sub(queue::kept());
    left == 0 || left <= NEAR && left <= in_kernel()
}

fn in_kernel() -> u64 {
    fdinfo::of_process(b"\nSigQ:\t").unwrap_or(0)
}
