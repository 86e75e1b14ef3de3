//! Pending signals and what came with them, in memory that grows with their number.
//!
//! A standard signal is pending once. A realtime signal is pending as often as it
//! was sent, and each needs an entry of the pool. What the kernel has accepted is never lost:
//! without memory for it, a realtime signal is [left](has_room) where it is. How many a guest may send is
//! [`limit`](super::limit)'s; beyond that a signal is pending all the same where the kernel says
//! so, and loses only what came with it.
//!
//! # Synchronization
//! As [`super`].
#![allow(unsafe_code)]

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use super::{FAULTS, Info, bit, signals};
use crate::blocks::Blocks;
use crate::hub::Hub;

#[derive(Clone, Copy)]
struct Entry {
    info: Info,
    /// Index + 1 of the next entry; 0 at the end.
    next: u32,
}

struct Pool {
    entries: Blocks<Entry, 128>,
    used: Cell<u32>,
    free: Cell<u32>,
    /// Entries that are in a queue.
    taken: Cell<u32>,
    /// Whose signals wait for an entry, or null.
    wanted: Cell<*const Hub>,
}

// SAFETY: see Synchronization.
unsafe impl Sync for Pool {}

static POOL: Pool = Pool {
    entries: Blocks::new(),
    used: Cell::new(0),
    free: Cell::new(0),
    taken: Cell::new(0),
    wanted: Cell::new(ptr::null()),
};

impl Pool {
    /// The entry with that index + 1.
    fn at(&self, link: u32) -> *mut Entry {
        let entry = self.entries.get(link as usize - 1);
        entry.expect("links are made by `take`").as_ptr()
    }

    fn has_room(&self) -> bool {
        let used = self.used.get() as usize;
        self.free.get() != 0 || used < self.entries.count() || self.entries.grow()
    }

    fn take(&self) -> Option<u32> {
        if !self.has_room() {
            return None;
        }
        self.taken.set(self.taken.get() + 1);
        let free = self.free.get();
        if free != 0 {
            // SAFETY: a free entry, which nobody refers to.
            self.free.set(unsafe { (*self.at(free)).next });
            return Some(free);
        }
        self.used.set(self.used.get() + 1);
        Some(self.used.get())
    }

    fn put(&self, link: u32) {
        // SAFETY: the caller took it out of its queue.
        unsafe { (*self.at(link)).next = self.free.get() };
        self.free.set(link);
        self.taken.set(self.taken.get() - 1);
        // SAFETY: null or the hub, which is never freed.
        if let Some(hub) = unsafe { self.wanted.replace(ptr::null()).as_ref() } {
            hub.signals.store(true, Ordering::SeqCst);
        }
    }
}

/// Has memory for the first signals while there is some; without it they get theirs later.
pub(super) fn reserve() {
    POOL.has_room();
}

/// Signals of `hub` have arrived that wait for an entry: it looks again when one is freed.
pub(super) fn note_wanted(hub: &Hub) {
    POOL.wanted.set(hub);
}

/// Whether one signal more can be kept with what came with it.
pub(super) fn has_room() -> bool {
    POOL.has_room()
}

/// Signals that are kept here, for whomever, with what came with them.
pub(super) fn kept() -> u64 {
    u64::from(POOL.taken.get())
}

/// Signals that were added to a queue since they were last discarded: what was never
/// sent need not be looked for among all guests.
struct Pushed(Cell<u64>);

// SAFETY: see Synchronization.
unsafe impl Sync for Pushed {}

static PUSHED: Pushed = Pushed(Cell::new(0));

/// Whether a signal may be pending anywhere.
pub(super) fn was_pushed(signal: i32) -> bool {
    PUSHED.0.get() & bit(signal) != 0
}

/// Every queue was rid of a signal.
pub(super) fn note_discarded(signal: i32) {
    PUSHED.0.set(PUSHED.0.get() & !bit(signal));
}

/// First of the realtime signals.
pub(super) const FIRST_REALTIME: i32 = 32;

