//! The hub as a program sees it: sleeping, giving way, statistics, callbacks.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::time::Duration;

use super::backend;
use super::callbacks;
use super::current::{self, Current, Interrupted, deadline_in, raised};

/// Sleeps so long; zero lets the others run first.
///
/// A wait: a kill or a [`Timeout`](super::Timeout) unwinds from here.
///
/// ```
/// gevent_runtime::api::sleep(std::time::Duration::from_millis(1));
/// ```
pub fn sleep(span: Duration) {
    raised(sleep_for(span));
}

pub(super) fn sleep_for(span: Duration) -> Result<(), Interrupted> {
    if span.is_zero() {
        give_way();
        return current::with(Current::check);
    }
    let deadline = deadline_in(Some(span));
    current::with(|current| current.block_until(deadline, || false)).map(|_| ())
}

/// Lets the others that are runnable run first.
///
/// A kill or a [`Timeout`](super::Timeout) unwinds from here.
pub fn yield_now() {
    give_way();
    check();
}

/// libc's function is a site: a guest gives way to the other guests.
fn give_way() {
    // SAFETY: no arguments.
    unsafe { libc::sched_yield() };
}

/// Returns when no other greenlet is runnable: all wait, or have ended. Without a hub it
/// gives way once.
///
/// A kill or a [`Timeout`](super::Timeout) unwinds from here.
pub fn idle() {
    raised(idle_until_done());
}

pub(super) fn idle_until_done() -> Result<(), Interrupted> {
    loop {
        give_way();
        current::with(Current::check)?;
        if !backend::has_ready() {
            return Ok(());
        }
    }
}

/// Raises what waits to be raised in the caller: a kill, a [`Timeout`](super::Timeout).
/// For long computations, and after calls of libc's that may have been interrupted.
pub fn check() {
    raised(current::with(Current::check));
}

/// The hub that runs the greenlets of this process, or the lack of one: without a hub
/// greenlets are kernel threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hub(());

/// The hub.
///
/// ```
/// let hub = gevent_runtime::api::get_hub();
/// assert!(!hub.is_running()); // nothing was patched here
/// ```
pub fn get_hub() -> Hub {
    Hub(())
}

/// What [`Hub::statistics`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HubStatistics {
    /// Threads of the program that are guests, greenlets or not.
    pub guests: usize,
    /// Greenlets that have been spawned and have not ended.
    pub greenlets: usize,
    /// How often the hub switched to a guest, modulo 2^32.
    pub switches: u64,
}

impl fmt::Display for HubStatistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (guests, greenlets, switches) = (self.guests, self.greenlets, self.switches);
        write!(
            f,
            "{guests} guests, {greenlets} greenlets, {switches} switches"
        )
    }
}

impl Hub {
    /// Whether greenlets are coroutines of a hub in this process.
    pub fn is_running(self) -> bool {
        backend::running()
    }

    /// Whether the caller is a coroutine of it. False on threads that existed before, on
    /// those of a [`ThreadPool`](super::ThreadPool), and without a hub.
    pub fn is_guest(self) -> bool {
        backend::is_guest()
    }

    /// Counts of the moment.
    pub fn statistics(self) -> HubStatistics {
        HubStatistics {
            guests: backend::guests(),
            greenlets: backend::live(),
            switches: backend::switches(),
        }
    }

    /// Has `f` run soon on the hub's kernel thread, on a guest that serves only this: from
    /// any thread, also one that is no guest. Callbacks run in the order of the calls. One
    /// that waits delays the others. A panic in it is reported and goes no further.
    ///
    /// # Errors
    /// `NotConnected`: the caller is not a guest, and no guest has used this library yet.
    /// Without a hub `f` runs on a thread of its own; that may fail like any thread's
    /// creation.
    pub fn run_callback(self, f: impl FnOnce() + Send + 'static) -> io::Result<()> {
        if self.is_running() {
            return callbacks::post(Box::new(move || super::report::guard_callback(f)));
        }
        super::Builder::new().spawn(f).map(drop)
    }
}
