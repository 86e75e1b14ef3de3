//! Whether anything can still wake a sleeping hub: what gevent raises LoopExit for.
//!
//! The hub itself looks, on the host context, when the monitor has seen it sleep for a
//! while and asks: at every sleep it would cost too much. It goes on sleeping whatever
//! it finds.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicBool, Ordering};

use patch_events::events;

use super::{sample, watch};
use crate::guest::{Guest, State};
use crate::hub::Hub;
use crate::sharing;

/// Synchronization: set by the monitor, cleared by the hub, on its next turn; each
/// question is answered from what the hub then sees.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Asks the hub, which sleeps. For the monitor.
pub fn ask(hub: &Hub) {
    ASKED.store(true, Ordering::SeqCst);
    hub.notify();
}

/// Host context: answers if asked.
#[inline]
pub fn answer(hub: &'static Hub) {
    if ASKED.load(Ordering::Relaxed) {
        ASKED.store(false, Ordering::Relaxed);
        look(hub);
    }
}

/// What a guest waits for that only another guest can bring about.
struct Edge {
    guest: i32,
    what: String,
    /// The guest that it waits for, if that is known.
    whom: Option<i32>,
}

fn look(hub: &'static Hub) {
    if hub.has_ready() || hub.has_foreign() {
        return;
    }
    let mut edges = Vec::new();
    for guest in hub.guests() {
        match edge(hub, guest) {
            Some(edge) => edges.push(edge),
            None => return,
        }
    }
    if edges.is_empty() {
        return;
    }
    // Many threads may wait for one: the first ones say it.
    const SHOWN: usize = 50;
    edges.reverse();
    let shown = edges.iter().take(SHOWN).map(|edge| {
        let Edge { guest, what, whom } = edge;
        match whom {
            Some(whom) => format!("{guest} waits for {what} of {whom}"),
            None => format!("{guest} waits for {what}"),
        }
    });
    let mut graph = shown.collect::<Vec<_>>().join("; ");
    if edges.len() > SHOWN {
        graph += &format!("; and {} more", edges.len() - SHOWN);
    }
    events::WouldBlockForever {
        guests: edges.len(),
        graph: &graph,
    }
    .emit();
}

/// `None`: something else than a guest may wake it.
fn edge(hub: &Hub, guest: &Guest) -> Option<Edge> {
    if guest.state.get() != State::Parked || guest.timer_armed.get() || guest.giving_way.get() {
        return None;
    }
    // SAFETY: the frame of the call that the guest is parked in.
    let frame = unsafe { guest.frame.get().as_ref() }?;
    let args = frame.args();
    let address = args[0];
    if frame.rax as i64 == libc::SYS_futex_waitv {
        return Some(Edge {
            guest: guest.tid.get(),
            what: watch::in_words(frame.rax, &args),
            whom: None,
        });
    }
    if frame.rax as i64 != libc::SYS_futex
        || args[1] as i32 & libc::FUTEX_PRIVATE_FLAG == 0 && sharing::is_shared(address as usize)
    {
        return None;
    }
    let (what, whom) = meaning(hub, address);
    Some(Edge {
        guest: guest.tid.get(),
        what: format!("{what} {address:#x}"),
        whom,
    })
}

/// What glibc keeps at a futex, as far as its layout tells (`struct __pthread_mutex_s`,
/// `struct pthread`): a mutex has its owner in its third word, a thread's end is waited
/// for on its id.
fn meaning(hub: &Hub, address: u64) -> (&'static str, Option<i32>) {
    let is_guest = |tid: &i32| *tid != 0 && hub.find(*tid).is_some();
    let Some(value) = sample::word(address) else {
        return ("the futex", None);
    };
    let whole = Some(value as i32).filter(is_guest);
    if whole.is_some() {
        return ("the end", whole);
    }
    let holder = (value & libc::FUTEX_TID_MASK) as i32;
    if value & libc::FUTEX_WAITERS != 0 && is_guest(&holder) {
        return ("the priority-inheriting mutex", Some(holder));
    }
    let owner = sample::word(address + 8).map(|owner| owner as i32);
    match owner.filter(is_guest) {
        Some(owner) if value == 2 => ("the mutex", Some(owner)),
        _ => ("the futex", None),
    }
}
