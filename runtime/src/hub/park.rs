//! A guest leaves its processor and comes back: parking, giving way, calls to the host,
//! the end.
#![allow(unsafe_code)]

use core::ptr;
use core::sync::atomic::Ordering;

use super::giant::GIANT;
use super::{Hub, Processor, processor};
use crate::arch::switch;
use crate::deadline::Deadline;
use crate::guest::{Guest, Reason, State, life};
use crate::heir;
use crate::interrupt;
use crate::probes;
use crate::raw;
use crate::signal;
use crate::trace;

impl Hub {
    /// Takes `guest`, the caller, off the CPU until it is woken, its deadline (in
    /// CLOCK_MONOTONIC nanoseconds) passes or, if `interruptible`, a signal is to
    /// be handled. Whatever is to wake it must have been registered before.
    pub fn park(
        &self,
        guest: &'static Guest,
        deadline: Option<u64>,
        interruptible: bool,
    ) -> Reason {
        self.park_until(guest, deadline.map(Deadline::monotonic), interruptible)
    }

    /// As [`park`](Self::park), until a time of any clock: setting the clock makes the wait
    /// longer or shorter.
    pub fn park_until(
        &self,
        guest: &'static Guest,
        until: Option<Deadline>,
        interruptible: bool,
    ) -> Reason {
        debug_assert!(ptr::eq(processor::here().current.get(), guest));
        if heir::is_wanted() {
            heir::look(guest);
        }
        if interruptible && self.has_signal(guest) {
            return Reason::Signal;
        }
        let deadline = until.map(|until| self.first_look(guest, until));
        let limited = interruptible && guest.interrupt.is_armed();
        let deadline = if limited {
            match interrupt::limit(guest, deadline) {
                Ok(deadline) => deadline,
                Err(interrupt::Due) => return Reason::Signal,
            }
        } else {
            deadline
        };
        if let Some(deadline) = deadline {
            guest
                .until
                .set(until.unwrap_or(Deadline::monotonic(deadline)));
            self.set_timer(guest, deadline);
        }
        guest.interruptible.set(interruptible);
        guest.busy.set(false);
        guest.state.set(State::Parked);
        if trace::waits() {
            self.switch_away_timed(guest);
        } else {
            probes::park(guest);
            self.switch_away(guest);
        }
        match guest.reason.get() {
            // The caller sees which of its deadlines it was by asking again.
            Reason::Timeout if limited && interrupt::limit(guest, None).is_err() => Reason::Signal,
            reason => reason,
        }
    }

    /// Switches a guest that parks away, and keeps how long that was.
    #[cold]
    #[inline(never)]
    fn switch_away_timed(&self, guest: &'static Guest) {
        guest.since.set(raw::now());
        probes::park(guest);
        self.switch_away(guest);
        trace::call::woke(guest);
    }

    /// Lets the other runnable guests run first.
    pub fn yield_now(&self, guest: &'static Guest) {
        let here = processor::here();
        // With nobody else runnable: events may make somebody so.
        let turns = if self.has_ready() {
            here.turns.get().saturating_sub(1)
        } else {
            0
        };
        here.turns.set(turns);
        self.make_ready(guest);
        self.switch_away(guest);
    }

    /// Lets the others run after a long time on the CPU: also those whose events and
    /// deadlines came meanwhile.
    pub fn give_way(&self, guest: &'static Guest) {
        if heir::is_wanted() {
            heir::look(guest);
        }
        processor::here().turns.set(0);
        self.yield_now(guest);
    }

