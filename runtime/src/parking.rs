//! Who sleeps on a futex, and how the sleeper is woken.
//!
//! The futex table knows its waiters' owners only as pointers. Here is what they
//! point to: a guest, or the word a foreign kernel thread sleeps on (marked by the
//! pointer's lowest bit). A guest is woken directly on its hub's kernel thread and
//! through the hub's inbox from any other.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering};

use crate::arch::{self, syscall, syscall3};
use crate::deadline::Deadline;
use crate::foreign::FOREIGN_WORD;
use crate::futex::{MATCH_ANY, Shared, TABLE};
use crate::guest::{Guest, Reason};
use crate::hub::hub;
use crate::raw::err;

const FOREIGN: usize = 1;

/// Whether the code runs on the hub's kernel thread.
#[inline]
pub fn on_hub() -> bool {
    !matches!(arch::current_word(), 0 | FOREIGN_WORD)
}

/// The owner word of a guest's waiter.
pub fn guest_owner(guest: &Guest) -> *mut () {
    (guest as *const Guest).cast_mut().cast()
}

/// The guest that owns a waiter, unless a foreign thread does. For library code under its
/// lock, while the waiter is in its queue or was just taken from it.
#[inline]
pub fn guest_of<'a>(owner: *mut ()) -> Option<&'a Guest> {
    // SAFETY: the guest waits, so its record is live.
    (owner as usize & FOREIGN == 0).then(|| unsafe { &*(owner as *const Guest) })
}

/// Wakes the owner of a waiter that was just taken from its queue.
#[inline]
pub fn wake_owner(owner: *mut (), on_hub: bool) {
    let address = owner as usize;
    if address & FOREIGN != 0 {
        // SAFETY: the sleeper's word stays until its `cancel` returned, and the
        // table holds that up until this call is over.
        let word = unsafe { &*((address & !FOREIGN) as *const AtomicU32) };
        word.store(1, Ordering::Release);
        // SAFETY: a wake needs a valid address only.
        unsafe { syscall3(libc::SYS_futex, word.as_ptr() as u64, PRIVATE_WAKE, 1) };
        return;
    }
    let guest = owner as *const Guest;
    if on_hub {
        // SAFETY: the guest waits, so its record is live.
        let guest = unsafe { &*guest };
        guest.in_flight.set(false);
        hub().wake(guest, Reason::Event);
    } else {
        // SAFETY: the guest waits, and only this thread took its waiter.
        unsafe { hub().wake_from_anywhere(guest) };
    }
}

const PRIVATE_WAKE: u64 = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64;
const PRIVATE_WAIT: u64 = (libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG) as u64;

/// Wakes up to `n` waiters of a word in this process, as the kernel does at a thread's end:
/// those that do not take it for private.
pub fn wake(address: usize, n: u32) {
    let on_hub = on_hub();
    // A misaligned address has no waiters: what the kernel would refuse, we ignore,
    // because nobody is there to be told.
    let _ = TABLE.wake(&Shared, address, n, MATCH_ANY, |owner| {
        wake_owner(owner, on_hub)
    });
}

/// The word a foreign kernel thread sleeps on.
#[repr(align(8))]
pub struct Sleeper(AtomicU32);

impl Sleeper {
    /// A sleeper that was not woken yet.
    pub const fn new() -> Self {
        Sleeper(AtomicU32::new(0))
    }

    /// Its owner word.
    pub fn owner(&self) -> *mut () {
        (self as *const Sleeper as usize | FOREIGN) as *mut ()
    }

    /// Sleeps in the kernel until woken (0), the deadline, of CLOCK_MONOTONIC or
    /// CLOCK_REALTIME, has come (-ETIMEDOUT) or a handler ran (-EINTR).
    pub fn sleep(&self, deadline: Option<Deadline>) -> i64 {
        let until = deadline.map(Deadline::timespec);
        let until = until
            .as_ref()
            .map_or(0, |until| until as *const libc::timespec as u64);
        let word = self.0.as_ptr() as u64;
        let wait = PRIVATE_WAIT | clock_flag(deadline);
        while self.0.load(Ordering::Acquire) == 0 {
            let args = [word, wait, 0, until, 0, MATCH_ANY as u64];
            // SAFETY: our own word and time.
            let ret = unsafe { syscall(libc::SYS_futex as u64, args) };
            if ret == err(libc::EINTR) || ret == err(libc::ETIMEDOUT) {
                return ret;
            }
        }
        0
    }
}

/// What tells futex(2) which of its two clocks a deadline is of.
pub fn clock_flag(deadline: Option<Deadline>) -> u64 {
    match deadline {
        Some(deadline) if deadline.may_move() => libc::FUTEX_CLOCK_REALTIME as u64,
        _ => 0,
    }
}

impl Default for Sleeper {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw;

    #[test]
    fn a_sleep_ends_at_a_time_of_either_clock() {
        for clock in [libc::CLOCK_MONOTONIC, libc::CLOCK_REALTIME] {
            let sleeper = Sleeper::new();
            let deadline = Deadline::new(clock, raw::clock(clock) + 5_000_000);
            assert_eq!(sleeper.sleep(Some(deadline)), err(libc::ETIMEDOUT));
            assert!(deadline.has_come());
            assert_eq!(sleeper.sleep(Some(deadline)), err(libc::ETIMEDOUT));
        }
    }

    #[test]
    fn a_sleeper_that_was_woken_does_not_sleep() {
        let sleeper = Sleeper::new();
        wake_owner(sleeper.owner(), false);
        assert_eq!(sleeper.sleep(None), 0);
        assert_eq!(sleeper.sleep(Some(Deadline::monotonic(0))), 0);
    }
}
