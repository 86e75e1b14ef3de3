//! What signals need for each kernel thread that runs guests.
//!
//! # Synchronization
//! The ring has one producer, the signal handler while it interrupts our own code on this
//! kernel thread, and one consumer, our code on whichever (one at a time). `held` and `full`
//! say how this kernel thread's mask is; they and the stack are its own.
#![allow(unsafe_code)]

use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::Info;

/// A signal that arrived while our code ran.
#[derive(Clone, Copy)]
pub(super) struct Arrived {
    pub info: Info,
    /// Id of the guest it is for; 0 or [`RUNNING`](super::timer::RUNNING) if it is the
    /// process's.
    pub guest: i32,
}

/// Signals the ring holds. When it is full, everything is blocked until it is
/// emptied, so that nothing is lost. Every thread that may run guests has one, in `.bss`.
const RING: usize = 16;

/// See the file's first lines.
pub struct OfThread {
    ring: UnsafeCell<[Arrived; RING]>,
    /// Taken, put: indices that only grow.
    head: AtomicUsize,
    tail: AtomicUsize,
    /// The handler blocked everything because the ring is full.
    full: AtomicBool,
    /// Everything is blocked in the kernel for now; who blocked it ends that.
    pub(super) held: Cell<bool>,
    /// What this kernel thread blocks for sure. Read by others.
    pub(super) shown: AtomicU64,
    /// Lowest address of the stack our handler runs on; 0 before there is one.
    pub(super) stack: Cell<u64>,
    /// The kernel has that stack.
    pub(super) on_own_stack: Cell<bool>,
}

impl OfThread {
    /// Nothing arrived, no stack.
    pub const fn new() -> Self {
        OfThread {
            ring: UnsafeCell::new(
                [Arrived {
                    info: Info::EMPTY,
                    guest: 0,
                }; RING],
            ),
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            held: Cell::new(false),
            shown: AtomicU64::new(0),
            stack: Cell::new(0),
            on_own_stack: Cell::new(false),
        }
    }

    /// Called by the handler. True: everything must be blocked when it returns.
    pub(super) fn put(&self, arrived: Arrived) -> bool {
        let tail = self.tail.load(Ordering::Relaxed);
        // SAFETY: the slot is free: the ring is never filled beyond its last slot, and
        // the consumer does not read slots at or after `tail`.
        unsafe { (*self.ring.get())[tail % RING] = arrived };
        self.tail.store(tail + 1, Ordering::Release);
        let full = tail + 1 - self.head.load(Ordering::Acquire) == RING;
        if full {
            self.full.store(true, Ordering::Relaxed);
        }
        full
    }

    /// Takes the oldest that `fits`.
    pub(super) fn take(&self, fits: impl Fn(&Arrived) -> bool) -> Option<Arrived> {
        let head = self.head.load(Ordering::Relaxed);
        let tail = self.tail.load(Ordering::Acquire);
        let slots = self.ring.get().cast::<Arrived>();
        // SAFETY: between head and tail, so written and not being written.
        let read = |at: usize| unsafe { *slots.add(at % RING) };
        let at = (head..tail).find(|&at| fits(&read(at)))?;
        let arrived = read(at);
        for to in (head + 1..=at).rev() {
            // SAFETY: as above; the producer reads none of them.
            unsafe { *slots.add(to % RING) = read(to - 1) };
        }
        self.head.store(head + 1, Ordering::Release);
        Some(arrived)
    }

    /// Whether none is left to take.
    pub(super) fn is_empty(&self) -> bool {
        self.left() == 0
    }

    fn left(&self) -> usize {
        self.tail.load(Ordering::Acquire) - self.head.load(Ordering::Relaxed)
    }

    /// Whether the handler has blocked everything, and nobody has ended that since there is
    /// room again.
    pub(super) fn is_full_no_more(&self) -> bool {
        self.is_full() && self.left() < RING
    }

    /// Whether the handler has blocked everything, and nobody has ended that.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Whether the handler blocked everything since the last call, and there is room again. On
    /// this kernel thread.
    pub(super) fn take_full(&self) -> bool {
        self.is_full_no_more() && self.full.swap(false, Ordering::Relaxed)
    }

    /// In a forked child: the stack of the kernel thread that forked is this one's.
    pub fn take_stack_of(&self, other: &OfThread) {
        self.stack.set(other.stack.replace(0));
        self.on_own_stack.set(other.on_own_stack.replace(false));
    }

    /// In a forked child: the kernel thread is gone.
    pub fn free_stack(&self) {
        self.on_own_stack.set(false);
        super::free_own_stack(self.stack.replace(0));
    }

    /// In a forked child: nothing is pending.
    pub fn reset(&self) {
        self.head.store(0, Ordering::Relaxed);
        self.tail.store(0, Ordering::Relaxed);
        self.full.store(false, Ordering::Relaxed);
        self.held.set(false);
    }
}

impl Default for OfThread {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_passed_and_keeps_its_place() {
        let ring = OfThread::new();
        let put = |signal| {
            let info = Info::of_sender(signal, libc::SI_USER, 0, 0);
            ring.put(Arrived { info, guest: 0 })
        };
        let take = |least, most| {
            let fits = |arrived: &Arrived| (least..=most).contains(&arrived.info.signal());
            ring.take(fits).map(|arrived| arrived.info.signal())
        };
        // So that it goes round the end.
        for _ in 0..RING - 2 {
            assert!(!put(1));
            assert_eq!(take(1, 64), Some(1));
        }
        for signal in [40, 41, 10, 42, 11] {
            assert!(!put(signal));
        }
        assert_eq!(take(1, 31), Some(10));
        assert_eq!(take(1, 31), Some(11));
        assert_eq!(take(1, 31), None);
        assert!(!ring.is_empty());
        assert_eq!(
            [take(1, 64), take(1, 64), take(1, 64)],
            [40, 41, 42].map(Some)
        );
        assert!(ring.is_empty());
    }

    #[test]
    fn a_full_ring_is_full_no_more_once_one_is_taken() {
        let ring = OfThread::new();
        for at in 1..=RING {
            let info = Info::of_sender(10, libc::SI_USER, 0, 0);
            assert_eq!(ring.put(Arrived { info, guest: 0 }), at == RING);
        }
        assert!(ring.is_full() && !ring.is_full_no_more());
        assert!(!ring.take_full());
        assert!(ring.take(|_| true).is_some());
        assert!(ring.is_full_no_more() && ring.take_full() && !ring.is_full());
    }
}
