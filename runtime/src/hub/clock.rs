//! Timers of parked guests, and those among them that follow a clock that may be set.
#![allow(unsafe_code)]

use super::Hub;
use crate::deadline::{self, Deadline};
use crate::guest::Guest;
use crate::interrupt;

impl Hub {
    /// Sets the timer of a guest that has none set.
    pub(super) fn set_timer(&self, guest: &Guest, deadline: u64) {
        let node = guest.timer.get();
        // SAFETY: the node is the guest's own and not in the heap now.
        unsafe {
            (*node).deadline = deadline;
            (*node).owner = guest as *const Guest as *mut ();
            (*self.timers.get()).insert(node);
        }
        guest.timer_armed.set(true);
        if deadline < self.sleeps_until.get() {
            // Who sleeps in the reactor would wake too late.
            self.notify();
        }
    }

    pub(super) fn disarm(&self, guest: &Guest) {
        if guest.timer_armed.replace(false) {
            // SAFETY: `timer_armed` says that the node is in this heap.
            unsafe { (*self.timers.get()).remove(guest.timer.get()) };
        }
    }

    /// When the timer of `guest`, the caller, is to go off that waits until then.
    pub(super) fn first_look(&self, guest: &'static Guest, until: Deadline) -> u64 {
        until.next_look(until.may_move() && self.watch_clock(guest))
    }

    /// When to look again at the clock that a parked guest waits for; `None` if its wait
    /// is over.
    pub(super) fn next_look(&self, guest: &Guest) -> Option<u64> {
        let until = guest.until.get();
        if !until.may_move() || until.has_come() {
            return None;
        }
        // SAFETY: no other reference to it is in use.
        let look = until.next_look(unsafe { self.reactor() }.watches_clock());
        if guest.interruptible.get() && guest.interrupt.is_armed() {
            return interrupt::limit(guest, Some(look)).ok().flatten();
        }
        Some(look)
    }

    /// Has the reactor tell of steps of the clock. False if it cannot.
    fn watch_clock(&self, guest: &'static Guest) -> bool {
        // SAFETY: no other reference to it is in use.
        match unsafe { self.reactor() }.watch_clock() {
            Ok(()) => true,
            Err(e) => {
                self.call(guest, || deadline::tell_unwatched(e));
                false
            }
        }
    }

    /// A clock that may be set was set: whoever waits for a time of one looks again. Called
    /// by the reactor, with no reference to it in use.
    #[cold]
    pub fn clock_was_set(&self) {
        // SAFETY: no other reference to it is in use.
        unsafe { self.reactor() }.clock_seen();
        for guest in self.guests() {
            if guest.timer_armed.get() && guest.until.get().may_move() {
                let look = self.next_look(guest);
                self.disarm(guest);
                self.set_timer(guest, look.unwrap_or(0));
            }
        }
    }
}
