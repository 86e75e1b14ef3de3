//! Memory for what a new program is given, off the caller's stack.
//!
//! Whoever execs may be a child of vfork, on its parent's memory and on a stack of a few KiB, so it
//! gets a mapping. A failed exec gives it back. After one that succeeds the memory is gone,
//! but for that of a vfork's parent: there the mapping stays, until the next one that is made on the
//! same TCB. Only one of parent and child runs on it at a time, so the one before has had its use.
//!
//! # Synchronization
//! A place is claimed by a compare-and-swap of its key, or by the key alone, by a thread that
//! shares its TCB with none that runs. Past [`PLACES`] TCBs a mapping has no place, and one that stays is
//! lost.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use crate::arch::{self, syscall0, syscall2};
use crate::raw;

/// Memory of whoever runs on a TCB.
struct Place {
    /// The thread pointer; 0: nobody's.
    key: AtomicU64,
    /// The thread that made the mapping.
    tid: AtomicI32,
    at: AtomicU64,
    len: AtomicU64,
}

static PLACES: [Place; 32] = [const {
    Place {
        key: AtomicU64::new(0),
        tid: AtomicI32::new(0),
        at: AtomicU64::new(0),
        len: AtomicU64::new(0),
    }
}; 32];

/// Memory that is the caller's until it is dropped, or the caller's program is another one.
pub struct ExecMemory {
    at: u64,
    len: u64,
    place: Option<&'static Place>,
}

impl ExecMemory {
    /// So many bytes, all zero, aligned to pages. `None`: there are none.
    pub fn new(len: usize) -> Option<ExecMemory> {
        // SAFETY: no arguments.
        let tid = unsafe { syscall0(libc::SYS_gettid) } as i32;
        let place = claim(arch::thread_pointer(), tid);
        if let Some(place) = place {
            unmap(
                place.at.swap(0, Ordering::Relaxed),
                place.len.load(Ordering::Relaxed),
            );
        }
        let at = raw::reserve(len).map_or(0, |at| at as u64);
        let len = len as u64;
        if let Some(place) = place {
            place.len.store(len, Ordering::Relaxed);
            place.at.store(at, Ordering::Relaxed);
        }
        let memory = ExecMemory { at, len, place };
        (at != 0).then_some(memory)
    }

    /// Where it begins.
    pub fn address(&self) -> u64 {
        self.at
    }

    /// Its bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: our own mapping, which lives as long as this, and is borrowed from it.
        unsafe { core::slice::from_raw_parts_mut(self.at as *mut u8, self.len as usize) }
    }
}

impl Drop for ExecMemory {
    fn drop(&mut self) {
        unmap(self.at, self.len);
        if let Some(place) = self.place {
            place.at.store(0, Ordering::Relaxed);
            place.tid.store(0, Ordering::Relaxed);
            place.key.store(0, Ordering::Release);
        }
    }
}

/// The place of a thread pointer, or one that is nobody's.
fn claim(key: u64, tid: i32) -> Option<&'static Place> {
    let own = PLACES
        .iter()
        .find(|place| place.key.load(Ordering::Acquire) == key);
    let place = match own {
        // A handler of a signal that came during the same thread's exec.
        Some(place) if place.tid.load(Ordering::Relaxed) == tid => return None,
        Some(place) => place,
        None => PLACES.iter().find(|place| {
            let swapped = place
                .key
                .compare_exchange(0, key, Ordering::Acquire, Ordering::Relaxed);
            swapped.is_ok()
        })?,
    };
    place.tid.store(tid, Ordering::Relaxed);
    Some(place)
}

fn unmap(at: u64, len: u64) {
    if at != 0 {
        // SAFETY: a mapping of ours whose user is gone.
        unsafe { syscall2(libc::SYS_munmap, at, len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stayed_is_given_back_by_the_next_on_the_same_tcb() {
        let left = |at: u64| raw::is_readable(at);
        let first = ExecMemory::new(8192).unwrap();
        let (at, place) = (first.address(), first.place.unwrap());
        assert!(left(at));
        // In a handler of the same thread.
        let inner = ExecMemory::new(16).unwrap();
        assert!(inner.place.is_none() && inner.address() != at);
        drop(inner);
        // The exec of a child with another id has succeeded.
        core::mem::forget(first);
        place.tid.store(-1, Ordering::Relaxed);
        let second = ExecMemory::new(1 << 20).unwrap();
        assert!(core::ptr::eq(second.place.unwrap(), place));
        let (begin, end) = (second.address(), second.address() + (1 << 20));
        assert!(!left(at) || (begin..end).contains(&at));
        drop(second);
        assert_eq!(place.key.load(Ordering::Relaxed), 0);
    }
}
