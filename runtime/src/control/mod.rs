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
//! | [`name`] | the socket's name, and when it goes |
//! | [`on_signal`] | the thread that waits for the signal |
#![allow(unsafe_code)]

pub mod name;
pub mod on_signal;
pub mod snapshot;
pub mod socket;
pub mod wire;
mod words;

use patch_events::stderr;

use crate::config::Config;
use crate::hub::hub;
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
    // Where the program leaves the end to the kernel, there would be no last words, and the
    // socket would stay.
    if config.control.is_some() || config.summary || trace::calls() {
        signal::catch_ends(hub());
    }
    if let Some(number) = config.dump_signal
        && on_signal::start(number)
    {
        signal::force(signal::bit(number));
    }
}

/// In a forked child: the threads are gone, and the socket is the parent's.
pub fn reset_after_fork() {
    trace::keep_times(false);
    name::reset_after_fork();
    on_signal::reset_after_fork();
}
