//! Advice about memory, policies for it, locking all of it: long where every page of a
//! range is read, copied or freed.
//!
//! Allocators give advice all the time, about a few pages: that is quicker than to ask
//! somebody else for it. What is handed over is advice that reads, moves or writes pages,
//! and ranges of which many may have to be freed. All of it concerns the memory of the
//! process, whichever of its threads asks.
#![allow(unsafe_code)]

use core::ops::Range;

use super::offloaded::hand_over;
use super::{Call, Outcome};
use crate::arch::{syscall1, syscall2};
use crate::guest::stacks::MADV_GUARD_INSTALL;
use crate::maps;
use crate::offload;
use crate::raw;
use crate::reactor::fds;

/// Length of a range that takes long to free, in bytes: milliseconds.
const LARGE: u64 = 32 << 20;

/// MADV_COLLAPSE (Linux 6.1), which the libc crate lacks.
const MADV_COLLAPSE: i32 = 25;

/// Advice that reads a file or swap, waits for who serves a page fault, or copies pages.
fn is_long(advice: i32) -> bool {
    matches!(
        advice,
        libc::MADV_WILLNEED
            | libc::MADV_POPULATE_READ
            | libc::MADV_POPULATE_WRITE
            | libc::MADV_PAGEOUT
            | libc::MADV_REMOVE
            | MADV_COLLAPSE
    )
}

/// Advice that visits every page that is there.
fn is_long_if_large(advice: i32) -> bool {
    matches!(
        advice,
        libc::MADV_DONTNEED
            | libc::MADV_DONTNEED_LOCKED
            | libc::MADV_FREE
            | libc::MADV_COLD
            | libc::MADV_MERGEABLE
            | libc::MADV_UNMERGEABLE
    )
}

fn advise(c: &Call<'_>, advice: i32, len: u64) -> Outcome {
    if is_long(advice) || len >= LARGE && is_long_if_large(advice) {
        return hand_over(c);
    }
    Outcome::Native
}

/// madvise(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn madvise(c: &mut Call<'_>) -> Outcome {
    let [addr, len, advice, ..] = c.a;
    if advice == MADV_GUARD_INSTALL
        && let Some(ret) = c.hub.stacks.guard(addr as usize, len as usize)
    {
        return Outcome::Done(ret);
    }
    advise(c, advice as i32, len)
}

/// Ranges of a process_madvise(2) that are added up; more are taken for a large one.
const COUNTED: u64 = 64;

/// process_madvise(2).
///
/// # Safety
/// As [`madvise`].
pub unsafe fn process_madvise(c: &mut Call<'_>) -> Outcome {
    let [_, ranges, count, advice, ..] = c.a;
    let mut len = if count > COUNTED { LARGE } else { 0u64 };
    for i in 0..count.min(COUNTED) {
        // SAFETY: the guest's own argument, which the kernel would read.
        match unsafe { raw::get::<[u64; 2]>(ranges.wrapping_add(i * 16)) } {
            Ok([_, part]) => len = len.saturating_add(part),
            Err(_) => return Outcome::Native,
        }
    }
    advise(c, advice as i32, len)
}

/// mbind(2): with flags it moves pages, or looks at all of them.
///
/// # Safety
/// As [`madvise`].
pub unsafe fn mbind(c: &mut Call<'_>) -> Outcome {
    if c.a[5] == 0 {
        return Outcome::Native;
    }
    hand_over(c)
}

/// mlockall(2). Our own memory is left out, and the stacks of threads: a locked stack could
/// not be given back without unmapping it, nor have a guard that splits no mapping.
///
/// # Safety
/// As [`madvise`].
pub unsafe fn mlockall(c: &mut Call<'_>) -> Outcome {
    let flags = c.a[0] as i32;
    const KNOWN: i32 = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
    if flags & !KNOWN != 0 || flags & libc::MCL_CURRENT == 0 {
        return Outcome::Native;
    }
    // Marked first, and nothing read yet: then ours are taken out, and the rest is read.
    // SAFETY: the guest's own call, with less to do.
    let ret = unsafe { syscall1(libc::SYS_mlockall, (flags | libc::MCL_ONFAULT) as u64) };
    if ret != 0 {
        return Outcome::Done(ret);
    }
    let ours = || {
        let records = c.hub.slab.memory().chain(fds::table().memory());
        records.chain(c.hub.stacks.memory())
    };
    for (start, len) in ours() {
        // SAFETY: our own memory, which need not be locked.
        unsafe { syscall2(libc::SYS_munlock, start as u64, len as u64) };
    }
    if flags & libc::MCL_ONFAULT != 0 {
        return Outcome::Done(0);
    }
    if flags & libc::MCL_FUTURE != 0 {
        // SAFETY: no pointers. Succeeds as it did above.
        unsafe { syscall1(libc::SYS_mlockall, libc::MCL_FUTURE as u64) };
    }
    let list = c.hub.call(c.guest, maps::ranges);
    for &Range { start, end } in &list {
        // The kernel may show a range of ours and one beside it as one.
        let mut from = start;
        while from < end {
            let around = |&(start, len): &(usize, usize)| (start..start + len).contains(&from);
            if let Some((start, len)) = ours().find(around) {
                from = start + len;
                continue;
            }
            let later = ours().map(|(start, _)| start).filter(|&start| start > from);
            let to = later.min().unwrap_or(end).min(end);
            // As mlockall, it does not mind what cannot be read.
            let args = [from as u64, (to - from) as u64, 0, 0, 0, 0];
            offload::run(c.guest, libc::SYS_mlock, args);
            from = to;
        }
    }
    c.hub.call(c.guest, move || drop(list));
    Outcome::Done(0)
}
