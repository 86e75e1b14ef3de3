//! Answers for who asks from outside what the guests do.
//!
//! A thread of our own, made when the hub starts and only if asked for, listens on
//! a Unix socket (`GEVENT_SHIM_CONTROL`); another waits for a signal
//! (`GEVENT_SHIM_DUMP_SIGNAL`). Either leaves a [`Request`](snapshot::Request) in the
//! hub's mailbox, which the hub looks at in its turn: it copies what is to be known
//! of its guests into the request and goes on. Text is made, and stacks are unwound and
//! symbolised, elsewhere: here by these threads, or by `gevent-shim`.
//!
//! | file | subject |
//! |---|---|
//! | [`snapshot`] | the mailbox, and what the hub copies |
//! | [`wire`] | what goes over the socket, for both of its ends |
//! | `words` | the same for people |
//! | [`socket`] | the thread that listens |
//! | [`on_signal`] | the thread that waits for the signal |
#![allow(unsafe_code)]

pub mod on_signal;
pub mod snapshot;
pub mod socket;
pub mod wire;
mod words;

use patch_events::stderr;

use crate::config::{self, Config};
use crate::guest::Guest;
use crate::signal;
use crate::trace;

/// Starts what `config` asks for. Called on the host context when the hub starts,
/// with every signal blocked. What can't be had is one line on standard error.
pub fn start(config: &Config) {
    trace::keep_times(config.control.is_some() || config.dump_signal.is_some());
    if let Some(path) = &config.control
        && let Err(line) = socket::start(path)
    {
        stderr::write(
            format!("gevent-shim: {line}\n").as_bytes(),
            stderr::PATIENCE,
        );
    }
    if config.summary {
        // Where the program leaves the end to the kernel, there would be no last words.
        let ends = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM].map(signal::bit);
        signal::force(ends[0] | ends[1] | ends[2]);
    }
    if let Some(number) = config.dump_signal
        && on_signal::start(number)
    {
        signal::force(signal::bit(number));
    }
}

/// The process ends. Guest mode.
pub fn finish(guest: &'static Guest) {
    if config::get().control.is_some() {
        guest.hub().call(guest, socket::remove);
    }
}

/// In a forked child: the threads are gone, and the socket is the parent's.
pub fn reset_after_fork() {
    trace::keep_times(false);
    socket::reset_after_fork();
    on_signal::reset_after_fork();
}
