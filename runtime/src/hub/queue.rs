//! Guests that can run, and who makes them so.
#![allow(unsafe_code)]

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::{Hub, Processor, processor};
use crate::chaos;
use crate::guest::{Guest, Reason, State};
use crate::probes;

/// Guests in the order in which they became runnable, linked by their records.
///
/// # Synchronization
/// As [`Hub`]; the monitor asks whether it is empty, and may get an old answer.
pub(super) struct RunQueue {
    head: AtomicPtr<Guest>,
    tail: Cell<*const Guest>,
}

impl RunQueue {
    pub(super) const fn new() -> Self {
        RunQueue {
            head: AtomicPtr::new(ptr::null_mut()),
            tail: Cell::new(ptr::null()),
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.head().is_null()
    }

    #[inline]
    fn head(&self) -> *const Guest {
        self.head.load(Ordering::Relaxed)
    }

    #[inline]
    fn set_head(&self, guest: *const Guest) {
        self.head.store(guest.cast_mut(), Ordering::Relaxed);
    }

    #[inline]
    fn push(&self, guest: &'static Guest) {
        guest.next.set(ptr::null());
        // SAFETY: the tail is a live record in the queue.
        match unsafe { self.tail.get().as_ref() } {
            Some(tail) => tail.next.set(guest),
            None => self.set_head(guest),
        }
        self.tail.set(guest);
    }

    #[inline]
    fn pop(&self) -> Option<&'static Guest> {
        // SAFETY: the head is a live record in the queue.
        let guest = unsafe { self.head().as_ref() }?;
        let next = guest.next.get();
        self.set_head(next);
        if next.is_null() {
            self.tail.set(ptr::null());
        }
        Some(guest)
    }

    /// Takes the one that has `skipped` before it, or the last one.
    #[cold]
    fn pop_behind(&self, skipped: u64) -> Option<&'static Guest> {
        // SAFETY: guests in the queue are live records.
        let mut chosen = unsafe { self.head().as_ref() }?;
        let mut before = None::<&'static Guest>;
        for _ in 0..skipped {
            // SAFETY: as above.
            let Some(next) = (unsafe { chosen.next.get().as_ref() }) else {
                break;
            };
            before = Some(chosen);
            chosen = next;
        }
        let next = chosen.next.get();
        match before {
            Some(before) => before.next.set(next),
            None => self.set_head(next),
        }
        if next.is_null() {
            self.tail
                .set(before.map_or(ptr::null(), |before| before as *const Guest));
        }
        Some(chosen)
    }

    pub(super) fn clear(&self) {
        self.set_head(ptr::null());
        self.tail.set(ptr::null());
    }
}

impl Hub {
    /// Puts a guest at the end of the run queue.
    pub fn make_ready(&self, guest: &'static Guest) {
        debug_assert_ne!(guest.state.get(), State::Ready);
        guest.state.set(State::Ready);
        if processor::several()
            && let Some(home) = guest.home()
            && !(processor::is_rescued() && home.baton.is_out())
        {
            home.own.push(guest);
            if !ptr::eq(home, processor::here()) {
                self.rouse(home);
            } else if self.has_sleeper() && home.runs_a_rover() {
                self.note_preemption();
            }
            return;
        }
        self.ready.push(guest);
    }

    /// Makes a processor look at its own queue: if it sleeps, or if who runs there may as well
    /// run where one sleeps, or here.
    fn rouse(&self, processor: &Processor) {
        if processor.wake() {
            return;
        }
        if ptr::eq(self.leader(), processor) {
            self.notify();
        } else if self.has_sleeper() || processor::here().is_free() {
            processor.preempt();
        }
    }

    /// Has every guest run on the first processor alone from now on. By a guest in our code.
    pub fn gather(&self) {
        let first = processor::first();
        self.guests().for_each(|guest| guest.stay_on(first));
        while let Some(guest) = self.ready.pop() {
            first.own.push(guest);
        }
        for other in processor::each() {
            if !ptr::eq(other, first) {
                while let Some(guest) = other.own.pop() {
                    first.own.push(guest);
                }
                other.preempt();
            }
        }
        self.rouse(first);
    }

    /// Whether guests run on other processors than the first.
    pub fn is_scattered(&self) -> bool {
        let first = processor::first();
        processor::each()
            .iter()
            .any(|other| !ptr::eq(other, first) && !other.current.get().is_null())
    }

