//! Whom the signals of a descriptor are for: its owner, if that is a guest.
//!
//! The kernel, which does not know guests, sends SIGIO and SIGURG, and what F_SETSIG puts in
//! the place of SIGIO, to the process. Most of these say which descriptor they are about.
//! SIGURG, and SIGIO without F_SETSIG, do not: they are for a guest only where every owner is
//! that one.
//!
//! # Synchronization
//! As [`super`]. The signal handler reads owners while our code may be setting one: each is
//! one word.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicI32, Ordering};

use super::{FAULTS, Info, bit};
use crate::arch::syscall3;
use crate::guest::Guest;
use crate::hub::Hub;
use crate::reactor::fds;

/// F_SETOWN_EX of fcntl(2).
pub const F_SETOWN_EX: i32 = 15;
/// Kinds of owners there: a thread, a process, and a process group.
pub const F_OWNER_TID: i32 = 0;
#[allow(missing_docs)]
pub const F_OWNER_PID: i32 = 1;
#[allow(missing_docs)]
pub const F_OWNER_PGRP: i32 = 2;

/// `si_code` where the signal's own codes would be mistaken for those of a descriptor.
const SI_SIGIO: i32 = -5;
/// The codes of a descriptor, POLL_IN to POLL_HUP.
const POLL_CODES: core::ops::RangeInclusive<i32> = 1..=6;
/// Signals with codes of their own among these.
const WITH_CODES: u64 = FAULTS | bit(libc::SIGCHLD);

/// An owner that was set here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoOwner {
    /// There is none, or it is not known.
    Nobody,
    /// Not a thread of ours.
    Other,
    /// A guest, and nobody else.
    Thread(i32),
    /// The process, and in it this guest first.
    Process(i32),
}

const OTHER: i32 = i32::MIN;

impl IoOwner {
    fn of_word(word: i32) -> Self {
        match word {
            0 => IoOwner::Nobody,
            OTHER => IoOwner::Other,
            tid if tid > 0 => IoOwner::Thread(tid),
            tid => IoOwner::Process(-tid),
        }
    }

    fn word(self) -> i32 {
        match self {
            IoOwner::Nobody => 0,
            IoOwner::Other => OTHER,
            IoOwner::Thread(tid) => tid,
            IoOwner::Process(tid) => -tid,
        }
    }
}

/// Highest number that an owner was remembered for.
static HIGHEST: AtomicI32 = AtomicI32::new(-1);

/// Remembers the owner of a descriptor.
pub fn set_io_owner(fd: i32, owner: IoOwner) {
    if let Some(state) = fds::table().get(fd)
        && state.owner() != owner.word()
    {
        state.set_owner(owner.word());
        HIGHEST.fetch_max(fd, Ordering::Release);
    }
}

/// The owner of a descriptor.
pub fn io_owner(fd: i32) -> IoOwner {
    if fd > HIGHEST.load(Ordering::Acquire) {
        return IoOwner::Nobody;
    }
    IoOwner::of_word(fds::table().get(fd).map_or(0, |state| state.owner()))
}

/// Descriptors with owners.
fn owned() -> impl Iterator<Item = (i32, IoOwner)> {
    (0..=HIGHEST.load(Ordering::Acquire))
        .map(|fd| (fd, io_owner(fd)))
        .filter(|&(_, owner)| owner != IoOwner::Nobody)
}

/// The one owner there is.
fn only_one() -> IoOwner {
    let mut all = owned().map(|(_, owner)| owner);
    match all.next() {
        Some(first) if all.all(|owner| owner == first) => first,
        _ => IoOwner::Nobody,
    }
}

/// Id of the guest that a signal of a descriptor is for; 0 if it is for any, or another
/// kind of signal.
pub(super) fn meant(hub: &Hub, info: &Info) -> i32 {
    if HIGHEST.load(Ordering::Acquire) < 0 {
        return 0;
    }
    let signal = info.signal();
    let owner = match info.code() {
        libc::SI_KERNEL if matches!(signal, libc::SIGIO | libc::SIGURG) => only_one(),
        SI_SIGIO => io_owner(info.fd()),
        code if POLL_CODES.contains(&code) && bit(signal) & WITH_CODES == 0 => io_owner(info.fd()),
        _ => IoOwner::Nobody,
    };
    match owner {
        IoOwner::Nobody | IoOwner::Other => 0,
        IoOwner::Thread(tid) => tid,
        IoOwner::Process(tid) => hub
            .find(tid)
            .filter(|guest| guest.signal.mask() & bit(signal) == 0)
            .map_or(0, |_| tid),
    }
}

/// A guest ends: nobody gets the signals that were to go to it.
pub fn disown(guest: &Guest) {
    let tid = guest.tid.get();
    for (fd, owner) in owned() {
        let kind = match owner {
            IoOwner::Thread(owner) if owner == tid => F_OWNER_TID,
            IoOwner::Process(owner) if owner == tid => F_OWNER_PID,
            _ => continue,
        };
        set_io_owner(fd, IoOwner::Nobody);
        let nobody = [kind, 0];
        let nobody = &raw const nobody as u64;
        // SAFETY: the kernel reads two words of ours.
        unsafe { syscall3(libc::SYS_fcntl, fd as u64, F_SETOWN_EX as u64, nobody) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_one_word() {
        for owner in [
            IoOwner::Nobody,
            IoOwner::Other,
            IoOwner::Thread(1 << 22),
            IoOwner::Process(1 << 22),
        ] {
            assert_eq!(IoOwner::of_word(owner.word()), owner);
        }
    }
}
