//! `futex_waitv`: one wait on several words.
#![allow(unsafe_code)]

use core::pin::Pin;

use super::memory::Memory;
use super::table::{Ended, MATCH_ANY, Table};
use super::waiter::Waiter;
use crate::errno::Errno;

/// The most words of one wait (`FUTEX_WAITV_MAX`).
pub const WAITV_MAX: usize = 128;

/// `struct futex_waitv` of linux/futex.h: one word to wait on.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct WaitEntry {
    /// The expected value. The high half must be zero.
    pub val: u64,
    /// Address of the word.
    pub uaddr: u64,
    /// `FUTEX2_SIZE_U32`, maybe with [`PRIVATE`](Self::PRIVATE).
    pub flags: u32,
    /// Must be zero.
    pub reserved: u32,
}

impl WaitEntry {
    /// `FUTEX2_SIZE_U32`: the only size the kernel knows.
    pub const SIZE_U32: u32 = 2;
    /// `FUTEX2_PRIVATE`: no other process wakes this word.
    pub const PRIVATE: u32 = libc::FUTEX_PRIVATE_FLAG as u32;

    /// `EINVAL` for what no entry may be.
    pub fn check(&self) -> Result<(), Errno> {
        let fits = self.val <= u32::MAX as u64;
        if self.flags & !Self::PRIVATE != Self::SIZE_U32 || self.reserved != 0 || !fits {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}

impl<const N: usize> Table<N> {
    /// Queues one of `waiters` on each word of `entries`, which all have to be
    /// as expected. `Ok(None)`: the caller parks, and ends the wait with
    /// [`cancel_all`](Self::cancel_all). `Ok(Some(i))`: entry `i` was woken
    /// before all were queued, and the wait is over. `mem` tells whose futex an entry is.
    ///
    /// The waiters of one wait have one owner, whom several wakers may mention
    /// before it runs. 128 of them are some 9 KiB, much for a guest's stack.
    ///
    /// # Errors
    /// `EINVAL` if there is no entry, more than [`WAITV_MAX`] or more than
    /// waiters, or one is refused by
    /// [`check`](WaitEntry::check) or misaligned; `EAGAIN` if a word
    /// differs; `EFAULT`. Nothing is queued then.
    ///
    /// # Safety
    /// As for [`enqueue`](Self::enqueue), for each waiter.
    pub unsafe fn enqueue_all<'m, M: Memory + 'm>(
        &self,
        mem: impl Fn(&WaitEntry) -> &'m M,
        entries: &[WaitEntry],
        waiters: Pin<&[Waiter]>,
    ) -> Result<Option<usize>, Errno> {
        if entries.is_empty() || entries.len() > WAITV_MAX.min(waiters.len()) {
            return Err(Errno::EINVAL);
        }
        entries.iter().try_for_each(WaitEntry::check)?;
        // As the kernel does, before it looks at any word.
        for entry in entries {
            mem(entry).key(entry.uaddr as usize)?;
        }
        for (entry, waiter) in entries.iter().zip(waiters.get_ref()) {
            let (addr, expected) = (entry.uaddr as usize, entry.val as u32);
            // SAFETY: the elements of a slice stay in place if the slice does.
            let waiter = unsafe { Pin::new_unchecked(waiter) };
            // SAFETY: the caller's promise.
            let queued = unsafe { self.enqueue(mem(entry), addr, expected, MATCH_ANY, waiter) };
            if let Err(error) = queued {
                // A wake that was taken must be told of, rather than the error.
                return self.cancel_all(waiters).map(Some).ok_or(error);
            }
        }
        Ok(None)
    }

    /// Ends a wait on several words. The index of the last one that was woken,
    /// as in the kernel's `futex_unqueue_multiple`; `None` if the timeout or
    /// signal won. Afterwards the waiters are the caller's alone.
    pub fn cancel_all(&self, waiters: Pin<&[Waiter]>) -> Option<usize> {
        let mut last = None;
        for (index, waiter) in waiters.get_ref().iter().enumerate() {
            if let Ended::Woken = self.end(waiter) {
                last = Some(index);
            }
        }
        last
    }
}
