//! Futexes that carry the thread id of their holder: the PI operations.
//!
//! Their point in the kernel is priority inheritance. Guests have no priorities
//! among themselves, so what is left is the protocol on the word, the error
//! checks, and the hand-over: an unlock gives the futex to the waiter that came
//! first. The protocol is that of kernel/futex/pi.c and requeue.c; the first
//! waiter's `holder` is what `pi_state->owner` is there.
#![allow(unsafe_code)]

use core::pin::Pin;
use core::sync::atomic::Ordering::{self, Relaxed};

use super::bucket::Queue;
use super::memory::{Memory, address_of};
use super::requeue::move_waiter;
use super::sync::fence;
use super::table::{MATCH_ANY, Table};
use super::waiter::{Kind, Waiter, Woken};
use crate::errno::Errno;

/// Set while somebody waits in the table: unlocking takes a system call.
pub const FUTEX_WAITERS: u32 = 0x8000_0000;
/// Set when a holder died and the next one has not yet cleaned up.
pub const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
/// The thread id of the holder, zero if the futex is free.
pub const FUTEX_TID_MASK: u32 = 0x3fff_ffff;

/// How a lock operation on a PI futex went.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum PiLock {
    /// The caller holds the futex now.
    Acquired,
    /// The waiter is queued. Once a waker took it, its owner holds the futex.
    Queued,
}

enum Claim {
    Acquired,
    /// Thread id of the holder.
    Held(u32),
}

/// Takes the futex for `tid` if it is free. If it is held, makes sure that its
/// unlock will come to us. `queue` is that of `key`. The kernel's
/// `futex_lock_pi_atomic`.
fn claim(
    mem: &impl Memory,
    queue: &Queue<'_>,
    key: usize,
    tid: u32,
    expect_waiters: bool,
    alive: &mut impl FnMut(u32) -> Result<(), Errno>,
) -> Result<Claim, Errno> {
    let addr = address_of(key);
    loop {
        let value = mem.load(addr)?;
        let holder = value & FUTEX_TID_MASK;
        if holder == tid {
            return Err(Errno::EDEADLK);
        }
        if let Some(first) = queue.first_of(key) {
            let known = first.holder.load(Relaxed);
            let orphaned = holder == 0 && value & FUTEX_OWNER_DIED != 0;
            return if first.kind() == Kind::Pi && (holder == known || orphaned) {
                Ok(Claim::Held(known))
            } else {
                Err(Errno::EINVAL)
            };
        }
        let new = match (holder, expect_waiters) {
            (0, false) => value & FUTEX_OWNER_DIED | tid,
            (0, true) => value & FUTEX_OWNER_DIED | tid | FUTEX_WAITERS,
            _ => value | FUTEX_WAITERS,
        };
        if mem.compare_exchange(addr, value, new)? != value {
            continue;
        }
        if holder == 0 {
            return Ok(Claim::Acquired);
        }
        let Err(error) = alive(holder) else {
            return Ok(Claim::Held(holder));
        };
        // A holder with a robust list changes the word while it dies.
        if mem.load(addr)? == new {
            return Err(error);
        }
    }
}

impl Queue<'_> {
    /// Queues a PI waiter that was announced. Only the first waiter of a futex
    /// knows its holder, all others have zero.
    fn push_pi(&self, waiter: &Waiter, key: usize, holder: u32) {
        let first = self.first_of(key).is_none();
        waiter.holder.store(if first { holder } else { 0 }, Relaxed);
        waiter.key.store(key, Relaxed);
        self.push(waiter);
    }

    /// Passes on who holds the futex before its first waiter leaves the queue.
    pub(super) fn bequeath(&self, leaving: &Waiter, holder: u32) {
        if leaving.holder.load(Relaxed) != 0
            && let Some(next) = self.matching(self.after(leaving), leaving.key())
        {
            next.holder.store(holder, Relaxed);
        }
    }
}

