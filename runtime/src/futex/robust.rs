//! What a dying thread leaves locked: the walk of its robust list.

use super::memory::Memory;
use super::pi::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS};
use super::table::{MATCH_ANY, Table};
use crate::errno::Errno;

/// Length in bytes of `struct robust_list_head`, the only one that
/// `set_robust_list` accepts.
pub const ROBUST_HEAD_SIZE: usize = 3 * size_of::<usize>();

/// Entries after which the kernel takes a list to be circular
/// (`ROBUST_LIST_LIMIT`).
const LIMIT: usize = 2048;

const FUTEX_OFFSET: usize = size_of::<usize>();
const LIST_OP_PENDING: usize = 2 * size_of::<usize>();

/// A link: where the next entry is, and whether its lock is a PI one (bit 0).
#[derive(Copy, Clone)]
struct Link {
    entry: usize,
    pi: bool,
}

fn link(mem: &impl Memory, at: usize) -> Result<Link, Errno> {
    let pointer = mem.load_pointer(at)?;
    Ok(Link {
        entry: pointer & !1,
        pi: pointer & 1 != 0,
    })
}

impl<const N: usize> Table<N> {
    /// Marks every lock on the robust list at `head` that thread `tid` holds as
    /// orphaned and wakes a waiter of each, when the thread ends: the kernel's
    /// `exit_robust_list`. PI locks are only marked;
    /// [`exit_pi`](Self::exit_pi) hands them over and has to follow.
    ///
    /// The list is the program's and may be broken: [`Checked`](super::Checked)
    /// memory finds that out.
    ///
    /// # Errors
    /// What stopped the walk, for a report: `EFAULT` or `EINVAL` (misaligned).
    /// The locks before that were released. The kernel is silent about it.
    pub fn exit_robust_list(
        &self,
        mem: &impl Memory,
        head: usize,
        tid: u32,
        mut wake: impl FnMut(*mut ()),
    ) -> Result<(), Errno> {
        let mut at = link(mem, head)?;
        let offset = mem.load_pointer(head.wrapping_add(FUTEX_OFFSET))?;
        let pending = link(mem, head.wrapping_add(LIST_OP_PENDING))?;
        let mut left = LIMIT;
        while at.entry != head {
            // Before the lock is released: its new owner may unlink it.
            let next = link(mem, at.entry);
            // The pending lock may be on the list already; it comes last.
            if at.entry != pending.entry {
                let word = at.entry.wrapping_add(offset);
                self.release_orphan(mem, word, tid, at.pi, false, &mut wake)?;
            }
            at = next?;
            left -= 1;
            if left == 0 {
                break;
            }
        }
        if pending.entry != 0 {
            let word = pending.entry.wrapping_add(offset);
            self.release_orphan(mem, word, tid, pending.pi, true, &mut wake)?;
        }
        Ok(())
    }

    /// The kernel's `handle_futex_death`.
    fn release_orphan(
        &self,
        mem: &impl Memory,
        addr: usize,
        tid: u32,
        pi: bool,
        pending: bool,
        wake: &mut impl FnMut(*mut ()),
    ) -> Result<(), Errno> {
        if !addr.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        let value = loop {
            let value = mem.load(addr)?;
            // Died between the unlock in user space and the wake, or between a
            // wake and the lock: nobody else would wake the next waiter.
            if pending && !pi && value == 0 {
                break FUTEX_WAITERS;
            }
            if value & FUTEX_TID_MASK != tid {
                return Ok(());
            }
            let orphaned = value & FUTEX_WAITERS | FUTEX_OWNER_DIED;
            if mem.compare_exchange(addr, value, orphaned)? == value {
                break value;
            }
        };
        if !pi && value & FUTEX_WAITERS != 0 {
            // EINVAL if PI waiters are on a word listed as an ordinary lock: as
            // in the kernel that is the program's error, and stops nothing.
            let _mixed_up = self.wake(mem, addr, 1, MATCH_ANY, wake);
            mem.wake_others(addr);
        }
        Ok(())
    }
}
