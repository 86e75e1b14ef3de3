//! Credentials that libc has every thread set (nptl(7)), set once a kernel thread.
//!
//! For setuid(2) and its like libc's wrapper sends SIGSETXID to every other thread, whose
//! handler repeats the call, and then makes it itself. Guests share kernel threads, and a
//! second setuid(0) of one may do what the first could not: the first makes the effective
//! user privileged, the second then sets all three. So of such a *round* the first call is
//! made, on every hub, and the others get its result; libc aborts if they differ.
//!
//! A round begins with the signal and ends with the call of the guest that sent it. libc
//! has one at a time, under a lock.
//!
//! # Synchronization
//! In our code on a hub's kernel thread, under the lock that covers it.
#![allow(unsafe_code)]

use core::cell::{Cell, UnsafeCell};

use crate::guest::Guest;

/// glibc's SIGSETXID.
const SIGSETXID: i32 = 33;

/// Arguments that the calls have at most.
type Args = [u64; 3];

struct Round {
    /// Id of the thread that began it; 0 if none is under way.
    sender: Cell<i32>,
    /// A guest is making the call, on every hub, and others have our code meanwhile.
    making: Cell<bool>,
    /// The call that was made, its arguments and its result.
    made: UnsafeCell<Option<(u64, Args, i64)>>,
}

// SAFETY: see Synchronization.
unsafe impl Sync for Round {}

static ROUND: Round = Round {
    sender: Cell::new(0),
    making: Cell::new(false),
    made: UnsafeCell::new(None),
};

impl Round {
    fn begin(&self, sender: i32) {
        self.sender.set(sender);
        // SAFETY: see Synchronization; no borrow outlives a function here.
        unsafe { *self.made.get() = None };
    }
}

/// Whether the call is one that libc has every thread make.
pub fn is_repeated(nr: u64) -> bool {
    matches!(
        nr as i64,
        libc::SYS_setuid
            | libc::SYS_setgid
            | libc::SYS_setreuid
            | libc::SYS_setregid
            | libc::SYS_setresuid
            | libc::SYS_setresgid
            | libc::SYS_setgroups
    )
}

fn args([a, b, c, ..]: [u64; 6]) -> Args {
    [a, b, c]
}

/// The thread `sender` sends `target` a signal.
pub fn signalled(sender: i32, target: &Guest, signal: i32) {
    if signal == SIGSETXID {
        if ROUND.sender.get() != sender {
            ROUND.begin(sender);
        }
        target.repeats.set(true);
    }
}

/// The result of this call of `guest`, if it was made already in the present round. Where it
/// is part of the round and was not, `guest` has to make it, and to say so by [`made`].
pub fn result(guest: &Guest, nr: u64, a: [u64; 6]) -> Option<i64> {
    if !takes_part(guest, nr) {
        return None;
    }
    while ROUND.making.get() {
        guest.hub().unlocked(core::hint::spin_loop);
    }
    // SAFETY: see Synchronization.
    if let Some((made, its, ret)) = unsafe { *ROUND.made.get() }
        && made == nr
        && its == args(a)
    {
        leave(guest);
        return Some(ret);
    }
    ROUND.making.set(true);
    None
}

/// `guest` has made the call itself, with this result.
pub fn made(guest: &Guest, nr: u64, a: [u64; 6], ret: i64) {
    if takes_part(guest, nr) {
        // SAFETY: see Synchronization.
        unsafe { *ROUND.made.get() = Some((nr, args(a), ret)) };
        ROUND.making.set(false);
        leave(guest);
    }
}

fn takes_part(guest: &Guest, nr: u64) -> bool {
    is_repeated(nr) && (guest.repeats.get() || ROUND.sender.get() == guest.tid.get())
}

/// A kernel thread that is no guest has made such a call, which ends its round if it is the
/// sender's.
pub fn made_by_foreign(tid: i32) {
    if ROUND.sender.get() == tid {
        ROUND.begin(0);
    }
}

/// The guest has made its call of the round.
fn leave(guest: &Guest) {
    if !guest.repeats.replace(false) {
        ROUND.begin(0);
    }
}

/// In a forked child, where no round is under way.
pub fn reset_after_fork() {
    ROUND.begin(0);
    ROUND.making.set(false);
}