impl<const N: usize> Table<N> {
    /// `FUTEX_LOCK_PI` and `FUTEX_LOCK_PI2` for thread `tid`. `alive` refuses a
    /// thread id that belongs to no living thread (`ESRCH`) or to another
    /// process's (`EPERM`); it runs under a bucket's lock and must not call into
    /// the table.
    ///
    /// If queued, the caller parks and ends the wait with
    /// [`cancel`](Self::cancel): false means that it holds the futex, true that
    /// the timeout or signal won.
    ///
    /// # Errors
    /// `EDEADLK` if `tid` holds the futex, what `alive` says of its holder,
    /// `EINVAL` if others wait there without PI or the word contradicts who
    /// holds it, or is misaligned; `EFAULT`.
    ///
    /// # Safety
    /// As for [`enqueue`](Self::enqueue).
    pub unsafe fn lock_pi(
        &self,
        mem: &impl Memory,
        addr: usize,
        tid: u32,
        mut alive: impl FnMut(u32) -> Result<(), Errno>,
        waiter: Pin<&Waiter>,
    ) -> Result<PiLock, Errno> {
        let key = mem.key(addr)?;
        mem.load(addr)?;
        waiter.prepare(Kind::Pi, MATCH_ANY, tid);
        // Before the barrier in `announce`: see `exit_pi`.
        self.pi_waiters.fetch_add(1, Relaxed);
        let bucket = self.announce(key);
        let queue = bucket.lock();
        let claimed = claim(mem, &queue, key, tid, false, &mut alive);
        if let Ok(Claim::Held(holder)) = claimed {
            queue.push_pi(&waiter, key, holder);
            return Ok(PiLock::Queued);
        }
        drop(queue);
        bucket.retract(1);
        self.pi_waiters.fetch_sub(1, Relaxed);
        claimed.map(|_| PiLock::Acquired)
    }

    /// `FUTEX_TRYLOCK_PI`. A holder that is in the way is not bothered: unlike
    /// the kernel this leaves `FUTEX_WAITERS` as it was.
    ///
    /// # Errors
    /// `EAGAIN` if the futex is held, otherwise those of
    /// [`lock_pi`](Self::lock_pi).
    pub fn trylock_pi(
        &self,
        mem: &impl Memory,
        addr: usize,
        tid: u32,
        mut alive: impl FnMut(u32) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let key = mem.key(addr)?;
        let value = mem.load(addr)?;
        let queue = self.bucket(key).lock();
        let holder = value & FUTEX_TID_MASK;
        if holder != 0 && holder != tid && queue.first_of(key).is_none() && alive(holder).is_ok() {
            return Err(Errno::EAGAIN);
        }
        match claim(mem, &queue, key, tid, false, &mut alive)? {
            Claim::Acquired => Ok(()),
            Claim::Held(_) => Err(Errno::EAGAIN),
        }
    }

    /// `FUTEX_UNLOCK_PI` by thread `tid`: gives the futex to the waiter that
    /// came first, or frees it.
    ///
    /// # Errors
    /// `EPERM` if `tid` does not hold the futex, `EINVAL` if those who wait
    /// there wait without PI or for another holder, or it is misaligned;
    /// `EFAULT`.
    pub fn unlock_pi(
        &self,
        mem: &impl Memory,
        addr: usize,
        tid: u32,
        wake: impl FnMut(*mut ()),
    ) -> Result<(), Errno> {
        // The kernel's order.
        if mem.load(addr)? & FUTEX_TID_MASK != tid {
            return Err(Errno::EPERM);
        }
        let key = mem.key(addr)?;
        let mut woken = Woken::new();
        let queue = self.bucket(key).lock();
        let outcome = self.release(mem, &queue, key, tid, &mut woken);
        drop(queue);
        woken.deliver(wake);
        outcome
    }

    fn release(
        &self,
        mem: &impl Memory,
        queue: &Queue<'_>,
        key: usize,
        tid: u32,
        woken: &mut Woken,
    ) -> Result<(), Errno> {
        let addr = address_of(key);
        loop {
            let value = mem.load(addr)?;
            if value & FUTEX_TID_MASK != tid {
                return Err(Errno::EPERM);
            }
            let Some(first) = queue.first_of(key) else {
                if mem.compare_exchange(addr, value, 0)? == value {
                    return Ok(());
                }
                continue;
            };
            if first.kind() != Kind::Pi || first.holder.load(Relaxed) != tid {
                return Err(Errno::EINVAL);
            }
            if self.hand_over(mem, queue, first, value, 0, woken)? {
                return Ok(());
            }
        }
    }

