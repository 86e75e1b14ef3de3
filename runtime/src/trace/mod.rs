//! What guests leave for the events of [`patch_events`].
//!
//! A guest neither allocates nor locks nor writes: it pushes a record into the ring,
//! and the drain thread makes the event of it. What is not asked for costs one load
//! and a branch.
//!
//! # Synchronization
//! `ON` is written at start-up and when the filter changes, and read without ordering:
//! an old value tells or leaves out one event more.

pub mod call;
pub mod deadlock;
pub mod open;
pub mod program;
pub mod sample;
pub mod totals;
pub mod watch;

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering};
use std::time::Duration;

use patch_events::{Record, WORDS, channel, events, target};
use tracing::Level;

use crate::config;
use crate::frame::Frame;
use crate::guest::Guest;
use crate::libc_threads;
use crate::monitor;
use crate::raw;
use crate::wanted;
use sample::Sample;

/// What is asked for: bits.
static ON: AtomicU8 = AtomicU8::new(0);
const GUESTS: u8 = 1;
const CALLS: u8 = 2;
const FORKS: u8 = 4;
const STACKS: u8 = 8;
const TIMES: u8 = 16;
const TOTALS: u8 = 32;
const PROGRAMS: u8 = 64;
/// What the filter decides.
const FILTERED: u8 = GUESTS | CALLS | FORKS | STACKS | PROGRAMS;

static CHANGED: AtomicBool = AtomicBool::new(false);

/// The process is telling what is left, and so keeps its threads from running.
static ENDING: AtomicBool = AtomicBool::new(false);

/// The process whose ring it is.
static OWNER: AtomicI32 = AtomicI32::new(0);

/// Stack of the drain thread in bytes.
const DRAIN_STACK: usize = 512 << 10;

/// Looks up what the filter lets pass. Host mode, after each change of the filter.
pub fn refresh() {
    let bit = |target, level, bit| {
        if patch_events::wants(target, level) {
            bit
        } else {
            0
        }
    };
    let on = bit(target::GUEST, Level::DEBUG, GUESTS)
        | bit(target::CALL, Level::TRACE, CALLS)
        | bit(target::HUB, Level::INFO, FORKS)
        | bit(target::GUEST, Level::TRACE, STACKS)
        | bit(target::PATCH, Level::WARN, PROGRAMS);
    set(FILTERED, on);
    CHANGED.store(true, Ordering::Relaxed);
    monitor::ring();
}

/// Whether the filter has changed since the last call. For the monitor.
pub fn has_changed() -> bool {
    CHANGED.swap(false, Ordering::Relaxed)
}

/// Start-up: events are listened to, if they are, and told before the process ends.
pub fn init() {
    refresh();
    if channel::is_open() {
        OWNER.store(process(), Ordering::Relaxed);
        program::init();
    }
    if config::get().summary {
        totals::keep();
    }
    if channel::is_open() || config::get().summary {
        wanted::want(libc::SYS_exit_group as usize, true);
    }
}

fn process() -> i32 {
    // SAFETY: no arguments.
    #[allow(unsafe_code)]
    unsafe {
        crate::arch::syscall0(libc::SYS_getpid) as i32
    }
}

#[inline]
fn on(bit: u8) -> bool {
    cfg!(feature = "events") && ON.load(Ordering::Relaxed) & bit != 0
}

/// Switches the bits of `mask` to those of `on`.
fn set(mask: u8, on: u8) {
    let both = |before| Some(before & !mask | on);
    // The closure never declines.
    let _ = ON.fetch_update(Ordering::Relaxed, Ordering::Relaxed, both);
}

/// From now on it is known since when a guest waits, or no more.
pub fn keep_times(on: bool) {
    set(TIMES, if on { TIMES } else { 0 });
}

/// Whether it is looked at how long a call waits.
#[inline]
pub fn waits() -> bool {
    on(CALLS | TIMES | TOTALS)
}

/// Whether calls are told.
#[inline]
pub fn calls() -> bool {
    on(CALLS)
}

fn push<const N: usize>(at: u64, tell: fn(&[u64; WORDS]), first: [u64; N]) {
    let mut words = [0; WORDS];
    words[..N].copy_from_slice(&first);
    channel::push(Record { at, tell, words });
}

