//! Descriptors of our own in the program's table.
//!
//! A program that opens a file expects the lowest free number below its limit, so ours have
//! [numbers] above it, where there is room. They are close-on-exec. A program that
//! closes every number it can think of gets EBADF for ours, as for any number it
//! never opened.
//!
//! # Synchronization
//! A fixed set of atomics: written when a descriptor is kept or closed, read by
//! every `close` of the program.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use patch_events::numbers::{self, Room};

use crate::arch::syscall3;
use crate::raw;
use crate::sandbox;

const MAX: usize = 64;
static KEPT: [AtomicI32; MAX] = [const { AtomicI32::new(-1) }; MAX];

/// While the result lives, descriptors can be opened beyond the program's own limit.
pub fn room() -> Room {
    Room::make()
}

/// Has the program's filters of system calls asked before its limit is read or raised.
pub fn mind_filters() {
    numbers::ask_first(|nr, args| !sandbox::refuses(nr, args));
}

/// Opens a descriptor for a moment: `make` gives it, or `-errno`, and is asked again beyond the
/// program's limit where there is no number below it.
pub fn open_briefly(make: impl Fn() -> i64) -> i64 {
    let fd = make();
    if fd != raw::err(libc::EMFILE) {
        return fd;
    }
    let _room = room();
    make()
}

/// A copy of a descriptor at a high number, remembered as ours; or `-errno`.
pub fn duplicate(fd: i32) -> i64 {
    copy(fd, &room())
}

fn copy(fd: i32, room: &Room) -> i64 {
    // SAFETY: no pointers.
    let high = unsafe {
        syscall3(
            libc::SYS_fcntl,
            fd as u64,
            libc::F_DUPFD_CLOEXEC as u64,
            room.lowest() as u64,
        )
    };
    if high >= 0 {
        note(high as i32);
    }
    high
}

/// Opens a descriptor of ours: `make` gives it, or `-errno`. It goes to a high number and is
/// remembered; if it cannot be moved it is remembered where it is.
pub fn open(make: impl FnOnce() -> i64) -> i64 {
    let room = room();
    let fd = make();
    if fd < 0 {
        return fd;
    }
    let high = if fd < room.lowest() as i64 {
        copy(fd as i32, &room)
    } else {
        -1
    };
    if high >= 0 {
        raw::close(fd as i32);
        return high;
    }
    note(fd as i32);
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
