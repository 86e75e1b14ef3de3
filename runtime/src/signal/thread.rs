//! What signals need for each kernel thread that runs guests.
//!
//! # Synchronization
//! The ring has one producer, the signal handler while it interrupts our own code on this
//! kernel thread, and one consumer, our code on whichever (one at a time). `held` and `full`
//! say how this kernel thread's mask is; they and the stack are its own.
#![allow(unsafe_code)]

use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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
/// emptied, so that nothing is lost.
const RING: usize = 64;

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

    /// Takes the oldest.
    pub(super) fn take(&self) -> Option<Arrived> {
        let head = self.head.load(Ordering::Relaxed);
        if head == self.tail.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: between head and tail, so written and not being written.
        let arrived = unsafe { (*self.ring.get())[head % RING] };
        self.head.store(head + 1, Ordering::Release);
        Some(arrived)
    }

    /// Whether the handler has blocked everything, and nobody has ended that.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Whether the handler blocked everything since the last call, and there is room again. On
    /// this kernel thread.
    pub(super) fn take_full(&self) -> bool {
        let left = self.tail.load(Ordering::Relaxed) - self.head.load(Ordering::Relaxed);
        self.is_full() && left < RING && self.full.swap(false, Ordering::Relaxed)
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
