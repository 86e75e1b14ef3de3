//! From what arrived to the guest that handles it.
//!
//! # Synchronization
//! As [`super`].
#![allow(unsafe_code)]

use core::ptr;
use core::sync::atomic::Ordering;

use super::action::{Disposition, disposition};
use super::queue::{self, Queue};
use super::thread::Arrived;
use super::{Info, bit, mask, signals, wait};
use crate::arch::{syscall0, syscall3};
use crate::guest::{Guest, Reason, State};
use crate::hub::{Hub, processor};
use crate::interrupt;
use crate::raw::err;

struct Process {
    /// Signals that wait for any guest.
    queue: Queue,
}

// SAFETY: see Synchronization.
unsafe impl Sync for Process {}

static PROCESS: Process = Process {
    queue: Queue::new(),
};

/// Called by the handler that interrupted our code. True: everything must be
/// blocked when it returns.
pub(super) fn record(hub: &Hub, arrived: Arrived) -> bool {
    let full = processor::here().signal.put(arrived);
    hub.signals.store(true, Ordering::SeqCst);
    hub.notify();
    full
}

/// Takes what arrived. The guest it is for, if it is for one, is woken.
pub(super) fn accept(hub: &Hub, arrived: &Arrived) {
    let signal = arrived.info.signal();
    let timed = arrived.info.code() == libc::SI_TIMER;
    match hub.find(arrived.guest) {
        Some(guest) => {
            post(hub, guest, signal, &arrived.info, false);
        }
        // Its guest has ended: nobody else is meant.
        None if timed && arrived.guest != 0 => {}
        None => {
            PROCESS.queue.push(signal, &arrived.info, true);
        }
    }
}

fn drain(hub: &Hub) {
    for processor in processor::each() {
        while let Some(arrived) = processor.signal.take() {
            accept(hub, &arrived);
        }
    }
    unblock_if_full();
}

/// Lets signals through again that were blocked here because too many had arrived.
pub fn unblock_if_full() {
    if processor::here().signal.take_full() && !mask::is_held() {
        mask::resync();
    }
}

/// Gives recorded signals to guests.
pub fn route(hub: &Hub) {
    hub.signals.store(false, Ordering::SeqCst);
    interrupt::route(hub);
    drain(hub);
    for signal in signals(PROCESS.queue.bits()) {
        while PROCESS.queue.bits() & bit(signal) != 0 {
            let Some(guest) = choose(hub, signal) else {
                break;
            };
            if guest.signal.queue.has_standard(signal) {
                // One sent to the guest itself waits too: they are two, handled one after
                // the other.
                break;
            }
            let Some((info, _)) = PROCESS.queue.take(signal) else {
                break;
            };
            let info = info.unwrap_or(Info::of_sender(signal, libc::SI_USER, 0, 0));
            post(hub, guest, signal, &info, true);
        }
    }
}

/// Who takes a signal of the process. `None`: everybody blocks it.
fn choose(hub: &Hub, signal: i32) -> Option<&'static Guest> {
    if let Some(guest) = wait::who_waits_for(signal) {
        return Some(guest);
    }
    let open = |guest: &&'static Guest| guest.signal.mask.get() & bit(signal) == 0;
    // SAFETY: both point to live records while they are set.
    let (initial, current) = unsafe {
        let current = processor::here().current.get();
        (hub.initial.get().as_ref(), current.as_ref())
    };
    initial
        .filter(open)
        .or_else(|| current.filter(open))
        .or_else(|| {
            hub.guests()
                .find(|g| g.state.get() != State::Dead && open(g))
        })
}

/// Adds a signal to a guest's own and wakes it. False: no room.
fn post(hub: &Hub, guest: &'static Guest, signal: i32, info: &Info, shared: bool) -> bool {
    if !guest.signal.queue.push(signal, info, shared) {
        return false;
    }
    if guest.signal.deliverable() {
        if guest.interruptible.get() {
            // Not parked: it looks at its signals before it goes on anyway.
            hub.wake(guest, Reason::Signal);
        }
        interrupt_elsewhere(guest);
    }
    true
}

