//! The loop of a host context: guests that can run, then the kernel's events, then sleep.
//!
//! # Who sleeps where
//! One processor at a time *leads*: it sleeps in the reactor, until an event or the next
//! deadline. Others that find nobody to run sleep beside it, each on a word of its own. When
//! the leader has taken events and goes on with a guest, what is left in the run queue
//! wakes the others, as does every guest that goes on with its own code while somebody is
//! runnable; whoever then finds the queue empty leads next. If that goes on for long with
//! nobody else runnable, the monitor wakes one to lead: waking one each time would make every
//! event cost a second processor's waking up.
#![allow(unsafe_code)]

use core::ptr;
use core::sync::atomic::Ordering;

use super::{Hub, Processor, TURN, processor};
use crate::arch::switch_from_host;
use crate::control::snapshot;
use crate::foreign;
use crate::guest::{Guest, Reason};
use crate::monitor;
use crate::raw;
use crate::reactor::{self, Reactor, Wait};
use crate::signal;
use crate::trace;

impl Hub {
    /// The reactor. Must not be held across a switch, nor while this processor sleeps.
    ///
    /// # Safety
    /// No other reference to it may be in use.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn reactor(&self) -> &mut Reactor {
        // SAFETY: the caller's contract.
        match unsafe { &mut *self.reactor.get() } {
            Some(reactor) => reactor,
            // Adoption sets it before there is a guest; fork replaces it.
            None => unreachable!("a hub without a reactor"),
        }
    }

    /// Gives the hub its reactor.
    pub fn set_reactor(&self, reactor: Option<Reactor>) {
        // SAFETY: called at adoption and in a forked child, where nothing else runs.
        unsafe { *self.reactor.get() = reactor };
    }

    /// Takes the reactor away, in a forked child.
    ///
    /// # Safety
    /// As [`reactor`](Self::reactor).
    pub unsafe fn take_reactor(&self) -> Option<Reactor> {
        // SAFETY: the caller's contract.
        unsafe { (*self.reactor.get()).take() }
    }

    /// The body of a host context. Runs guests for ever.
    pub fn run(&'static self) -> ! {
        loop {
            let here = processor::here();
            here.current.set(ptr::null());
            self.bury_dead(here);
            if let Some((f, job)) = here.call.take() {
                let caller = here.caller.get();
                // SAFETY: the job of the guest that waits in `call`; it goes on at once.
                unsafe {
                    f(job);
                    here.current.set(caller);
                    switch_from_host(here.ctx.get(), (*caller).ctx.get());
                }
                continue;
            }
            if processor::is_rescued() {
                self.look_after_rescue(here);
            }
            self.drain_inbox();
            if self.signals.load(Ordering::Relaxed) {
                signal::route(self);
            }
            signal::unblock_if_full();
            if signal::has_unclaimed() {
                signal::settle_unclaimed(self);
            }
            trace::deadlock::answer(self);
            trace::open::answer(self);
            if !self.mail.load(Ordering::Relaxed).is_null() {
                snapshot::answer(self);
            }
            foreign::answer(self);
            self.expire();
            if here.turns.get() == 0 || !self.has_ready() {
                self.turn(here);
                here.turns.set(TURN);
            }
            if let Some(next) = self.pop_ready(here) {
                here.turns.set(here.turns.get().saturating_sub(1));
                if signal::has_unclaimed() {
                    signal::claim(self, next);
                }
                here.hand_over(next);
                here.cpu.resume();
                // SAFETY: a guest in the run queue has a context that may go on.
                unsafe { switch_from_host(here.ctx.get(), next.ctx.get()) };
            }
        }
    }

    /// Whether another processor sleeps in the reactor, or is about to wake there.
    pub fn is_led_elsewhere(&self) -> bool {
        let leader = self.leader();
        !leader.is_null() && !ptr::eq(leader, processor::here())
    }

    /// The processor that sleeps in the reactor, or null.
    pub(super) fn leader(&self) -> *const Processor {
        self.leader.load(Ordering::Relaxed)
    }

    pub(super) fn set_leader(&self, leader: *const Processor) {
        self.leader.store(leader.cast_mut(), Ordering::Relaxed);
    }

    /// Whether something came that no event of the reactor tells.
    pub(super) fn is_called(&self) -> bool {
        !self.inbox.load(Ordering::SeqCst).is_null()
            || self.signals.load(Ordering::SeqCst)
            || !self.mail.load(Ordering::SeqCst).is_null()
            || foreign::asks()
    }

    /// Hands submissions to the kernel and takes events from it; sleeps if nobody
    /// is runnable.
    fn turn(&'static self, here: &'static Processor) {
        let idle = !self.has_ready();
        let leads = idle && self.leader().is_null();
        let mut wait = Wait::No;
        if leads {
            self.set_leader(here);
            // Publish, look again, sleep: who pushes after this look rings the bell.
            self.sleeping.store(true, Ordering::SeqCst);
            if !self.is_called() {
                // SAFETY: no other reference to the heap is in use.
                let next = unsafe { (*self.timers.get()).next_deadline() };
                let next = next.unwrap_or(u64::MAX).min(signal::unclaimed_until());
                wait = match next {
                    u64::MAX => Wait::Forever,
                    next => Wait::Until(next),
                };
                self.sleeps_until.set(next);
            }
        }
        let sleeps = wait != Wait::No;
        if sleeps {
            self.offer(here);
            here.asleep.store(true, Ordering::Relaxed);
        }
        let slept_since = (sleeps && trace::totals::are_kept()).then(raw::now);
        // The kernel may have much to do for a batch: that is nobody's fault.
        here.turning.store(true, Ordering::Relaxed);
        reactor::turn(self, wait);
        here.turning.store(false, Ordering::Relaxed);
        if sleeps {
            here.asleep.store(false, Ordering::SeqCst);
            if let Some(since) = slept_since {
                trace::totals::slept(since);
            }
            monitor::resume();
        }
        if leads {
            self.set_leader(ptr::null());
            self.sleeps_until.set(0);
            self.sleeping.store(false, Ordering::Relaxed);
        }
        self.drain_inbox();
        self.expire();
        if idle && !leads {
            self.sleep_beside_the_leader(here);
        }
    }

    /// Sleeps until there is a guest to run here, or a need for a leader.
    fn sleep_beside_the_leader(&'static self, here: &'static Processor) {
        here.begin_idle();
        // As in `turn`; and the leader may be gone.
        if !self.has_ready() && !self.leader().is_null() && !self.is_called() {
            self.offer(here);
            here.asleep.store(true, Ordering::Relaxed);
            self.unlocked(|| here.sleep());
            here.asleep.store(false, Ordering::SeqCst);
            monitor::resume();
        }
        here.end_idle();
    }

    fn expire(&'static self) {
        // SAFETY: `wake` does not touch the heap here: the node was popped and
        // `timer_armed` is cleared before.
        unsafe {
            if (*self.timers.get()).next_deadline().is_none() {
                return;
            }
            let now = raw::now();
            while let Some(node) = (*self.timers.get()).pop_expired(now) {
                let guest = &*(*node).owner.cast::<Guest>();
                guest.timer_armed.set(false);
                if let Some(look) = self.next_look(guest) {
                    self.set_timer(guest, look);
                    continue;
                }
                self.wake(guest, Reason::Timeout);
            }
        }
    }
}
