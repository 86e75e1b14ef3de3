//! Waits that have not ended: those that have lasted long, and those that last to the end of the
//! program.
//!
//! What a call waited for is told when it returns. One that never does, as in a deadlock, would
//! not be seen: so each wait of more than [`LONG`] is told once before its end, and when the
//! program ends every other one that is left. Who is killed by SIGKILL has told the first of these.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicBool, Ordering};

use patch_events::channel;

use super::{call, calls};
use crate::guest::{Guest, State};
use crate::hub::Hub;
use crate::raw::{self, NS_PER_S};

/// How long a wait lasts before it is told of, in nanoseconds.
pub const LONG: u64 = NS_PER_S;

/// Records that are left in the ring before it is emptied.
const AT_ONCE: usize = 4096;

/// Synchronization: set by the monitor, cleared by the hub, on its next turn.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Asks the hub to tell of long waits. For the monitor.
pub fn ask(hub: &Hub) {
    ASKED.store(true, Ordering::SeqCst);
    hub.notify();
}

/// Host context: answers if asked.
#[inline]
pub fn answer(hub: &Hub) {
    if ASKED.load(Ordering::Relaxed) {
        ASKED.store(false, Ordering::Relaxed);
        tell(hub, LONG);
    }
}

/// The program ends, or becomes another one: tells of every wait. Our code, in any mode.
pub fn tell_all(hub: &Hub) {
    if channel::is_served() {
        tell(hub, 0);
    }
}

/// Tells of what has lasted so long and has not been told of.
fn tell(hub: &Hub, at_least: u64) {
    if !calls() {
        return;
    }
    let now = raw::now();
    let mut told = 0;
    for guest in hub.guests() {
        if guest.told_open.get() || !has_waited(guest, now, at_least) {
            continue;
        }
        guest.told_open.set(true);
        call::still_waits(guest, now);
        told += 1;
        if told % AT_ONCE == 0 && at_least == 0 {
            channel::flush();
        }
    }
}

fn has_waited(guest: &Guest, now: u64, at_least: u64) -> bool {
    let since = guest.since.get();
    guest.state.get() == State::Parked
        && !guest.giving_way.get()
        && !guest.frame.get().is_null()
        // Calls were not looked at when it began.
        && since != 0
        && guest.waited.get() + now.saturating_sub(since) >= at_least
}