/// The signals of `ready` that are handled before all others: faults, else all, of which the
/// lowest is first (the kernel's `next_signal`).
const fn foremost(ready: u64) -> u64 {
    let faults = ready & FAULTS;
    if faults != 0 { faults } else { ready }
}

/// The signal of `ready` that is handled first.
pub(super) fn first_of(ready: u64) -> Option<i32> {
    signals(foremost(ready)).next()
}

/// The signals that are handled before `signal`.
pub(super) const fn before(signal: i32) -> u64 {
    let lower = bit(signal) - 1;
    if bit(signal) & FAULTS != 0 {
        lower & FAULTS
    } else {
        lower | FAULTS
    }
}

/// Pending signals in the order of their arrival.
pub struct Queue {
    /// Read by the guest in its own code too, while another processor may add to them.
    bits: AtomicU64,
    head: Cell<u32>,
    tail: Cell<u32>,
}

impl Queue {
    /// Nothing pending.
    pub const fn new() -> Self {
        Queue {
            bits: AtomicU64::new(0),
            head: Cell::new(0),
            tail: Cell::new(0),
        }
    }

    /// Which signals are pending.
    #[inline]
    pub fn bits(&self) -> u64 {
        self.bits.load(Ordering::Relaxed)
    }

    /// Whether one more of a signal is one too many: a standard signal is pending once, and one
    /// of a timer is counted into the one that is pending.
    fn counts_already(&self, signal: i32, info: &Info) -> bool {
        self.has_standard(signal) || info.code() == libc::SI_TIMER && self.count_into(signal, info)
    }

    /// Adds a signal, and what came with it if there is memory.
    pub fn push(&self, signal: i32, info: &Info) {
        if self.counts_already(signal, info) {
            return;
        }
        match POOL.take() {
            Some(new) => self.link(new, signal, info),
            None => self.add_bit(signal),
        }
    }

    /// Adds a signal without what came with it.
    pub fn push_bare(&self, signal: i32, info: &Info) {
        if !self.counts_already(signal, info) {
            self.add_bit(signal);
        }
    }

    fn add_bit(&self, signal: i32) {
        PUSHED.0.set(PUSHED.0.get() | bit(signal));
        let bits = self.bits() | bit(signal);
        self.bits.store(bits, Ordering::Relaxed);
    }

    /// Puts an entry that was taken at the end.
    fn link(&self, new: u32, signal: i32, info: &Info) {
        // SAFETY: a free entry, now ours; links of this queue are entries of its own.
        unsafe {
            *POOL.at(new) = Entry {
                info: *info,
                next: 0,
            };
            (*POOL.at(new)).info.set_signal(signal);
            if self.head.get() == 0 {
                self.head.set(new);
            } else {
                (*POOL.at(self.tail.get())).next = new;
            }
        }
        self.tail.set(new);
        self.add_bit(signal);
    }

    /// Whether a signal is pending that is pending once only.
    pub fn has_standard(&self, signal: i32) -> bool {
        signal < FIRST_REALTIME && self.bits() & bit(signal) != 0
    }

    /// If a signal of the same timer is pending, this one is among its overruns, as in the
    /// kernel, which has one of a timer pending at a time.
    fn count_into(&self, signal: i32, more: &Info) -> bool {
        let mut at = if self.bits() & bit(signal) == 0 {
            0
        } else {
            self.head.get()
        };
        while at != 0 {
            // SAFETY: links of this queue are entries of its own.
            let entry = unsafe { &mut *POOL.at(at) };
            let info = &mut entry.info;
            if (info.signal(), info.code(), info.pid()) == (signal, libc::SI_TIMER, more.pid()) {
                let all = info.overrun().saturating_add(more.overrun());
                info.set_overrun(all.saturating_add(1));
                return true;
            }
            at = entry.next;
        }
        false
    }

    /// The signal of `set` that is handled first.
    pub fn first(&self, set: u64) -> Option<i32> {
        first_of(self.bits() & set)
    }

