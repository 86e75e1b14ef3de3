//! From where an event happens to those who listen.
//!
//! ```text
//! guest, handler ── push(record) ──▶ ring ──▶ drain thread ── emit ──▶ listeners
//! host code ────── emit ── boxed ──▶ ring        │ (nobody else calls a listener,
//! before the drain ─ emit ─▶ listeners           │  but for exit without a drain)
//! ```
//!
//! A guest must neither allocate nor lock nor write to a file, so it leaves a
//! [`Record`]: when, some words, and the function that makes an event of them. Host
//! code may allocate, but a listener's lock or a full pipe must not stop the hub:
//! while there is a drain its events take the same way, and so stay in order.
//!
//! # Synchronization
//! `LISTENERS` is locked by whoever calls listeners: the drain, or the only thread
//! there is. Fork takes it, so that a child finds it free. `BELL` is what the drain
//! sleeps on; it says in `ASLEEP` that it does, and looks at the ring once more
//! before it goes. `WANTED` and `DONE` count the flushes asked for and carried out.
#![allow(unsafe_code)]

mod gate;
#[cfg(test)]
mod interleavings;
mod ring;
mod sync;

use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::alloc::{Layout, alloc};
use std::cell::Cell;
use std::sync::OnceLock;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
use rustix::thread::{Timespec, futex};

use self::gate::Gate;
use self::ring::{Ring, Slot};
use crate::event::{Event, dated, now};
use crate::events;
use crate::listen;
use crate::subscriber::Subscriber;

/// Words of a record.
pub const WORDS: usize = 13;

/// What a guest leaves of an event.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Record {
    /// When: CLOCK_MONOTONIC in nanoseconds.
    pub at: u64,
    /// Emits the event. Called by the drain.
    pub tell: fn(&[u64; WORDS]),
    /// What it needs to know.
    pub words: [u64; WORDS],
}

/// Records the ring holds: 1 MiB, touched as it is used.
const SLOTS: usize = 8192;

/// Somebody who listens.
pub(crate) struct Listener {
    /// Where its filter is.
    pub place: usize,
    /// Who it is.
    pub subscriber: Box<dyn Subscriber>,
}

impl Listener {
    fn tell(&mut self, event: &Event) {
        if listen::passes(self.place, event.target, event.level) {
            self.subscriber.event(event);
        }
    }
}

struct Channel {
    ring: Ring<Record>,
    memory: *mut c_void,
}

const BYTES: usize = SLOTS * size_of::<Slot<Record>>();

// SAFETY: the pointer is only handed to the kernel.
unsafe impl Send for Channel {}
// SAFETY: as above; the ring synchronizes itself.
unsafe impl Sync for Channel {}

static CHANNEL: OnceLock<Channel> = OnceLock::new();
static LISTENERS: Gate<Vec<Listener>> = Gate::new(Vec::new());
/// Emitted events go through the ring: there is a drain thread, or there soon will be.
static QUEUED: AtomicBool = AtomicBool::new(false);
static ASLEEP: AtomicBool = AtomicBool::new(false);
static BELL: AtomicU32 = AtomicU32::new(0);
static WANTED: AtomicU32 = AtomicU32::new(0);
static DONE: AtomicU32 = AtomicU32::new(0);
/// There is hardly any memory: events are counted instead of told.
static SPARING: AtomicBool = AtomicBool::new(false);
/// Somebody was in the middle of a listener, and stayed there, at the last fork.
static STUCK: AtomicBool = AtomicBool::new(false);

/// How long a look at the ring finds nothing before the drain waits to be called,
/// and how long it waits between looks, in nanoseconds.
const LINGER: u64 = 100_000_000;
const NAP: i64 = 2_000_000;

/// How long others wait for the listeners' lock or for a flush, in nanoseconds: a
/// listener may be stuck in a write that nobody reads.
const PATIENCE: u64 = 2_000_000_000;

thread_local! {
    /// What this thread does with listeners now.
    static ROLE: Cell<Role> = const { Cell::new(Role::None) };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    None,
    /// It empties the ring: what it emits goes to listeners at once.
    Drains,
    /// A listener runs: what that emits is not for itself.
    Tells,
}

/// Makes the ring. False: no memory for it.
pub(crate) fn open() -> bool {
    if CHANNEL.get().is_some() {
        return true;
    }
    // SAFETY: a new mapping at an address of the kernel's choice.
    let memory = unsafe {
        mmap_anonymous(
            core::ptr::null_mut(),
            BYTES,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        )
    };
    let Ok(memory) = memory else {
        return false;
    };
    // SAFETY: as long as the process; zero bytes are empty slots.
    let slots = unsafe { core::slice::from_raw_parts(memory.cast::<Slot<Record>>(), SLOTS) };
    let ring = Ring::new(slots);
    CHANNEL.get_or_init(|| Channel { ring, memory });
    true
}

