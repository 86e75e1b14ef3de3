//! Signals that are read from descriptors (signalfd(2)).
//!
//! Such a descriptor is the kernel's, and so are the signals in it: those of the process that
//! every guest blocks, which wait there. One that was sent to a guest waits here, where nobody
//! could read it. If every guest blocks it, and some descriptor is for it, the kernel thread
//! is sent it in the guest's place: then all guests find it that could find one of the
//! process.
//!
//! # Synchronization
//! As [`super`].
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Info, bit, mask};
use crate::arch::{syscall, syscall0, syscall3};
use crate::fdinfo::FdInfo;
use crate::guest::Guest;
use crate::hub::{Hub, processor};
use crate::raw;

/// Signals that some descriptor was made for.
static READ: AtomicU64 = AtomicU64::new(0);
/// Those that were made before there was a hub are among them.
static LOOKED: AtomicBool = AtomicBool::new(false);
/// Signals that were sent to the kernel in a guest's place.
static SENT: AtomicU64 = AtomicU64::new(0);

/// Descriptors that are looked at.
const MOST: i32 = 1024;

/// A descriptor is for these signals from now on.
pub fn note_signalfd(set: u64) {
    let new = set & !READ.fetch_or(set, Ordering::Relaxed);
    if new != 0 {
        mask::look_again(new);
    }
}

fn is_read(signal: i32) -> bool {
    look();
    known() & bit(signal) != 0
}

/// The signals that some descriptor is for, as far as was [looked](look).
pub(super) fn known() -> u64 {
    READ.load(Ordering::Relaxed)
}

/// Finds the descriptors that were made before there was a hub, once.
pub fn look() {
    if !LOOKED.swap(true, Ordering::Relaxed) {
        // Those of the kernel's own kinds have no file type. Without `/proc` any may be one.
        let sets = (0..MOST)
            .filter(|&fd| raw::file(fd).is_some_and(|file| file.kind == 0))
            .filter_map(|fd| match FdInfo::of(fd) {
                Some(info) => info.field(b"\nsigmask:\t", 16),
                None => Some(u64::MAX),
            });
        READ.fetch_or(sets.fold(0, |all, set| all | set), Ordering::Relaxed);
    }
}

/// Sends the kernel what is sent to a guest. `None`: it waits here.
pub(super) fn send(hub: &Hub, guest: &Guest, signal: i32, info: &Info) -> Option<i64> {
    let blocked = guest.signal.mask.get() & !guest.signal.waits.get() & bit(signal) != 0;
    if !blocked || mask::is_open_elsewhere(None, signal) || !is_read(signal) {
        return None;
    }
    if mask::never_kept() & bit(signal) != 0 {
        return None;
    }
    mask::wait_until_blocked(hub, signal);
    SENT.fetch_or(bit(signal), Ordering::Relaxed);
    let (pid, mut info) = (hub.pid.get() as u64, *info);
    if processor::several() {
        // Whoever reads may be on another kernel thread: it is the process's. Only the first
        // one may say that it was sent to a thread.
        if !processor::here().is_first() && (info.code() >= 0 || info.code() == libc::SI_TKILL) {
            info.set_code(libc::SI_QUEUE);
        }
        let info = &raw const info as u64;
        // SAFETY: an info of ours.
        return Some(unsafe { syscall3(libc::SYS_rt_sigqueueinfo, pid, signal as u64, info) });
    }
    // SAFETY: as above.
    Some(unsafe {
        let tid = syscall0(libc::SYS_gettid) as u64;
        let args = [pid, tid, signal as u64, &raw const info as u64, 0, 0];
        syscall(libc::SYS_rt_tgsigqueueinfo as u64, args)
    })
}

/// Signals of which some that were sent to a guest may wait in the kernel.
pub(super) fn sent() -> u64 {
    SENT.load(Ordering::Relaxed)
}

/// In a forked child, which has its parent's descriptors.
pub(super) fn clear() {
    LOOKED.store(false, Ordering::Relaxed);
    SENT.store(0, Ordering::Relaxed);
}
