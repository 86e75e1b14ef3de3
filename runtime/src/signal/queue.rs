//! Pending signals and what came with them, in memory of fixed size.
//!
//! A standard signal is pending once. A realtime signal is pending as often as it
//! was sent; each needs an entry of the pool, and without one the sender is told
//! (EAGAIN), as at the kernel's RLIMIT_SIGPENDING. A standard signal without an
//! entry is pending all the same and loses only what came with it.
//!
//! # Synchronization
//! As [`super`].
#![allow(unsafe_code)]

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use super::{FAULTS, Info, bit, signals};
use crate::blocks::Blocks;
use crate::ops::sched;

/// Entries of the pool at most.
const ENTRIES: usize = 8192;

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
    /// Entries that are in use.
    taken: Cell<u32>,
}

// SAFETY: see Synchronization.
unsafe impl Sync for Pool {}

static POOL: Pool = Pool {
    entries: Blocks::new(),
    used: Cell::new(0),
    free: Cell::new(0),
    taken: Cell::new(0),
};

impl Pool {
    /// The entry with that index + 1.
    fn at(&self, link: u32) -> *mut Entry {
        let entry = self.entries.get(link as usize - 1);
        entry.expect("links are made by `take`").as_ptr()
    }

    fn take(&self) -> Option<u32> {
        let free = self.free.get();
        if free != 0 {
            // SAFETY: a free entry, which nobody refers to.
            self.free.set(unsafe { (*self.at(free)).next });
            self.taken.set(self.taken.get() + 1);
            return Some(free);
        }
        let used = self.used.get();
        let there = (used as usize) < self.entries.count() || self.entries.grow();
        if used as usize == ENTRIES || !there {
            return None;
        }
        self.used.set(used + 1);
        self.taken.set(self.taken.get() + 1);
        Some(used + 1)
    }

    fn put(&self, link: u32) {
        // SAFETY: the caller took it out of its queue.
        unsafe { (*self.at(link)).next = self.free.get() };
        self.taken.set(self.taken.get() - 1);
        self.free.set(link);
    }
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

/// Whether RLIMIT_SIGPENDING leaves no room for a signal that a thread of the program sends with
/// something that comes with it.
pub(super) fn is_full() -> bool {
    POOL.taken.get() as u64 >= sched::limit(libc::RLIMIT_SIGPENDING)
}

/// Pending signals in the order of their arrival.
pub struct Queue {
    /// Read by the guest in its own code too, while another processor may add to them.
    bits: AtomicU64,
    head: Cell<u32>,
}

impl Queue {
    /// Nothing pending.
    pub const fn new() -> Self {
        Queue {
            bits: AtomicU64::new(0),
            head: Cell::new(0),
        }
    }

    /// Which signals are pending.
    #[inline]
    pub fn bits(&self) -> u64 {
        self.bits.load(Ordering::Relaxed)
    }

    /// Adds a signal. False: a realtime signal with no room for it.
    pub fn push(&self, signal: i32, info: &Info) -> bool {
        let standard = signal < FIRST_REALTIME;
        if standard && self.bits() & bit(signal) != 0 {
            return true;
        }
        if info.code() == libc::SI_TIMER && self.count_into(signal, info) {
            return true;
        }
        PUSHED.0.set(PUSHED.0.get() | bit(signal));
        let Some(new) = POOL.take() else {
            if standard {
                self.bits
                    .store(self.bits() | bit(signal), Ordering::Relaxed);
            }
            return standard;
        };
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
                let mut at = self.head.get();
                while (*POOL.at(at)).next != 0 {
                    at = (*POOL.at(at)).next;
                }
                (*POOL.at(at)).next = new;
            }
        }
        self.bits
            .store(self.bits() | bit(signal), Ordering::Relaxed);
        true
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

    /// The signal of `set` that is handled first: a fault, else the lowest.
    pub fn first(&self, set: u64) -> Option<i32> {
        let ready = self.bits() & set;
        let faults = ready & FAULTS;
        signals(if faults != 0 { faults } else { ready }).next()
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

    /// One test, because the pool is the hub's kernel thread's.
    #[test]
    fn standard_signals_coalesce_and_realtime_signals_queue() {
        let queue = Queue::new();
        assert!(queue.push(10, &info(10, 1)));
        assert!(queue.push(10, &info(10, 2)));
        assert!(queue.push(40, &info(40, 3)));
        assert!(queue.push(40, &info(40, 4)));
        assert_eq!(queue.bits(), bit(10) | bit(40));
        assert_eq!(queue.take(40), Some(info(40, 3)));
        assert_eq!(queue.bits(), bit(10) | bit(40));
        assert_eq!(queue.take(40), Some(info(40, 4)));
        assert_eq!(queue.bits(), bit(10));
        assert_eq!(queue.take(40), None);
        assert_eq!(queue.take(10), Some(info(10, 1)));
        assert_eq!(queue.take(10), None);

        let mut n = 0;
        while queue.push(50, &info(50, n)) {
            n += 1;
        }
        assert_eq!(n as usize, ENTRIES);
        assert!(queue.push(12, &info(12, 7)));
        assert_eq!(queue.take(12), Some(info(12, 0)));
        for i in 0..n {
            assert_eq!(queue.take(50), Some(info(50, i)));
        }
        assert_eq!(queue.bits(), 0);
        queue.push(1, &info(1, 1));
        queue.clear();
        assert_eq!(queue.take(1), None);
    }
}
