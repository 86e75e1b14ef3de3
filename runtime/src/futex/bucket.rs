//! One wait queue: the waiters on all addresses of one hash.
#![allow(unsafe_code)]

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering, Ordering::Relaxed};

use super::sync::{AtomicU32, barrier_after_rmw, fence, relax};
use super::waiter::{Kind, Waiter, Woken};
use crate::errno::Errno;

/// A lock held for some tens of instructions. On one hub it is never contended:
/// nothing is switched or run by a signal while it is held. Threads of other
/// hubs and foreign threads spin, then yield the processor.
struct SpinLock(AtomicU32);

impl SpinLock {
    fn lock(&self) {
        let mut rounds = 0;
        while self
            .0
            .compare_exchange(0, 1, Ordering::Acquire, Relaxed)
            .is_err()
        {
            relax(&mut rounds);
            while self.0.load(Relaxed) != 0 {
                relax(&mut rounds);
            }
        }
    }

    fn unlock(&self) {
        self.0.store(0, Ordering::Release);
    }
}

/// The queue of all addresses with one hash, first come first.
///
/// # Synchronization
/// `lock` owns `head`, `tail` and the links of the nodes between them.
/// `waiters` counts those nodes, and operations that are about to add one; it
/// is read without the lock (see [`Bucket::pending`]).
#[repr(C, align(32))]
pub(super) struct Bucket {
    lock: SpinLock,
    waiters: AtomicU32,
    head: AtomicPtr<Waiter>,
    tail: AtomicPtr<Waiter>,
}

impl Bucket {
    /// An empty queue. The words are parameters because loom's can't be made in
    /// a constant.
    pub(super) const fn new(lock: AtomicU32, waiters: AtomicU32) -> Self {
        Bucket {
            lock: SpinLock(lock),
            waiters,
            head: AtomicPtr::new(ptr::null_mut()),
            tail: AtomicPtr::new(ptr::null_mut()),
        }
    }

    pub(super) fn lock(&self) -> Queue<'_> {
        self.lock.lock();
        Queue { bucket: self }
    }

    /// Forgets everything, the lock's state included.
    pub(super) fn reset(&self) {
        self.head.store(ptr::null_mut(), Relaxed);
        self.tail.store(ptr::null_mut(), Relaxed);
        self.waiters.store(0, Relaxed);
        self.lock.unlock();
    }

    /// Counts a waiter about to be queued, before the caller reads the word.
    /// With [`pending`](Self::pending) this is the store-buffering pattern:
    ///
    /// ```text
    ///   waiter                   waker
    ///   waiters += 1             word = new
    ///   full barrier             full barrier
    ///   read word                read waiters
    /// ```
    ///
    /// Not both reads can miss the other side's write: either the waiter sees
    /// the new value and returns EAGAIN, or the waker sees the count and takes
    /// the lock, where it finds the waiter queued. The kernel argues the same
    /// way at the head of kernel/futex/waitwake.c.
    pub(super) fn announce(&self) {
        self.waiters.fetch_add(1, Ordering::SeqCst);
        barrier_after_rmw();
    }

    /// Takes back `n` announcements. Relaxed: a waker that still sees the old
    /// count merely takes the lock in vain.
    pub(super) fn retract(&self, n: u32) {
        self.waiters.fetch_sub(n, Relaxed);
    }

    /// Whether a waker has to look into the queue. Orders the program's write
    /// of the word, before the call, against the read of the count; see
    /// [`announce`](Self::announce).
    #[inline]
    pub(super) fn pending(&self) -> bool {
        fence(Ordering::SeqCst);
        self.waiters.load(Relaxed) != 0
    }
}

/// A bucket with its lock held. Nodes reached through it are valid as long as
/// it is: a node leaves the queue only under the lock, and its memory goes away
/// only after it left.
pub(super) struct Queue<'a> {
    pub(super) bucket: &'a Bucket,
}

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        self.bucket.lock.unlock();
    }
}

impl Queue<'_> {
    fn node(&self, at: *mut Waiter) -> Option<&Waiter> {
        // SAFETY: a non-null link of a locked queue points to a queued node,
        // which `Table::enqueue`'s caller keeps in place until it has left.
        unsafe { at.as_ref() }
    }

    pub(super) fn first(&self) -> Option<&Waiter> {
        self.node(self.bucket.head.load(Relaxed))
    }

    pub(super) fn after(&self, waiter: &Waiter) -> Option<&Waiter> {
        self.node(waiter.next.load(Relaxed))
    }

    /// The first waiter on `key`, at or behind `from`.
    pub(super) fn matching<'q>(
        &'q self,
        mut from: Option<&'q Waiter>,
        key: usize,
    ) -> Option<&'q Waiter> {
        while let Some(waiter) = from {
            if waiter.key() == key {
                return from;
            }
            from = self.after(waiter);
        }
        None
    }

    /// The waiter on `key` that came first.
    pub(super) fn first_of(&self, key: usize) -> Option<&Waiter> {
        self.matching(self.first(), key)
    }

    /// Queues a node that was announced.
    pub(super) fn push(&self, waiter: &Waiter) {
        let node = ptr::from_ref(waiter).cast_mut();
        let tail = self.bucket.tail.load(Relaxed);
        waiter.prev.store(tail, Relaxed);
        waiter.next.store(ptr::null_mut(), Relaxed);
        match self.node(tail) {
            Some(last) => last.next.store(node, Relaxed),
            None => self.bucket.head.store(node, Relaxed),
        }
        self.bucket.tail.store(node, Relaxed);
        waiter.mark_queued();
    }

    /// Takes a node out; its announcement goes with it.
    pub(super) fn unlink(&self, waiter: &Waiter) {
        let next = waiter.next.load(Relaxed);
        let prev = waiter.prev.load(Relaxed);
        match self.node(prev) {
            Some(before) => before.next.store(next, Relaxed),
            None => self.bucket.head.store(next, Relaxed),
        }
        match self.node(next) {
            Some(behind) => behind.prev.store(prev, Relaxed),
            None => self.bucket.tail.store(prev, Relaxed),
        }
        self.bucket.retract(1);
    }

    /// Moves up to `limit` plain waiters on `key` that share a bit with
    /// `bitset` to `woken`. A PI waiter in the way ends it with `EINVAL`; those
    /// moved before it stay moved, as in the kernel.
    pub(super) fn take(
        &self,
        key: usize,
        limit: u32,
        bitset: u32,
        woken: &mut Woken,
    ) -> Result<u32, Errno> {
        let mut taken = 0;
        let mut from = self.first();
        while let Some(waiter) = self.matching(from, key) {
            from = self.after(waiter);
            if waiter.kind() != Kind::Plain {
                return Err(Errno::EINVAL);
            }
            if waiter.bitset.load(Relaxed) & bitset == 0 {
                continue;
            }
            self.unlink(waiter);
            woken.push(waiter);
            taken += 1;
            if taken >= limit {
                break;
            }
        }
        Ok(taken)
    }
}