    /// Runs `f` on the host context, where it may allocate, lock and make
    /// system calls through libc. `f` must not park.
    pub fn call<F: FnOnce() -> R, R>(&self, guest: &'static Guest, f: F) -> R {
        struct Job<F, R> {
            f: Option<F>,
            result: Option<R>,
        }
        unsafe fn run<F: FnOnce() -> R, R>(job: *mut ()) {
            // SAFETY: `call` below passes its own job, which outlives the call.
            let job = unsafe { &mut *job.cast::<Job<F, R>>() };
            if let Some(f) = job.f.take() {
                job.result = Some(f());
            }
        }
        let mut job = Job {
            f: Some(f),
            result: None,
        };
        let here = processor::here();
        here.call.set(Some((run::<F, R>, (&raw mut job).cast())));
        here.caller.set(guest);
        // SAFETY: the host context waits in its loop.
        unsafe { switch(guest.ctx.get(), here.ctx.get()) };
        match job.result {
            Some(result) => result,
            // The host runs the job before it switches back; there is no other way here.
            None => unreachable!("the host context returned without running the call"),
        }
    }

    /// Whether a signal is to be handled by `guest`, the caller.
    pub fn has_signal(&self, guest: &Guest) -> bool {
        if self.signals.load(Ordering::Relaxed) {
            signal::route(self);
        }
        guest.signal.deliverable()
    }

    /// Whether another processor waits to run the guests that this one runs.
    #[inline]
    fn is_to_hand_on(&self) -> bool {
        processor::is_exclusive() && GIANT.is_contended()
    }

    /// Takes the guest that runs next, if it may run without the host's looking for events
    /// before.
    fn next_at_once(&self, here: &Processor) -> Option<&'static Guest> {
        let turns = here.turns.get();
        if turns == 0 || !self.inbox.load(Ordering::Relaxed).is_null() || self.is_to_hand_on() {
            return None;
        }
        let next = self.pop_ready(here)?;
        here.turns.set(turns - 1);
        Some(next)
    }

    /// Switches to the next runnable guest or to the host; returns when `guest`
    /// runs again, on whichever processor.
    fn switch_away(&self, guest: &'static Guest) {
        let here = processor::here();
        // A stretch goes on when its guest does.
        let in_section = here.in_section.load(Ordering::Relaxed);
        here.in_section.store(false, Ordering::Relaxed);
        let next = self.next_at_once(here);
        here.cpu.pass_on(&guest.cpu);
        match next {
            Some(next) if ptr::eq(next, guest) => {}
            Some(next) => {
                here.hand_over(next);
                // SAFETY: a guest in the run queue has a context that may go on.
                unsafe { switch(guest.ctx.get(), next.ctx.get()) };
            }
            None => {
                here.current.set(ptr::null());
                // SAFETY: the host context waits in its loop.
                unsafe { switch(guest.ctx.get(), here.ctx.get()) };
            }
        }
        self.arrive(guest);
        processor::here()
            .in_section
            .store(in_section, Ordering::Relaxed);
    }

    /// What every context does first after it was switched to.
    pub fn arrive(&self, guest: &'static Guest) {
        let here = processor::here();
        guest.state.set(State::Running);
        here.current.set(guest);
        let switches = here.switches.load(Ordering::Relaxed);
        here.switches
            .store(switches.wrapping_add(1), Ordering::Relaxed);
        self.bury_dead(here);
    }

    /// Leaves the stack of a guest that has ended.
    pub fn leave_for_good(&'static self, guest: &'static Guest) -> ! {
        let here = processor::here();
        debug_assert!(here.dead.get().is_null());
        here.dead.set(guest);
        loop {
            here.current.set(ptr::null());
            here.cpu.pass_on(&guest.cpu);
            let next = if here.turns.get() > 0 && !self.is_to_hand_on() {
                self.pop_ready(here)
            } else {
                None
            };
            let to = match next {
                Some(next) => {
                    here.turns.set(here.turns.get() - 1);
                    here.hand_over(next);
                    next.ctx.get()
                }
                None => here.ctx.get(),
            };
            // SAFETY: a runnable guest or the host; nobody switches back to a dead one.
            unsafe { switch(guest.ctx.get(), to) };
        }
    }

    pub(super) fn bury_dead(&self, here: &Processor) {
        let dead = here.dead.replace(ptr::null());
        // SAFETY: set by `leave_for_good`, whose stack we are no longer on.
        if let Some(dead) = unsafe { dead.as_ref() } {
            life::bury(super::hub(), dead);
        }
    }
}