    /// Makes `first` the holder of its futex, whose word is `value`, and takes
    /// it out of the queue. False if the word has changed. As in the kernel
    /// `FUTEX_WAITERS` stays set even if nobody else waits.
    fn hand_over(
        &self,
        mem: &impl Memory,
        queue: &Queue<'_>,
        first: &Waiter,
        value: u32,
        died: u32,
        woken: &mut Woken,
    ) -> Result<bool, Errno> {
        let tid = first.tid.load(Relaxed);
        let new = FUTEX_WAITERS | died | tid;
        if mem.compare_exchange(first.address(), value, new)? != value {
            return Ok(false);
        }
        queue.bequeath(first, tid);
        queue.unlink(first);
        woken.push(first);
        self.pi_waiters.fetch_sub(1, Relaxed);
        Ok(true)
    }

    /// A cancelled PI waiter leaves `queue`.
    pub(super) fn forsake_pi(&self, queue: &Queue<'_>, waiter: &Waiter) {
        queue.bequeath(waiter, waiter.holder.load(Relaxed));
        self.pi_waiters.fetch_sub(1, Relaxed);
    }

    /// Gives every PI futex that thread `tid` holds and others wait for to its
    /// first waiter, with `FUTEX_OWNER_DIED` set. To be called when the thread
    /// ends, after its robust list was walked and after `alive` began to deny
    /// it: with the kernel's `exit_pi_state_list` and the take-over after it.
    ///
    /// A futex whose word can't be written keeps its waiters until their
    /// timeouts. Costs a load if nobody waits for any PI futex.
    pub fn exit_pi(&self, mem: &impl Memory, tid: u32, mut wake: impl FnMut(*mut ())) {
        // With the barrier in `announce`: either a new waiter asks `alive` after
        // we became dead, or we see it counted.
        fence(Ordering::SeqCst);
        if self.pi_waiters.load(Relaxed) == 0 {
            return;
        }
        self.for_each_touched(|bucket| {
            let mut woken = Woken::new();
            let queue = bucket.lock();
            let mut at = queue.first();
            while let Some(waiter) = at {
                at = queue.after(waiter);
                if waiter.kind() == Kind::Pi && waiter.holder.load(Relaxed) == tid {
                    while let Ok(value) = mem.load(waiter.address()) {
                        let given = self.hand_over(
                            mem,
                            &queue,
                            waiter,
                            value,
                            FUTEX_OWNER_DIED,
                            &mut woken,
                        );
                        if given != Ok(false) {
                            break;
                        }
                    }
                }
            }
            drop(queue);
            woken.deliver(&mut wake);
        });
    }

    /// `FUTEX_WAIT_REQUEUE_PI` for thread `tid`: waits on `addr`, there to be
    /// moved by [`cmp_requeue_pi`](Self::cmp_requeue_pi) to the PI futex
    /// `addr2`, and to own that when woken. Wait and end as with
    /// [`lock_pi`](Self::lock_pi); after `cancel` returned true,
    /// [`Waiter::kind`] tells whether the waiter had been moved.
    ///
    /// # Errors
    /// `EAGAIN` if the word at `addr` is not `expected`, `EINVAL` if both
    /// addresses are the same or one is misaligned; `EFAULT`.
    ///
    /// # Safety
    /// As for [`enqueue`](Self::enqueue).
    pub unsafe fn wait_requeue_pi(
        &self,
        mem: &impl Memory,
        addr: usize,
        expected: u32,
        addr2: usize,
        tid: u32,
        waiter: Pin<&Waiter>,
    ) -> Result<(), Errno> {
        if addr == addr2 {
            return Err(Errno::EINVAL);
        }
        let (key, key2) = (mem.key(addr)?, mem.key(addr2)?);
        waiter.prepare(Kind::RequeuePi, MATCH_ANY, tid);
        waiter.target.store(key2, Relaxed);
        self.enqueue_prepared(mem, key, expected, waiter.get_ref())
    }

