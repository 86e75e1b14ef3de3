//! Ends a guest's call from outside, without a signal: what a kill or a time-out of a
//! greenlet does to a `recv` that it is parked in.
//!
//! The call fails with ECANCELED, which Linux gives to a cancelled operation and no code
//! retries, unlike EINTR. A sleep is over early instead, and `pause` and `sigsuspend`
//! fail with EINTR, their only error. A wait on a futex is left alone: libc aborts the
//! process on a result that it does not know, and the waits of greenlets are woken by
//! who interrupts them. A wait that cannot be interrupted by a signal ends first.
//!
//! Each interruption ends one call. If a handler is to run too, it runs first, and the
//! next call is ended.
//!
//! # Synchronization
//! `pending` and `armed` are set from any thread and cleared on the guest's; the rest is
//! the guest's own. `FOREIGN` says that another kernel thread has set one: the hub then
//! looks at all guests.
#![allow(unsafe_code)]

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::guest::{Guest, Reason, State};
use crate::hub::Hub;
use crate::parking;
use crate::raw::{self, err};

/// What may end the calls of a guest. All zero: nothing.
#[derive(Debug)]
pub struct Interruption {
    /// Something may be set: the one thing a park looks at.
    armed: AtomicBool,
    /// The present or next call is to end.
    pending: AtomicBool,
    /// When a call is to end, in nanoseconds of CLOCK_MONOTONIC; 0 for never.
    deadline: Cell<u64>,
    /// A call was ended by the deadline since somebody asked.
    delivered: Cell<bool>,
}

impl Interruption {
    /// Whether a park has to look further.
    #[inline]
    pub fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed)
    }

    /// A new guest has none of its record's last one.
    pub fn clear(&self) {
        self.armed.store(false, Ordering::Relaxed);
        self.pending.store(false, Ordering::Relaxed);
        self.deadline.set(0);
        self.delivered.set(false);
    }

    fn rearm(&self) {
        self.armed.store(
            self.pending.load(Ordering::Relaxed) || self.deadline.get() != 0,
            Ordering::Relaxed,
        );
    }

    /// Sets or removes the deadline. On the guest alone.
    pub fn set_deadline(&self, deadline: Option<u64>) {
        self.deadline.set(deadline.unwrap_or(0));
        self.rearm();
    }

    /// The interruption has been seen in another way: no call is to end. On the guest
    /// alone.
    pub fn settle(&self) {
        self.pending.store(false, Ordering::Relaxed);
        self.delivered.set(false);
        self.rearm();
    }

    /// Whether the deadline has ended a call since the last time this was asked.
    pub fn take_delivered(&self) -> bool {
        self.delivered.replace(false)
    }
}

/// A kernel thread that is not the hub's has interrupted somebody.
static FOREIGN: AtomicBool = AtomicBool::new(false);

/// Ends the present call of `guest`, or the next one that waits. Any thread; the guest
/// must not end meanwhile.
pub fn interrupt(hub: &Hub, guest: &'static Guest) {
    guest.interrupt.pending.store(true, Ordering::Relaxed);
    guest.interrupt.armed.store(true, Ordering::Release);
    if parking::on_hub() {
        wake(hub, guest);
    } else {
        FOREIGN.store(true, Ordering::Release);
        hub.signals.store(true, Ordering::SeqCst);
        hub.notify();
    }
}

/// Wakes who was interrupted by other kernel threads. On the hub.
pub fn route(hub: &Hub) {
    if FOREIGN.load(Ordering::Relaxed) && FOREIGN.swap(false, Ordering::Acquire) {
        for guest in hub.guests() {
            if guest.interrupt.pending.load(Ordering::Relaxed) {
                wake(hub, guest);
            }
        }
    }
}

fn wake(hub: &Hub, guest: &'static Guest) {
    if guest.state.get() == State::Parked && guest.interruptible.get() && applies(guest) {
        hub.wake(guest, Reason::Signal);
    }
}

/// Whether the call that the guest is in is one to be ended.
fn applies(guest: &Guest) -> bool {
    // SAFETY: a parked guest, and one that is about to park, is in its call.
    let nr = unsafe { (*guest.frame.get()).rax } as i64;
    !matches!(nr, libc::SYS_futex | libc::SYS_futex_waitv)
}

/// The call is to end now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due;

/// What a park that may be interrupted does first: the earlier one of the two deadlines.
///
/// # Errors
/// [`Due`]: it must not happen.
#[cold]
pub fn limit(guest: &Guest, deadline: Option<u64>) -> Result<Option<u64>, Due> {
    if !applies(guest) {
        return Ok(deadline);
    }
    if is_due(guest) {
        return Err(Due);
    }
    Ok(match guest.interrupt.deadline.get() {
        0 => deadline,
        own => Some(deadline.map_or(own, |deadline| deadline.min(own))),
    })
}

/// Whether a call that can be ended is to end now.
fn is_due(guest: &Guest) -> bool {
    let own = &guest.interrupt;
    own.pending.load(Ordering::Relaxed)
        || (own.deadline.get() != 0 && own.deadline.get() <= raw::now())
}

/// The result with which call `nr` of `guest`, the caller, ends, if it is to end now.
#[cold]
pub fn deliver(guest: &Guest, nr: i64) -> Option<i64> {
    if !applies(guest) || !is_due(guest) {
        return None;
    }
    let own = &guest.interrupt;
    own.delivered.set(!own.pending.load(Ordering::Relaxed));
    own.pending.store(false, Ordering::Relaxed);
    if own.delivered.get() {
        own.deadline.set(0);
    }
    own.rearm();
    Some(match nr {
        libc::SYS_nanosleep | libc::SYS_clock_nanosleep => 0,
        libc::SYS_pause | libc::SYS_rt_sigsuspend => err(libc::EINTR),
        _ => err(libc::ECANCELED),
    })
}
