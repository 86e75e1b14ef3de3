//! The hash table of wait queues: wait, wake, cancel.
#![allow(unsafe_code)]

use core::ops::Range;
use core::pin::Pin;
use core::sync::atomic::{AtomicU32 as PlainU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::bucket::{Bucket, Queue};
use super::memory::{Memory, address_of};
use super::waiter::{Kind, Settled, Waiter, Woken};
use crate::errno::Errno;

/// The bitset of operations that have none.
pub const MATCH_ANY: u32 = u32::MAX;

/// How often futex(2) wakes for a count given by the program: the kernel counts
/// after it woke, in a signed int, so that zero and negative counts wake one.
#[inline]
pub(super) fn wake_limit(n: u32) -> u32 {
    (n as i32).max(1) as u32
}

/// How a wait ended.
pub(super) enum Ended {
    /// It was still queued.
    Cancelled,
    /// A waker took it.
    Woken,
    /// It had not begun, or was ended before.
    Idle,
}

/// Words of the map of touched buckets.
const TOUCHED: usize = 8;

/// `N` wait queues (a power of two) keyed by address.
///
/// Waiters are guests and foreign threads alike: the table keeps an `owner`
/// pointer for each and hands it to the waker's callback. Addresses that fall
/// into one bucket share its queue, so a wake walks past the waiters of others;
/// with 16,384 buckets that matters only if very many wait on one of them.
///
/// # The hand-off
/// For each successful enqueue exactly one of two things happens:
/// [`cancel`](Self::cancel) returns true, or a waker's callback is called with
/// the owner, once. The callback runs with no lock of the table held and may
/// take others; it must neither switch guests nor cancel a waiter. It may find
/// its owner running already, if that waits on several words or is about to
/// cancel after a timeout or signal.
///
/// The callback makes the owner runnable, maybe on another kernel thread, while
/// the waker still has a last store to do in the waiter. Therefore an owner ends
/// *every* wait with `cancel`, however it came to run: after `cancel` returned,
/// no other thread touches the waiter or will mention its owner because of it,
/// and both may go away. On one hub that costs one load.
pub struct Table<const N: usize> {
    buckets: [Bucket; N],
    /// Bits of an index that are not used, as those queues are not there any more. None in a
    /// new table, which is all zero, so that it takes no room in the library's file.
    unused: AtomicUsize,
    /// One bit for each of 512 equal runs of buckets that ever had a waiter.
    touched: [AtomicU64; TOUCHED],
    /// Waiters of kind PI, and operations about to add one; if zero, the end of
    /// a thread need not look for them.
    pub(super) pi_waiters: PlainU32,
}

impl<const N: usize> Table<N> {
    const RUN: usize = N.div_ceil(TOUCHED * 64);

    /// A table of these queues.
    pub(super) const fn with_buckets(buckets: [Bucket; N]) -> Self {
        const { assert!(N.is_power_of_two()) };
        Table {
            buckets,
            unused: AtomicUsize::new(0),
            touched: [const { AtomicU64::new(0) }; TOUCHED],
            pi_waiters: PlainU32::new(0),
        }
    }

    #[inline]
    pub(super) fn index(&self, key: usize) -> usize {
        // Multiplicative (Fibonacci) hashing: the high half is well mixed, and
        // the two low bits of a futex address are always zero.
        (((key >> 2) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize
            & !self.unused.load(Relaxed)
            & (N - 1)
    }

    /// Uses the first `n` queues from now on. Returns the addresses of the others.
    ///
    /// # Safety
    /// Nobody waits, or ever did; `n` must be a power of two.
    pub(super) unsafe fn shrink(&self, n: usize) -> Range<usize> {
        self.unused.store(!(n - 1), Relaxed);
        let rest = self.buckets.get(n..).unwrap_or_default().as_ptr_range();
        rest.start as usize..rest.end as usize
    }

    #[inline]
    pub(super) fn bucket(&self, key: usize) -> &Bucket {
        // In range because of the mask in `index`: no panic is compiled in.
        &self.buckets[self.index(key)]
    }

    /// Announces a waiter on `key`.
    pub(super) fn announce(&self, key: usize) -> &Bucket {
        let index = self.index(key);
        let run = index / Self::RUN;
        let (word, bit) = (&self.touched[run / 64 % TOUCHED], 1 << (run % 64));
        if word.load(Relaxed) & bit == 0 {
            word.fetch_or(bit, Relaxed);
        }
        let bucket = &self.buckets[index];
        bucket.announce();
        bucket
    }

    /// Locks the queues of both keys, the lower index first. The second is
    /// `None` if it is the first.
    pub(super) fn lock_two(&self, a: usize, b: usize) -> (Queue<'_>, Option<Queue<'_>>) {
        let (ia, ib) = (self.index(a), self.index(b));
        if ia == ib {
            (self.bucket(a).lock(), None)
        } else if ia < ib {
            let first = self.bucket(a).lock();
            (first, Some(self.bucket(b).lock()))
        } else {
            let second = self.bucket(b).lock();
            (self.bucket(a).lock(), Some(second))
        }
    }

    /// Queues `waiter` on `addr` if the word there is `expected`: the check and
    /// the queueing are one step for every waker. The caller then parks until
    /// the callback of a waker, a timeout or a signal, and ends the wait with
    /// [`cancel`](Self::cancel).
    ///
    /// # Errors
    /// `EAGAIN` if the word differs, `EINVAL` if `bitset` is zero or `addr`
    /// misaligned, `EFAULT` from the memory. Nothing is queued then.
    ///
    /// # Safety
    /// `waiter` is in no queue, and stays in place until `cancel` returned.
    pub unsafe fn enqueue(
        &self,
        mem: &impl Memory,
        addr: usize,
        expected: u32,
        bitset: u32,
        waiter: Pin<&Waiter>,
    ) -> Result<(), Errno> {
        if bitset == 0 {
            return Err(Errno::EINVAL);
        }
        let key = mem.key(addr)?;
        waiter.prepare(Kind::Plain, bitset, 0);
        self.enqueue_prepared(mem, key, expected, waiter.get_ref())
    }

    pub(super) fn enqueue_prepared(
        &self,
        mem: &impl Memory,
        key: usize,
        expected: u32,
        waiter: &Waiter,
    ) -> Result<(), Errno> {
        let addr = address_of(key);
        // Answers most losers of a race without the lock, and takes a fault on
        // the address while no lock is held.
        if mem.load(addr)? != expected {
            return Err(Errno::EAGAIN);
        }
        let bucket = self.announce(key);
        let queue = bucket.lock();
        let outcome = match mem.load(addr) {
            Ok(value) if value == expected => {
                waiter.key.store(key, Relaxed);
                queue.push(waiter);
                return Ok(());
            }
            Ok(_) => Errno::EAGAIN,
            Err(error) => error,
        };
        drop(queue);
        bucket.retract(1);
        Err(outcome)
    }

    /// Ends a wait. True if the waiter was still queued: the timeout or signal
    /// won, and no waker will mention its owner. False if a waker took it
    /// first (or it was never queued). Afterwards the waiter is the caller's
    /// alone.
    ///
    /// May be called by another thread on the owner's behalf, but by one at a
    /// time. Waits for a waker that is just calling its callback.
    pub fn cancel(&self, waiter: Pin<&Waiter>) -> bool {
        matches!(self.end(waiter.get_ref()), Ended::Cancelled)
    }

    pub(super) fn end(&self, waiter: &Waiter) -> Ended {
        loop {
            match waiter.settle() {
                Settled::Idle => return Ended::Idle,
                Settled::Woken => return Ended::Woken,
                Settled::Queued => {}
            }
            let key = waiter.key();
            let queue = self.bucket(key).lock();
            // A requeue may have moved it before we had the lock. It can't
            // while we have the lock of its present key's bucket.
            if waiter.is_queued() && waiter.key() == key {
                if waiter.kind() == Kind::Pi {
                    self.forsake_pi(&queue, waiter);
                }
                queue.unlink(waiter);
                waiter.mark_idle();
                return Ended::Cancelled;
            }
        }
    }

    /// Wakes up to `n` waiters on `addr` whose bitset shares a bit with
    /// `bitset`, first come first, and returns how many. `n` is the program's
    /// count: zero and negative ones wake one, as in the kernel. Without
    /// waiters this is a hash, a fence and a load.
    ///
    /// `wake` gets each owner; see [the hand-off](Self#the-hand-off).
    ///
    /// # Errors
    /// `EINVAL` if `bitset` is zero, `addr` misaligned, or a PI waiter is in
    /// the way (those before it were woken); `EFAULT` from [`Memory::key`].
    #[inline]
    pub fn wake(
        &self,
        mem: &impl Memory,
        addr: usize,
        n: u32,
        bitset: u32,
        wake: impl FnMut(*mut ()),
    ) -> Result<u32, Errno> {
        if bitset == 0 {
            return Err(Errno::EINVAL);
        }
        let key = mem.key(addr)?;
        let bucket = self.bucket(key);
        if !bucket.pending() {
            return Ok(0);
        }
        let mut woken = Woken::new();
        let taken = bucket.lock().take(key, wake_limit(n), bitset, &mut woken);
        woken.deliver(wake);
        taken
    }

    /// Calls `see` with every queued waiter, for reports of who waits for what.
    /// `see` runs under a bucket's lock and must not call into the table.
    pub fn for_each(&self, mut see: impl FnMut(&Waiter)) {
        self.for_each_touched(|bucket| {
            let queue = bucket.lock();
            let mut at = queue.first();
            while let Some(waiter) = at {
                see(waiter);
                at = queue.after(waiter);
            }
        });
    }

    pub(super) fn for_each_touched(&self, mut see: impl FnMut(&Bucket)) {
        for (run, buckets) in self.buckets.chunks(Self::RUN).enumerate() {
            if self.touched[run / 64 % TOUCHED].load(Relaxed) & (1 << (run % 64)) != 0 {
                buckets.iter().for_each(&mut see);
            }
        }
    }

    /// Empties the table in the child of a fork, where the owners of all
    /// waiters are gone and a lock may have been copied while held. Writes only
    /// to pages that ever had a waiter.
    ///
    /// # Safety
    /// No other thread uses the table, and nobody will cancel or read a waiter
    /// that was queued.
    pub unsafe fn reset(&self) {
        self.for_each_touched(Bucket::reset);
        for word in &self.touched {
            word.store(0, Relaxed);
        }
        self.pi_waiters.store(0, Relaxed);
    }
}