    /// This processor has nothing to do: those where a guest waits that runs nowhere else may
    /// give it the one that they run.
    pub(super) fn offer(&self, here: &Processor) {
        for other in processor::each() {
            if !ptr::eq(other, here) && !other.own.is_empty() && other.runs_a_rover() {
                other.preempt();
            }
        }
    }

    /// Whether another processor sleeps.
    pub(super) fn has_sleeper(&self) -> bool {
        processor::has_idle() || self.sleeping.load(Ordering::Relaxed)
    }

    /// Whether a guest waits for a processor.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
            || !processor::here().own.is_empty()
            || processor::is_rescued() && self.out().any(|out| !out.own.is_empty())
    }

    /// Processors whose guests others run.
    fn out(&self) -> impl Iterator<Item = &'static Processor> + use<> {
        processor::each()
            .iter()
            .filter(|other| other.baton.is_out())
    }

    /// Takes the guest that runs next on `here`.
    pub(super) fn pop_ready(&self, here: &Processor) -> Option<&'static Guest> {
        let next = self.pop_ready_here(here);
        if next.is_none() && processor::is_rescued() {
            return self.out().find_map(|out| out.own.pop());
        }
        next
    }

    /// Makes some processor that sleeps look for something to do.
    pub(super) fn rouse_any(&self) {
        if !processor::wake_idle() && self.sleeping.swap(false, Ordering::SeqCst) {
            crate::reactor::ring_the_bell();
        }
    }

    fn pop_ready_here(&self, here: &Processor) -> Option<&'static Guest> {
        if self.chaos.is_on() {
            let skipped = self.chaos.below(chaos::AMONG);
            return here.own.pop().or_else(|| self.ready.pop_behind(skipped));
        }
        // By turns, or the one queue would keep the other's guests waiting.
        if here.turns.get() & 1 == 0 {
            here.own.pop().or_else(|| self.ready.pop())
        } else {
            self.ready.pop().or_else(|| here.own.pop())
        }
    }

    /// The program's code goes on here: what is left in the queue is another processor's to
    /// run, if one sleeps.
    #[inline]
    pub(super) fn share(&self) {
        if !self.ready.is_empty() && !processor::wake_idle() {
            self.notify();
        }
    }

    /// Wakes a parked guest. False if it was not parked: somebody woke it before.
    pub fn wake(&self, guest: &'static Guest, reason: Reason) -> bool {
        if guest.state.get() != State::Parked {
            return false;
        }
        guest.reason.set(reason);
        probes::wake(guest);
        self.disarm(guest);
        self.make_ready(guest);
        true
    }

    /// Wakes a guest from whatever kernel thread runs. The caller must be the only one that
    /// may wake this guest for this event (it took the guest's waiter out of a queue), so
    /// that it is in the inbox once at most.
    ///
    /// # Safety
    /// `guest` must be a live record that waits for this wake.
    pub unsafe fn wake_from_anywhere(&self, guest: *const Guest) {
        let guest_mut = guest.cast_mut();
        let mut head = self.inbox.load(Ordering::Relaxed);
        loop {
            // SAFETY: the guest waits for this wake, so its record is live.
            unsafe { (*guest).inbox_next.store(head, Ordering::Relaxed) };
            match self.inbox.compare_exchange_weak(
                head,
                guest_mut,
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        self.notify();
    }

    /// Makes a processor look at the inbox and the signals if one sleeps.
    /// Async-signal-safe.
    pub fn notify(&self) {
        if self.sleeping.swap(false, Ordering::SeqCst) {
            crate::reactor::ring_the_bell();
        } else if processor::is_parallel() {
            processor::wake_idle();
        }
    }

    pub(super) fn drain_inbox(&self) {
        if self.inbox.load(Ordering::Relaxed).is_null() {
            return;
        }
        // Pushed newest first; woken oldest first.
        let mut taken = self.inbox.swap(ptr::null_mut(), Ordering::SeqCst);
        let mut ordered: *mut Guest = ptr::null_mut();
        // SAFETY: every guest in the inbox waits for this wake.
        unsafe {
            while !taken.is_null() {
                let next = (*taken).inbox_next.load(Ordering::Relaxed);
                (*taken).inbox_next.store(ordered, Ordering::Relaxed);
                ordered = taken;
                taken = next;
            }
            while !ordered.is_null() {
                let guest = &*ordered;
                ordered = guest.inbox_next.load(Ordering::Relaxed);
                guest.in_flight.set(false);
                self.wake(guest, Reason::Event);
            }
        }
    }
}