/// Adds somebody who listens.
pub(crate) fn subscribe(listener: Listener) {
    LISTENERS.with(u64::MAX, |all| all.push(listener));
}

/// Runs `f` with everybody who listens. `None`: they are busy.
pub(crate) fn with_listeners<R>(f: impl FnOnce(&mut Vec<Listener>) -> R) -> Option<R> {
    let before = ROLE.replace(Role::Tells);
    let result = LISTENERS.with(PATIENCE, f);
    ROLE.set(before);
    result
}

/// From now on events are counted instead of told, or told again. Any mode.
pub fn spare_memory(on: bool) {
    SPARING.store(on, Ordering::Relaxed);
}

/// Whether an event that has just happened is to be counted alone; then it is.
pub(crate) fn is_only_counted() -> bool {
    let sparing = SPARING.load(Ordering::Relaxed);
    if sparing && let Some(channel) = CHANNEL.get() {
        channel.ring.count_dropped();
    }
    sparing
}

/// Leaves a record for the drain. Any mode, any thread, any signal handler; nothing
/// happens if nobody listens. When there is no room it is counted.
pub fn push(record: Record) {
    let Some(channel) = CHANNEL.get() else {
        return;
    };
    channel.ring.push(record);
    if ASLEEP.load(Ordering::Relaxed) && ASLEEP.swap(false, Ordering::SeqCst) {
        ring_the_bell();
    }
}

fn ring_the_bell() {
    BELL.fetch_add(1, Ordering::SeqCst);
    // Nobody may be waiting.
    let _ = futex::wake(&BELL, futex::Flags::PRIVATE, 1);
}

/// Brings an event to those who listen, now or by way of the ring.
pub(crate) fn deliver(event: Event) {
    match ROLE.get() {
        Role::Drains => {
            // SAFETY: a thread that drains holds the lock and uses no reference.
            unsafe { tell_all(&event) };
        }
        Role::Tells | Role::None if QUEUED.load(Ordering::Acquire) => {
            let Some(channel) = CHANNEL.get() else {
                return;
            };
            let Some(boxed) = boxed(event) else {
                channel.ring.count_dropped();
                return;
            };
            let mut words = [0; WORDS];
            words[0] = boxed as u64;
            let record = Record {
                at: now(),
                tell: deliver_boxed,
                words,
            };
            if !channel.ring.push(record) {
                // SAFETY: nobody else has it.
                drop(unsafe { Box::from_raw(boxed) });
            }
            if ASLEEP.load(Ordering::Relaxed) && ASLEEP.swap(false, Ordering::SeqCst) {
                ring_the_bell();
            }
        }
        Role::Tells => {}
        Role::None => {
            drain();
            with_listeners(|all| {
                for listener in all {
                    listener.tell(&event);
                    listener.subscriber.flush();
                }
            });
        }
    }
}

/// The event in memory of its own, as a `Box` has it, if there is any.
fn boxed(event: Event) -> Option<*mut Event> {
    let layout = Layout::new::<Event>();
    // SAFETY: an event has a size, and the memory is as a box would have it.
    unsafe {
        let at = alloc(layout).cast::<Event>();
        if at.is_null() {
            return None;
        }
        at.write(event);
        Some(at)
    }
}

fn deliver_boxed(words: &[u64; WORDS]) {
    // SAFETY: made by `deliver`, and told once.
    let event = unsafe { Box::from_raw(words[0] as *mut Event) };
    deliver(*event);
}

/// # Safety
/// The caller must hold `LISTENERS` and use no reference to its value.
unsafe fn tell_all(event: &Event) {
    ROLE.set(Role::Tells);
    // SAFETY: the caller's contract.
    for listener in unsafe { LISTENERS.value() } {
        listener.tell(event);
    }
    ROLE.set(Role::Drains);
}

/// Tells everything that is in the ring, and how much found no room there.
fn drain() -> bool {
    let Some(channel) = CHANNEL.get() else {
        return false;
    };
    if !LISTENERS.take(PATIENCE) {
        return false;
    }
    let before = ROLE.replace(Role::Drains);
    let mut any = false;
    // As much as the ring holds, so that the listeners' writes are not put off for ever.
    for _ in 0..SLOTS {
        // SAFETY: only the holder of the lock pops.
        let Some(record) = (unsafe { channel.ring.pop() }) else {
            break;
        };
        any = true;
        // An event that is made already takes no more memory, and gives some back.
        let is_made = core::ptr::fn_addr_eq(record.tell, deliver_boxed as fn(&[u64; WORDS]));
        if SPARING.load(Ordering::Relaxed) && !is_made {
            channel.ring.count_dropped();
            continue;
        }
        dated(record.at, || (record.tell)(&record.words));
    }
    let dropped = if SPARING.load(Ordering::Relaxed) {
        0
    } else {
        channel.ring.take_dropped()
    };
    if dropped > 0 {
        events::EventsLost { count: dropped }.emit();
    }
    ROLE.set(Role::Tells);
    if any || dropped > 0 {
        // SAFETY: the lock is ours.
        for listener in unsafe { LISTENERS.value() } {
            listener.subscriber.flush();
        }
    }
    ROLE.set(before);
    LISTENERS.give();
    any
}