/// Makes the drain thread, as the monitor is made: on the host context, before there is a
/// second guest that could hold a lock of libc's. Every signal must be blocked. Without
/// the thread events are told where they happen, or at exit.
pub fn start_drain() {
    if !channel::is_open() {
        return;
    }
    channel::queue(true);
    let spawned = std::thread::Builder::new()
        .stack_size(DRAIN_STACK)
        .spawn(|| channel::serve());
    if spawned.is_ok() {
        // A program's last thread is its last, whatever we run beside it.
        libc_threads::discount(1);
    } else {
        channel::queue(false);
    }
}

/// `creator` made a guest with `stack` bytes of stack, in the call in `frame`.
pub fn guest_started(guest: &Guest, creator: &'static Guest, frame: &Frame, stack: u64) {
    if !on(GUESTS) {
        return;
    }
    let now = raw::now();
    guest.born.set(now);
    let (tid, maker) = (guest.tid.get(), creator.tid.get());
    push(now, tell_started, [tid as u64, maker as u64, stack]);
    if on(STACKS) {
        creator.hub().call(creator, || {
            let sample = Box::into_raw(Box::new(Sample::of_call(frame)));
            push(now, tell_made_at, [tid as u64, sample as u64]);
        });
    }
}

#[allow(unsafe_code)]
fn tell_made_at(words: &[u64; WORDS]) {
    // SAFETY: made by `guest_started`, and told once.
    let sample = unsafe { Box::from_raw(words[1] as *mut Sample) };
    events::GuestMadeAt {
        tid: words[0] as i32,
        backtrace: &sample.name(),
    }
    .emit();
}

fn tell_started(words: &[u64; WORDS]) {
    events::GuestStarted {
        tid: words[0] as i32,
        creator: words[1] as i32,
        stack: words[2] as usize,
    }
    .emit();
}

/// `guest` ends.
pub fn guest_ended(guest: &Guest) {
    if !on(GUESTS) {
        return;
    }
    let now = raw::now();
    let born = guest.born.get();
    let lived = if born == 0 { 0 } else { now - born };
    push(now, tell_ended, [guest.tid.get() as u64, lived]);
}

fn tell_ended(words: &[u64; WORDS]) {
    events::GuestEnded {
        tid: words[0] as i32,
        lived: Duration::from_nanos(words[1]),
    }
    .emit();
}

/// Before fork: what [`forked`] is to be given.
pub fn before_fork() -> bool {
    channel::before_fork()
}

/// After fork, in the parent.
pub fn stayed(held: bool) {
    channel::after_fork_in_parent(held);
}

/// After fork, in the child of process `parent`, which has one thread.
#[allow(unsafe_code)]
pub fn forked(held: bool, parent: i32) {
    // SAFETY: the only thread of the child.
    unsafe { channel::after_fork_in_child(held) };
    totals::reset_after_fork();
    if !channel::is_open() {
        return;
    }
    let child = process();
    OWNER.store(child, Ordering::Relaxed);
    if on(FORKS) {
        push(raw::now(), tell_forked, [child as u64, parent as u64]);
    }
}

fn tell_forked(words: &[u64; WORDS]) {
    events::ForkReinitialised {
        child: words[0] as i32,
        parent: words[1] as i32,
    }
    .emit();
}

/// A signal is about to end the process: the drain tells what is left. Any mode, also
/// in a handler.
pub fn last_words() {
    totals::print();
    if channel::is_served() && OWNER.load(Ordering::Relaxed) == process() {
        channel::flush();
    }
}

/// The process becomes another program, if it can: what is left in the ring is told
/// first. As [`finish`].
pub fn before_exec(guest: Option<&'static Guest>, frame: &Frame) {
    program::about_to_exec(frame);
    tell_open(guest);
    flush(guest);
}

/// The process ends: what was left in the ring is told first, if that takes no longer
/// than a moment. Guest mode, or where there is no guest.
pub fn finish(guest: Option<&'static Guest>) {
    ENDING.store(true, Ordering::Relaxed);
    if let Some(guest) = guest
        && totals::are_kept()
    {
        guest.hub().call(guest, totals::print);
    }
    tell_open(guest);
    flush(guest);
}

/// What guests wait for now, where a guest says it: another thread may not look at them.
fn tell_open(guest: Option<&'static Guest>) {
    if let Some(guest) = guest
        && OWNER.load(Ordering::Relaxed) == process()
    {
        open::tell_all(guest.hub());
    }
}

fn flush(guest: Option<&'static Guest>) {
    if !channel::is_open() || OWNER.load(Ordering::Relaxed) != process() {
        return;
    }
    match guest {
        Some(guest) if !channel::is_served() => guest.hub().call(guest, channel::flush),
        _ => channel::flush(),
    }
}