    /// `FUTEX_CMP_REQUEUE_PI`: gives the PI futex `addr2` to the first waiter on
    /// `addr` if it is free, and moves up to `nrequeue` more there (one more if
    /// it is not free). `nwake` must be one. Returns the number woken plus the
    /// number moved.
    ///
    /// # Errors
    /// `EAGAIN` if the word at `addr` is not `compare`; `EINVAL` for other
    /// counts, equal or misaligned addresses, and waiters on `addr` that wait
    /// otherwise or for another futex; those of [`lock_pi`](Self::lock_pi).
    #[allow(clippy::too_many_arguments)] // the system call's
    pub fn cmp_requeue_pi(
        &self,
        mem: &impl Memory,
        addr: usize,
        addr2: usize,
        nwake: u32,
        nrequeue: u32,
        compare: u32,
        mut alive: impl FnMut(u32) -> Result<(), Errno>,
        wake: impl FnMut(*mut ()),
    ) -> Result<u32, Errno> {
        if nwake != 1 || (nrequeue as i32) < 0 || addr == addr2 {
            return Err(Errno::EINVAL);
        }
        let (key, key2) = (mem.key(addr)?, mem.key(addr2)?);
        mem.load(addr)?;
        mem.load(addr2)?;
        // Both counts stay above zero while waiters move; see `exit_pi`.
        self.pi_waiters.fetch_add(1, Relaxed);
        let destination = self.announce(key2);
        let mut woken = Woken::new();
        let (from, to) = self.lock_two(key, key2);
        let outcome = (|| {
            if mem.load(addr)? != compare {
                return Err(Errno::EAGAIN);
            }
            self.requeue_pi(
                mem,
                &from,
                to.as_ref(),
                (key, key2),
                nrequeue,
                &mut alive,
                &mut woken,
            )
        })();
        drop((from, to));
        destination.retract(1);
        self.pi_waiters.fetch_sub(1, Relaxed);
        woken.deliver(wake);
        outcome
    }

    #[allow(clippy::too_many_arguments)] // the locked half of the above
    fn requeue_pi(
        &self,
        mem: &impl Memory,
        from: &Queue<'_>,
        to: Option<&Queue<'_>>,
        (key, key2): (usize, usize),
        nrequeue: u32,
        alive: &mut impl FnMut(u32) -> Result<(), Errno>,
        woken: &mut Woken,
    ) -> Result<u32, Errno> {
        let fits = |waiter: &Waiter| {
            waiter.kind() == Kind::RequeuePi && waiter.target.load(Relaxed) == key2
        };
        let Some(first) = from.first_of(key) else {
            return Ok(0);
        };
        if !fits(first) {
            return Err(Errno::EINVAL);
        }
        let target = to.unwrap_or(from);
        let mut count = 0;
        let tid = first.tid.load(Relaxed);
        let holder = match claim(mem, target, key2, tid, nrequeue > 0, alive)? {
            Claim::Held(holder) => holder,
            Claim::Acquired => {
                from.unlink(first);
                first.set_kind(Kind::Pi);
                first.key.store(key2, Relaxed);
                woken.push(first);
                count = 1;
                tid
            }
        };
        let mut at = from.first();
        while count <= nrequeue
            && let Some(waiter) = from.matching(at, key)
        {
            at = from.after(waiter);
            if !fits(waiter) {
                return Err(Errno::EINVAL);
            }
            if waiter.tid.load(Relaxed) == holder {
                return Err(Errno::EDEADLK);
            }
            let only = target.first_of(key2).is_none();
            waiter.holder.store(if only { holder } else { 0 }, Relaxed);
            waiter.set_kind(Kind::Pi);
            move_waiter(from, to, waiter, key2);
            self.pi_waiters.fetch_add(1, Relaxed);
            count += 1;
        }
        Ok(count)
    }
}
