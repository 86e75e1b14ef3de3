//! A bounded queue from many producers, any of which may be a guest or a signal
//! handler, to one consumer.
//!
//! Own code, and not a crate's, for what this place asks: the memory is mapped once
//! and zero bytes are an empty ring, so that a forked child empties it without
//! touching what the parent put there; a push neither allocates nor waits, not even
//! for another push that it has interrupted.
//!
//! # Synchronization
//! A position is claimed by advancing `tail`. A slot's `turn` says whose it is: `2n`
//! a producer's in lap `n`, `2n + 1` the consumer's. The store of `turn` that gives a
//! slot away releases its value, the load that finds it acquires it. `head` is the
//! consumer's own. A producer that finds its slot still full gives up, so it never
//! depends on what another thread does next; the consumer that finds a claimed slot
//! not yet filled takes the ring for empty and comes again.
#![allow(unsafe_code)]

use super::sync::{AtomicU64, AtomicUsize, Ordering, Value};

/// One place of the ring. Zero bytes are an empty one.
#[derive(Debug)]
pub struct Slot<T> {
    turn: AtomicUsize,
    value: Value<T>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Slot {
            turn: AtomicUsize::new(0),
            value: Value::default(),
        }
    }
}

/// See the file's first lines.
#[derive(Debug)]
pub struct Ring<T: 'static> {
    slots: &'static [Slot<T>],
    tail: AtomicUsize,
    head: AtomicUsize,
    dropped: AtomicU64,
}

// SAFETY: see Synchronization; values are copied in and out.
unsafe impl<T: Copy + Send> Sync for Ring<T> {}
// SAFETY: as above.
unsafe impl<T: Copy + Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    /// A ring over empty slots, a power of two of them.
    pub fn new(slots: &'static [Slot<T>]) -> Self {
        assert!(slots.len().is_power_of_two());
        Ring {
            slots,
            tail: AtomicUsize::new(0),
            head: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    fn place(&self, position: usize) -> (&Slot<T>, usize) {
        let slot = &self.slots[position & (self.slots.len() - 1)];
        (slot, 2 * (position / self.slots.len()))
    }

    /// Adds `value`. False, and counted, if there is no room.
    pub fn push(&self, value: T) -> bool {
        let mut position = self.tail.load(Ordering::Relaxed);
        loop {
            let (slot, free) = self.place(position);
            let turn = slot.turn.load(Ordering::Acquire);
            if turn == free {
                match self.tail.compare_exchange_weak(
                    position,
                    position + 1,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => {
                        // SAFETY: the position is ours, and the consumer has left it.
                        unsafe { slot.value.write(value) };
                        slot.turn.store(free + 1, Ordering::Release);
                        return true;
                    }
                    Err(now) => position = now,
                }
                continue;
            }
            let now = self.tail.load(Ordering::Relaxed);
            if turn < free && now == position {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return false;
            }
            position = now;
        }
    }

    /// Takes the oldest value.
    ///
    /// # Safety
    /// Only one thread may be in here at a time, and it must have seen what the one
    /// before it did.
    pub unsafe fn pop(&self) -> Option<T> {
        let position = self.head.load(Ordering::Relaxed);
        let (slot, free) = self.place(position);
        if slot.turn.load(Ordering::Acquire) != free + 1 {
            return None;
        }
        // SAFETY: filled, and ours until the turn changes.
        let value = unsafe { slot.value.read() };
        slot.turn.store(free + 2, Ordering::Release);
        self.head.store(position + 1, Ordering::Relaxed);
        Some(value)
    }

    /// Whether everything that was pushed has been taken.
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed) == self.tail.load(Ordering::Relaxed)
    }

    /// A value is dropped that is not pushed at all.
    pub fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Values that found no room since the last call.
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }

    /// Empties a ring whose slots were made zero by other means.
    ///
    /// # Safety
    /// Nobody else may be using the ring, and every slot must be zero.
    pub unsafe fn restart(&self) {
        self.tail.store(0, Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
        self.dropped.store(0, Ordering::Relaxed);
    }
}
