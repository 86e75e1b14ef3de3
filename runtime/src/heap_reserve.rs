//! Memory that the library's heap has left where the kernel gives it no more.
//!
//! Where the program has used up its address space (RLIMIT_AS) or the machine its memory, a
//! call that needs a few words of ours must not be the program's end. The reserve has its
//! place in the address space while there is a hub, and takes no memory before it is used.
//! Under a limit it is a small part of what the limit allows, also where the program sets the
//! limit later.
//!
//! # Synchronization
//! The heap's lock is held by whoever takes the reserve or makes it smaller.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::arch::syscall2;
use crate::heap_lock::HEAP;
use crate::owned_lock::Sleep;
use crate::raw;

/// Bytes of the reserve at most, and at least.
const LARGEST: usize = 4 << 20;
const SMALLEST: usize = 256 << 10;
/// This part of a limit is the reserve's.
const PART: u64 = 512;

/// Where it begins, 0 if there is none, and its length.
static AT: AtomicUsize = AtomicUsize::new(0);
static LEN: AtomicUsize = AtomicUsize::new(0);

/// The length that suits the present limits.
fn suitable() -> usize {
    let part = (raw::memory_limit() / PART).min(LARGEST as u64) as usize;
    part.next_multiple_of(4096).max(SMALLEST)
}

/// Gets it, unless it is there. A hub starts.
pub fn begin() {
    if AT.load(Ordering::Relaxed) == 0 {
        let len = suitable();
        if let Some(at) = raw::reserve(len) {
            LEN.store(len, Ordering::Relaxed);
            AT.store(at as usize, Ordering::Release);
        }
    }
}

/// The program changed its limits: gives back what is too much now. Host context.
pub fn fit() {
    let len = suitable();
    if HEAP.lock(Sleep::Kernel).is_err() {
        return;
    }
    let (at, old) = (AT.load(Ordering::Relaxed), LEN.load(Ordering::Relaxed));
    if at != 0 && len < old {
        // SAFETY: the end of our own memory, which nobody has.
        let ret = unsafe { syscall2(libc::SYS_munmap, (at + len) as u64, (old - len) as u64) };
        if ret == 0 {
            LEN.store(len, Ordering::Relaxed);
        }
    }
    HEAP.unlock(Sleep::Kernel);
}

/// Its memory, which is the caller's from then on, if it is that large. Called with the heap's
/// lock held.
pub fn take(size: usize) -> Option<(*mut u8, usize)> {
    let (at, len) = (AT.load(Ordering::Acquire), LEN.load(Ordering::Relaxed));
    if at == 0 || size > len {
        return None;
    }
    AT.store(0, Ordering::Relaxed);
    Some((at as *mut u8, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test: there is one reserve in a process.
    #[test]
    fn it_is_given_once() {
        assert!(take(1).is_none());
        begin();
        begin();
        fit();
        assert!(take(LARGEST + 1).is_none());
        let (at, len) = take(SMALLEST).unwrap();
        assert!((SMALLEST..=LARGEST).contains(&len));
        // SAFETY: ours now.
        unsafe { at.add(len - 1).write(1) };
        assert!(take(1).is_none());
        fit();
    }
}
