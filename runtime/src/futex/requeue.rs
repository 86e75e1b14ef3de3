//! Operations on two words: requeue, wake-op.

use super::bucket::Queue;
use super::memory::{AtomicOp, Memory, address_of};
use super::table::{MATCH_ANY, Table, wake_limit};
use super::waiter::{Kind, Waiter, Woken};
use crate::errno::Errno;
use core::sync::atomic::Ordering::Relaxed;

/// Puts a queued waiter behind those on another key, with both buckets locked.
/// `to` is `None` if the bucket is the same. The caller has announced a waiter
/// on `key`, so that the count there never seems zero in between.
pub(super) fn move_waiter(from: &Queue<'_>, to: Option<&Queue<'_>>, waiter: &Waiter, key: usize) {
    let to = to.unwrap_or(from);
    from.unlink(waiter);
    to.bucket.announce();
    waiter.key.store(key, Relaxed);
    to.push(waiter);
}

/// A decoded `FUTEX_OP(op, oparg, cmp, cmparg)`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct WakeOp {
    op: Option<AtomicOp>,
    arg: u32,
    compare: u32,
    compare_arg: i32,
}

/// Bit 31 of the encoding: the argument is the number of a bit.
const OPARG_SHIFT: u32 = 8 << 28;

impl WakeOp {
    /// Takes the encoding of linux/futex.h apart. The argument and the value to
    /// compare with are signed 12-bit numbers; a shift out of range counts
    /// modulo 32 (`futex_atomic_op_inuser` in kernel/futex/waitwake.c).
    pub fn decode(encoded: u32) -> Self {
        let signed = |field: u32| ((field << 20) as i32) >> 20;
        let mut arg = signed(encoded >> 12) as u32;
        if encoded & OPARG_SHIFT != 0 {
            arg = 1 << (arg & 31);
        }
        WakeOp {
            op: match (encoded >> 28) & 7 {
                0 => Some(AtomicOp::Set),
                1 => Some(AtomicOp::Add),
                2 => Some(AtomicOp::Or),
                3 => Some(AtomicOp::AndNot),
                4 => Some(AtomicOp::Xor),
                _ => None,
            },
            arg,
            compare: (encoded >> 24) & 15,
            compare_arg: signed(encoded),
        }
    }

    /// Changes the word and tells whether the old value satisfies the
    /// comparison. `ENOSYS` for an unknown operation, and, with the word
    /// changed already, for an unknown comparison: the kernel's order.
    fn apply(self, mem: &impl Memory, addr: usize) -> Result<bool, Errno> {
        let op = self.op.ok_or(Errno::ENOSYS)?;
        let old = mem.fetch_op(addr, op, self.arg)? as i32;
        let arg = self.compare_arg;
        match self.compare {
            0 => Ok(old == arg),
            1 => Ok(old != arg),
            2 => Ok(old < arg),
            3 => Ok(old <= arg),
            4 => Ok(old > arg),
            5 => Ok(old >= arg),
            _ => Err(Errno::ENOSYS),
        }
    }
}

impl<const N: usize> Table<N> {
    /// `FUTEX_REQUEUE` (`compare` is `None`) and `FUTEX_CMP_REQUEUE`: wakes up to
    /// `nwake` waiters on `addr` and moves up to `nrequeue` more to `addr2`.
    ///
    /// Returns the number woken plus the number moved, for both operations:
    /// `futex_requeue` in kernel/futex/requeue.c ends with
    /// `return ret ? ret : task_count`, where `task_count` counts both. (The
    /// manual page says that `FUTEX_REQUEUE` returns the number woken; the
    /// kernel does not.) Unlike with a wake, `nwake` of zero wakes nobody.
    ///
    /// # Errors
    /// `EAGAIN` if the word at `addr` is not `compare`; `EINVAL` for negative
    /// counts, misaligned addresses and PI waiters on `addr`; `EFAULT`.
    #[allow(clippy::too_many_arguments)] // the system call's
    pub fn requeue(
        &self,
        mem: &impl Memory,
        addr: usize,
        addr2: usize,
        nwake: u32,
        nrequeue: u32,
        compare: Option<u32>,
        wake: impl FnMut(*mut ()),
    ) -> Result<u32, Errno> {
        if (nwake as i32) < 0 || (nrequeue as i32) < 0 {
            return Err(Errno::EINVAL);
        }
        let (key, key2) = (mem.key(addr)?, mem.key(addr2)?);
        if compare.is_some() {
            mem.load(addr)?;
        }
        // Announced before the locks, as any new waiter: a waker of `addr2`
        // that misses the count has written before we read `addr`.
        let destination = self.announce(key2);
        let mut woken = Woken::new();
        let (from, to) = self.lock_two(key, key2);
        let outcome = requeue_locked(
            mem,
            (&from, key),
            (to.as_ref(), key2),
            (nwake, nrequeue),
            compare,
            &mut woken,
        );
        drop((from, to));
        destination.retract(1);
        woken.deliver(wake);
        outcome
    }

    /// `FUTEX_WAKE_OP`: changes the word at `addr2` by `encoded`, wakes up to
    /// `nwake` waiters on `addr`, and, if the old word satisfied the comparison
    /// in `encoded`, up to `nwake2` on `addr2`. Returns the number woken.
    ///
    /// # Errors
    /// `ENOSYS` for an unknown operation or comparison; `EINVAL` for misaligned
    /// addresses and PI waiters (those before it were woken); `EFAULT`.
    #[allow(clippy::too_many_arguments)] // the system call's
    pub fn wake_op(
        &self,
        mem: &impl Memory,
        addr: usize,
        addr2: usize,
        nwake: u32,
        nwake2: u32,
        encoded: u32,
        wake: impl FnMut(*mut ()),
    ) -> Result<u32, Errno> {
        let (key, key2) = (mem.key(addr)?, mem.key(addr2)?);
        let op = WakeOp::decode(encoded);
        mem.load(addr2)?;
        let mut woken = Woken::new();
        let (first, second) = self.lock_two(key, key2);
        let outcome = (|| {
            let both = op.apply(mem, addr2)?;
            let mut count = first.take(key, wake_limit(nwake), MATCH_ANY, &mut woken)?;
            if both {
                let second = second.as_ref().unwrap_or(&first);
                count += second.take(key2, wake_limit(nwake2), MATCH_ANY, &mut woken)?;
            }
            Ok(count)
        })();
        drop((first, second));
        woken.deliver(wake);
        outcome
    }
}

fn requeue_locked(
    mem: &impl Memory,
    (from, key): (&Queue<'_>, usize),
    (to, key2): (Option<&Queue<'_>>, usize),
    (nwake, nrequeue): (u32, u32),
    compare: Option<u32>,
    woken: &mut Woken,
) -> Result<u32, Errno> {
    if let Some(expected) = compare
        && mem.load(address_of(key))? != expected
    {
        return Err(Errno::EAGAIN);
    }
    let mut count = 0u32;
    let mut at = from.first();
    // Neither sum can overflow: both counts are non-negative ints.
    while count < nwake + nrequeue
        && let Some(waiter) = from.matching(at, key)
    {
        at = from.after(waiter);
        if waiter.kind() != Kind::Plain {
            return Err(Errno::EINVAL);
        }
        count += 1;
        if count <= nwake {
            from.unlink(waiter);
            woken.push(waiter);
        } else if key != key2 {
            move_waiter(from, to, waiter, key2);
        }
    }
    Ok(count)
}