/// Makes a guest that runs on another processor look at its signals.
fn interrupt_elsewhere(guest: &Guest) {
    if !processor::several() || guest.state.get() != State::Running {
        return;
    }
    let here = processor::here();
    let elsewhere = processor::each()
        .iter()
        .find(|p| ptr::eq(p.current.get(), guest) && !ptr::eq(*p, here));
    if let Some(processor) = elsewhere {
        processor.interrupt();
    }
}

/// What tgkill(2) and its like do to a guest. Returns 0 or `-EAGAIN`.
pub fn send(hub: &Hub, guest: &'static Guest, signal: i32, info: &Info) -> i64 {
    if bit(signal) & super::UNBLOCKABLE != 0 {
        // The kernel's, for the whole process.
        // SAFETY: no pointers.
        return unsafe {
            let pid = hub.pid.get() as u64;
            syscall3(
                libc::SYS_tgkill,
                pid,
                syscall0(libc::SYS_gettid) as u64,
                signal as u64,
            )
        };
    }
    let state = &guest.signal;
    if (state.mask.get() & !state.waits.get()) & bit(signal) == 0
        && state.waits.get() & bit(signal) == 0
        && matches!(disposition(signal), Disposition::Ignore)
    {
        return 0;
    }
    if post(hub, guest, signal, info, false) {
        0
    } else {
        err(libc::EAGAIN)
    }
}

/// Whether a handler is to run on `guest` or may be.
#[inline]
pub fn pending(guest: &Guest) -> bool {
    guest.hub().signals.load(Ordering::Relaxed) || guest.signal.deliverable()
}

/// Forgets every signal of this number that waits for a guest or for any: its action
/// has become to ignore it.
pub(super) fn discard(hub: &Hub, signal: i32) {
    drain(hub);
    while PROCESS.queue.take(signal).is_some() {}
    if queue::was_pushed(signal) {
        for guest in hub.guests() {
            while guest.signal.queue.take(signal).is_some() {}
        }
        queue::note_discarded(signal);
    }
}

/// A guest has taken a signal: one of the process's may have waited behind it.
pub(super) fn was_taken(hub: &Hub, signal: i32) {
    if PROCESS.queue.bits() & bit(signal) != 0 {
        hub.signals.store(true, Ordering::Relaxed);
    }
}

/// Signals that wait for any guest.
pub(super) fn of_process() -> &'static Queue {
    &PROCESS.queue
}

/// A guest's mask has let signals through: some may have waited for that.
pub(super) fn mask_was_opened(guest: &Guest, mask: u64) {
    if PROCESS.queue.bits() & !mask != 0 {
        guest.hub().signals.store(true, Ordering::Relaxed);
    }
}

/// Signals of the process that were given to `guest` and that it blocks again
/// are anybody's again.
pub(super) fn give_back(guest: &Guest) {
    let blocked = guest.signal.queue.bits() & guest.signal.mask.get();
    if blocked == 0 {
        return;
    }
    for signal in signals(blocked) {
        let kept = Queue::new();
        while let Some((info, shared)) = guest.signal.queue.take(signal) {
            let info = info.unwrap_or(Info::of_sender(signal, libc::SI_USER, 0, 0));
            let to = if shared { &PROCESS.queue } else { &kept };
            to.push(signal, &info, shared);
        }
        // Each push takes the entry that the take gave back: there is room.
        while let Some((Some(info), shared)) = kept.take(signal) {
            guest.signal.queue.push(signal, &info, shared);
        }
    }
    guest.hub().signals.store(true, Ordering::Relaxed);
}

/// `guest` ends: what was sent to the process goes to the others.
pub fn forget(guest: &Guest) {
    let state = &guest.signal;
    for signal in signals(state.queue.bits()) {
        while let Some((info, shared)) = state.queue.take(signal) {
            if let (Some(info), true) = (info, shared) {
                PROCESS.queue.push(signal, &info, true);
                guest.hub().signals.store(true, Ordering::Relaxed);
            }
        }
    }
    mask::remove(state.mask.get());
}

/// In a forked child: nothing is pending.
pub(super) fn clear(hub: &Hub) {
    PROCESS.queue.clear();
    for guest in hub.guests() {
        guest.signal.queue.clear();
    }
}
