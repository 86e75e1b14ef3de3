//! Descriptors of our own in the program's table.
//!
//! A program that opens a file expects the lowest free number, so ours live at
//! 960 or above (less where RLIMIT_NOFILE is lower). They are close-on-exec. A program that
//! closes every number it can think of gets EBADF for ours, as for any number it
//! never opened.
//!
//! # Synchronization
//! A fixed set of atomics: written when a descriptor is kept or closed, read by
//! every `close` of the program.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use crate::arch::{syscall2, syscall3};
use crate::raw;

const MAX: usize = 64;
static KEPT: [AtomicI32; MAX] = [const { AtomicI32::new(-1) }; MAX];

/// A copy of a descriptor at a high number, remembered as ours; or `-errno`.
pub fn duplicate(fd: i32) -> i64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes to `limit`.
    unsafe {
        syscall2(
            libc::SYS_getrlimit,
            libc::RLIMIT_NOFILE as u64,
            &raw mut limit as u64,
        )
    };
    // Not higher: fork copies the descriptor table up to its highest entry.
    let lowest = limit.rlim_cur.min(1024).saturating_sub(64);
    // SAFETY: no pointers.
    let high = unsafe {
        syscall3(
            libc::SYS_fcntl,
            fd as u64,
            libc::F_DUPFD_CLOEXEC as u64,
            lowest,
        )
    };
    if high >= 0 {
        note(high as i32);
    }
    high
}

/// Moves a fresh descriptor to a high number and remembers it. If it cannot be
/// moved it is remembered where it is.
pub fn keep(fd: i32) -> i32 {
    let high = duplicate(fd);
    if high >= 0 {
        raw::close(fd);
        return high as i32;
    }
    note(fd);
    fd
}

/// Remembers a descriptor as ours where it is.
pub fn note(fd: i32) {
    for slot in &KEPT {
        if slot
            .compare_exchange(-1, fd, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
        {
            return;
        }
    }
}

/// Whether the number is one of ours.
#[inline]
pub fn is_ours(fd: i32) -> bool {
    fd >= 0 && KEPT.iter().any(|slot| slot.load(Ordering::Relaxed) == fd)
}

/// The lowest of our numbers that is at least `from`.
pub fn lowest_from(from: u32) -> Option<i32> {
    KEPT.iter()
        .map(|slot| slot.load(Ordering::Relaxed))
        .filter(|&fd| fd >= 0 && fd as u32 >= from)
        .min()
}

/// Remembers one of ours no more.
pub fn forget(fd: i32) {
    for slot in &KEPT {
        if slot
            .compare_exchange(fd, -1, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
        {
            break;
        }
    }
}

/// The table is that of our parent too, which goes on using what is ours there.
static SHARED: AtomicBool = AtomicBool::new(false);

/// In a forked child: whether its table of descriptors is its parent's (CLONE_FILES), so that
/// ours stay open, and ours.
pub fn set_shared(shared: bool) {
    SHARED.store(shared, Ordering::Relaxed);
}

/// Whether that is so.
pub fn is_shared() -> bool {
    SHARED.load(Ordering::Relaxed)
}

/// Closes one of ours.
pub fn close(fd: i32) {
    if fd >= 0 && !is_shared() {
        forget(fd);
        raw::close(fd);
    }
}