/// From now on events go through the ring, if `served`: somebody calls [`serve`] soon.
/// Else it turns out that nobody does.
pub fn queue(served: bool) {
    QUEUED.store(served && is_open(), Ordering::SeqCst);
}

/// Whether anybody may listen, so that a drain is needed.
pub fn is_open() -> bool {
    CHANNEL.get().is_some()
}

/// The body of the drain thread.
pub fn serve() -> ! {
    let mut idle_since = None;
    loop {
        let seen = BELL.load(Ordering::SeqCst);
        let wanted = WANTED.load(Ordering::SeqCst);
        let any = drain();
        if DONE.swap(wanted, Ordering::SeqCst) != wanted {
            let _ = futex::wake(&DONE, futex::Flags::PRIVATE, u32::MAX >> 1);
        }
        if any {
            idle_since = None;
        }
        let now = now();
        let deep = now - *idle_since.get_or_insert(now) > LINGER;
        if deep {
            ASLEEP.store(true, Ordering::SeqCst);
            if CHANNEL.get().is_some_and(|c| !c.ring.is_empty()) {
                ASLEEP.store(false, Ordering::SeqCst);
                idle_since = None;
                continue;
            }
        }
        let nap = Timespec {
            tv_sec: 0,
            tv_nsec: NAP,
        };
        // The bell has rung, or the time is up: either way it looks again.
        let _ = futex::wait(&BELL, futex::Flags::PRIVATE, seen, (!deep).then_some(&nap));
        ASLEEP.store(false, Ordering::SeqCst);
    }
}

/// Waits, a limited time, until everything pushed so far has been told. With a drain:
/// any mode, also in a signal handler. Without: where allocating is allowed.
pub fn flush() {
    if CHANNEL.get().is_none() {
        return;
    }
    if !is_served() {
        drain();
        return;
    }
    let goal = WANTED.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
    ring_the_bell();
    let begin = now();
    loop {
        let done = DONE.load(Ordering::SeqCst);
        let spent = now() - begin;
        if goal.wrapping_sub(done) as i32 <= 0 || spent > PATIENCE {
            return;
        }
        let rest = PATIENCE - spent;
        let rest = Timespec {
            tv_sec: (rest / 1_000_000_000) as i64,
            tv_nsec: (rest % 1_000_000_000) as i64,
        };
        // Woken or not, `DONE` tells.
        let _ = futex::wait(&DONE, futex::Flags::PRIVATE, done, Some(&rest));
    }
}

/// Whether a drain thread runs, or soon will.
pub fn is_served() -> bool {
    QUEUED.load(Ordering::SeqCst)
}

/// Before a fork: no other thread may be in the middle of a listener. False if one
/// stays there: the child can tell nothing then.
pub fn before_fork() -> bool {
    if !is_open() {
        return true;
    }
    // One who was stuck may be for ever, and a program may fork often.
    let patience = if STUCK.load(Ordering::Relaxed) {
        0
    } else {
        PATIENCE / 2
    };
    let held = LISTENERS.take(patience);
    STUCK.store(!held, Ordering::Relaxed);
    held
}

/// After a fork, in the parent. `held` is what [`before_fork`] returned.
pub fn after_fork_in_parent(held: bool) {
    if held && is_open() {
        LISTENERS.give();
    }
}

/// After a fork, in the child: an empty ring and no drain. Guest mode.
///
/// # Safety
/// The caller must be the only thread.
pub unsafe fn after_fork_in_child(held: bool) {
    QUEUED.store(false, Ordering::Relaxed);
    ASLEEP.store(false, Ordering::Relaxed);
    DONE.store(WANTED.load(Ordering::Relaxed), Ordering::Relaxed);
    let Some(channel) = CHANNEL.get() else {
        return;
    };
    // SAFETY: our own memory, which nobody uses; what it held was the parent's. The
    // kernel does not refuse this for a private anonymous mapping.
    unsafe {
        let _ = madvise(channel.memory, BYTES, Advice::LinuxDontNeed);
        channel.ring.restart();
    }
    if held {
        LISTENERS.give();
    }
}