    /// Takes the first of a signal, with what the kernel says of one for which there was no
    /// room to keep what came with it.
    pub fn take(&self, signal: i32) -> Option<Info> {
        if self.bits() & bit(signal) == 0 {
            return None;
        }
        let mut found = None;
        let mut more = false;
        let (mut before, mut at) = (0, self.head.get());
        while at != 0 {
            // SAFETY: links of this queue are entries of its own.
            let entry = unsafe { *POOL.at(at) };
            if entry.info.signal() == signal {
                if found.is_some() {
                    more = true;
                    break;
                }
                found = Some(entry.info);
                if before == 0 {
                    self.head.set(entry.next);
                } else {
                    // SAFETY: as above.
                    unsafe { (*POOL.at(before)).next = entry.next };
                }
                if entry.next == 0 {
                    self.tail.set(before);
                }
                POOL.put(at);
            } else {
                before = at;
            }
            at = entry.next;
        }
        if !more {
            self.bits
                .store(self.bits() & !bit(signal), Ordering::Relaxed);
        }
        found.or(Some(Info::of_sender(signal, libc::SI_USER, 0, 0)))
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let mut at = self.head.replace(0);
        self.tail.set(0);
        while at != 0 {
            // SAFETY: as in `take`.
            let next = unsafe { (*POOL.at(at)).next };
            POOL.put(at);
            at = next;
        }
        self.bits.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(signal: i32, pid: i32) -> Info {
        Info::of_sender(signal, libc::SI_USER, pid, 0)
    }

    #[test]
    fn faults_come_first_and_then_the_lowest() {
        assert_eq!(first_of(0), None);
        assert_eq!(first_of(bit(64) | bit(34)), Some(34));
        assert_eq!(first_of(bit(1) | bit(libc::SIGSEGV)), Some(libc::SIGSEGV));
        let faults = bit(libc::SIGSEGV) | bit(libc::SIGTRAP);
        assert_eq!(first_of(faults), Some(libc::SIGTRAP));
        for signal in 1..=64 {
            for other in (1..=64).filter(|&other| other != signal) {
                let earlier = first_of(bit(signal) | bit(other)) == Some(other);
                assert_eq!(
                    before(signal) & bit(other) != 0,
                    earlier,
                    "{signal} {other}"
                );
            }
        }
    }

    /// One test, because the pool is the hub's kernel thread's.
    #[test]
    fn standard_signals_coalesce_and_realtime_signals_queue() {
        let queue = Queue::new();
        queue.push(10, &info(10, 1));
        queue.push(10, &info(10, 2));
        queue.push(40, &info(40, 3));
        queue.push(40, &info(40, 4));
        assert_eq!((queue.bits(), kept()), (bit(10) | bit(40), 3));
        assert_eq!(queue.take(40), Some(info(40, 3)));
        assert_eq!(queue.bits(), bit(10) | bit(40));
        assert_eq!(queue.take(40), Some(info(40, 4)));
        assert_eq!(queue.bits(), bit(10));
        assert_eq!(queue.take(40), None);
        // Behind the last one that is left.
        queue.push(41, &info(41, 9));
        assert_eq!(queue.take(10), Some(info(10, 1)));
        assert_eq!(queue.take(10), None);
        assert_eq!(queue.take(41), Some(info(41, 9)));

        const MANY: i32 = 50_000;
        for n in 0..MANY {
            assert!(has_room());
            queue.push(50, &info(50, n));
        }
        queue.push_bare(12, &info(12, 7));
        queue.push_bare(50, &info(50, 7));
        assert_eq!(kept(), MANY as u64);
        assert_eq!(queue.take(12), Some(info(12, 0)));
        for n in 0..MANY {
            assert_eq!(queue.take(50), Some(info(50, n)));
        }
        assert_eq!((queue.bits(), kept()), (0, 0));
        queue.push(1, &info(1, 1));
        queue.clear();
        assert_eq!((queue.take(1), kept()), (None, 0));
    }
}
