//! A dump of the guests to standard error when a signal comes.
//!
//! # Synchronization
//! `NUMBER` is written at adoption and in a forked child, and read by the signal
//! handler; `WANTED` counts the signals, and the thread sleeps on it while it has seen
//! them all.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::fmt::Write;

use patch_events::stderr;

use super::snapshot;
use super::socket::standstill;
use super::wire::Snapshot;
use crate::arch::{syscall3, syscall4};
use crate::libc_threads;

static NUMBER: AtomicI32 = AtomicI32::new(0);
static WANTED: AtomicU32 = AtomicU32::new(0);

const STACK: usize = 128 << 10;

/// How long who reads a dump is waited for, in nanoseconds: nobody waits for this thread.
const DUMP_PATIENCE: u64 = 10_000_000_000;

/// Makes the thread; every signal must be blocked. False if there can be none.
pub fn start(number: i32) -> bool {
    let mut seen = WANTED.load(Ordering::SeqCst);
    let spawned = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            loop {
                let now = WANTED.load(Ordering::SeqCst);
                if now == seen {
                    sleep(seen);
                    continue;
                }
                seen = now;
                let text = match snapshot::take(0) {
                    Some(snapshot) => text(&snapshot),
                    None => format!("gevent-shim: {}\n", standstill()),
                };
                // Not `write`: others open files meanwhile.
                stderr::write_often(text.as_bytes(), DUMP_PATIENCE);
            }
        })
        .is_ok();
    if spawned {
        // A program's last thread is its last, whatever we run beside it.
        libc_threads::discount(1);
        NUMBER.store(number, Ordering::Relaxed);
    }
    spawned
}

/// In a forked child: the thread is gone.
pub fn reset_after_fork() {
    NUMBER.store(0, Ordering::Relaxed);
}

/// Whether this signal asks for a dump; then it is asked for. Async-signal-safe.
#[inline]
pub fn is_meant(signal: i32) -> bool {
    if NUMBER.load(Ordering::Relaxed) != signal {
        return false;
    }
    WANTED.fetch_add(1, Ordering::SeqCst);
    // SAFETY: a wake needs a valid address only.
    unsafe {
        syscall3(
            libc::SYS_futex,
            WANTED.as_ptr() as u64,
            (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64,
            1,
        )
    };
    true
}

fn sleep(seen: u32) {
    // SAFETY: a word of ours.
    unsafe {
        syscall4(
            libc::SYS_futex,
            WANTED.as_ptr() as u64,
            (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as u64,
            seen as u64,
            0,
        )
    };
}

/// The dump: a line for the hub, and one for each guest, oldest first.
fn text(snapshot: &Snapshot) -> String {
    let hub = &snapshot.hub;
    let mut text = format!(
        "gevent-shim[{}] {} guests, {} switches, {}\n",
        hub.pid,
        snapshot.guests.len(),
        hub.switches,
        hub.reactor
    );
    for guest in snapshot.guests.iter().rev() {
        // A String takes every write.
        let _ = writeln!(
            text,
            "gevent-shim[{}] {}",
            hub.pid,
            guest.line(hub.now, |_| String::new())
        );
    }
    text
}
