//! Which guest made a child, which is whom the kernel asks first to take its SIGCHLD: the
//! parent is a thread (`do_notify_parent`).
//!
//! A child has its place by its id. Another with the same place takes it away, and then the
//! initial guest is asked first, as for a child that was made before there were guests, or one
//! of vfork(2) that makes no call but _exit(2), or without memory for the places.
//!
//! # Synchronization
//! One word for each place, written by whoever makes a child, or by the child of a vfork on
//! our memory, and read where SIGCHLD arrives.

#![allow(unsafe_code)]

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use super::Info;
use crate::guest::Guest;
use crate::hub::Hub;
use crate::raw;

/// The kernel's default for how many ids there are.
const PLACES: usize = 1 << 15;

/// The child's id above its maker's. Null until a child is made.
static MAKERS: AtomicPtr<[AtomicU64; PLACES]> = AtomicPtr::new(ptr::null_mut());

fn place(child: i32) -> Option<&'static AtomicU64> {
    // SAFETY: null, or memory that is never freed; all zero is a valid value.
    let makers = unsafe { MAKERS.load(Ordering::Acquire).as_ref() }?;
    Some(&makers[child as u32 as usize % PLACES])
}

/// `guest` has made the process `child`.
pub fn note_child(child: i32, guest: &Guest) {
    let word = (child as u32 as u64) << 32 | guest.tid.get() as u32 as u64;
    if MAKERS.load(Ordering::Relaxed).is_null()
        && let Some(memory) = raw::reserve(size_of::<[AtomicU64; PLACES]>())
    {
        MAKERS.store(memory.cast(), Ordering::Release);
    }
    if let Some(place) = place(child) {
        place.store(word, Ordering::Relaxed);
    }
}

/// Whom a signal about a child names: who made it and is still there.
pub(super) fn maker(hub: &Hub, info: &Info) -> Option<&'static Guest> {
    if info.signal() != libc::SIGCHLD
        || !(libc::CLD_EXITED..=libc::CLD_CONTINUED).contains(&info.code())
    {
        return None;
    }
    let word = place(info.pid())?.load(Ordering::Relaxed);
    if (word >> 32) as i32 != info.pid() {
        return None;
    }
    hub.find(word as i32)
}
