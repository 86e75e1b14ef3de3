//! One wait: the node that stands in a bucket's queue, and the list of those
//! just taken out of it.
#![allow(unsafe_code)]

use core::marker::PhantomPinned;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32 as PlainU32, Ordering};
use core::sync::atomic::{AtomicUsize as PlainUsize, Ordering::Relaxed};

use super::memory::address_of;
use super::sync::{AtomicU32, AtomicUsize, relax};

/// What a wait is for; which operations may end it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Kind {
    /// `FUTEX_WAIT` and its like: any wake or requeue.
    Plain = 0,
    /// `FUTEX_WAIT_REQUEUE_PI`, still on the first word: only
    /// `FUTEX_CMP_REQUEUE_PI`.
    RequeuePi = 1,
    /// Waits to own a PI futex: only the hand-over by its owner.
    Pi = 2,
}

/// Not in any queue: new, or cancelled.
const IDLE: u32 = 0;
/// In the queue of the bucket of `key`.
const QUEUED: u32 = 1;
/// Out of the queue; the waker is between taking it and its last access.
const WAKING: u32 = 2;
/// The waker is done with the node and its owner.
const WOKEN: u32 = 3;

/// A wait of one guest or foreign thread on one word. It lives where its owner
/// likes, usually on the stack of the call, and allocates nothing.
///
/// # Synchronization
/// `state` goes IDLE → QUEUED → (IDLE | WAKING → WOKEN → IDLE). The steps from
/// QUEUED are taken with the lock of the bucket of `key` held; WAKING → WOKEN by
/// the waker that took the first step, without a lock, as its very last access;
/// WOKEN → IDLE by whoever ends the wait.
/// `key` changes with the locks of both its old and its new bucket held. All
/// other fields are written by the owner while IDLE and from then on
/// only with the lock of the bucket of `key`, or by the waker while WAKING; they
/// are atomics so that sharing the node is sound, and need no ordering of their
/// own.
#[repr(C)]
pub struct Waiter {
    pub(super) next: AtomicPtr<Waiter>,
    pub(super) prev: AtomicPtr<Waiter>,
    pub(super) key: AtomicUsize,
    owner: AtomicPtr<()>,
    state: AtomicU32,
    pub(super) bitset: PlainU32,
    kind: PlainU32,
    /// Thread id of the owner, for PI.
    pub(super) tid: PlainU32,
    /// Thread id of the holder of the PI futex; meaningful in the first waiter
    /// of a PI futex.
    pub(super) holder: PlainU32,
    /// The PI futex that a [`Kind::RequeuePi`] wait is to end on.
    pub(super) target: PlainUsize,
    _pin: PhantomPinned,
}

impl Waiter {
    /// A wait whose wake is announced by a call with `owner`, which the table
    /// never looks into.
    pub fn new(owner: *mut ()) -> Self {
        Waiter {
            next: AtomicPtr::new(ptr::null_mut()),
            prev: AtomicPtr::new(ptr::null_mut()),
            key: AtomicUsize::new(0),
            owner: AtomicPtr::new(owner),
            state: AtomicU32::new(IDLE),
            bitset: PlainU32::new(0),
            kind: PlainU32::new(Kind::Plain as u32),
            tid: PlainU32::new(0),
            holder: PlainU32::new(0),
            target: PlainUsize::new(0),
            _pin: PhantomPinned,
        }
    }

    /// The word waited on; after a requeue the second one.
    pub fn address(&self) -> usize {
        address_of(self.key())
    }

    pub(super) fn key(&self) -> usize {
        self.key.load(Relaxed)
    }

    /// What is waited for. A wait begun as [`Kind::RequeuePi`] is [`Kind::Pi`]
    /// once it was requeued.
    pub fn kind(&self) -> Kind {
        match self.kind.load(Relaxed) {
            1 => Kind::RequeuePi,
            2 => Kind::Pi,
            _ => Kind::Plain,
        }
    }

    /// What was given to [`new`](Self::new).
    pub fn owner(&self) -> *mut () {
        self.owner.load(Relaxed)
    }

    /// True if a wake took the waiter out of the queue, even if the waker is
    /// not done with it yet. Meant for a look before parking; only
    /// [`Table::cancel`](super::Table::cancel) ends the wait.
    pub fn is_woken(&self) -> bool {
        self.state.load(Ordering::Acquire) >= WAKING
    }

    pub(super) fn prepare(&self, kind: Kind, bitset: u32, tid: u32) {
        self.bitset.store(bitset, Relaxed);
        self.set_kind(kind);
        self.tid.store(tid, Relaxed);
        self.holder.store(0, Relaxed);
        self.target.store(0, Relaxed);
    }

    pub(super) fn set_kind(&self, kind: Kind) {
        self.kind.store(kind as u32, Relaxed);
    }

    /// With the bucket's lock held.
    pub(super) fn mark_queued(&self) {
        self.state.store(QUEUED, Relaxed);
    }

    /// With the bucket's lock held.
    pub(super) fn mark_idle(&self) {
        self.state.store(IDLE, Relaxed);
    }

    pub(super) fn is_queued(&self) -> bool {
        self.state.load(Relaxed) == QUEUED
    }

    /// How far the wait is. If a waker has taken the node, waits until it is
    /// done with it; unless the answer is `Queued`, nobody else touches the node
    /// any more.
    pub(super) fn settle(&self) -> Settled {
        let mut rounds = 0;
        loop {
            // Acquire pairs with the Release of WOKEN: what the waker's
            // callback did is visible, and the node may be reused.
            match self.state.load(Ordering::Acquire) {
                QUEUED => return Settled::Queued,
                WAKING => relax(&mut rounds),
                WOKEN => {
                    self.state.store(IDLE, Relaxed);
                    return Settled::Woken;
                }
                _ => return Settled::Idle,
            }
        }
    }
}

/// What [`Waiter::settle`] found.
pub(super) enum Settled {
    Queued,
    Woken,
    Idle,
}

/// Waiters taken out of their queues, in order, whose owners are still to be
/// told. Strung on their own `next` links: they stay valid until WOKEN is
/// stored, because an owner may not leave before (see `Table::cancel`).
pub(super) struct Woken {
    head: *const Waiter,
    tail: *const Waiter,
}

impl Woken {
    pub(super) fn new() -> Self {
        Woken {
            head: ptr::null(),
            tail: ptr::null(),
        }
    }

    /// Takes over `waiter`, just unlinked, with its bucket's lock still held.
    pub(super) fn push(&mut self, waiter: &Waiter) {
        waiter.next.store(ptr::null_mut(), Relaxed);
        waiter.state.store(WAKING, Relaxed);
        if self.tail.is_null() {
            self.head = waiter;
        } else {
            // SAFETY: a node on this list is WAKING, hence still valid.
            unsafe { &*self.tail }
                .next
                .store(ptr::from_ref(waiter).cast_mut(), Relaxed);
        }
        self.tail = waiter;
    }

    /// Calls `wake` with each owner. No bucket lock may be held.
    pub(super) fn deliver(self, mut wake: impl FnMut(*mut ())) {
        let mut at = self.head;
        while !at.is_null() {
            // SAFETY: WAKING until the store below, hence still valid.
            let waiter = unsafe { &*at };
            at = waiter.next.load(Relaxed);
            wake(waiter.owner());
            waiter.state.store(WOKEN, Ordering::Release);
        }
    }
}
