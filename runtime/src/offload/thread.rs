//! The pool's kernel threads: what they stand on, and what they do.
//!
//! They are none of libc's. To make a thread, libc takes locks that a guest may hold
//! while it waits for the very thread (the loader holds one while it reads files), and
//! it would give the thread new credentials by a signal that these threads block. The
//! hub's kernel thread makes them itself, and hands on the credentials it has.
#![allow(unsafe_code)]

use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

use super::Pool;
use crate::arch::{self, syscall3};
use crate::host::POOL_WORD;
use crate::raw;

const PAGE: usize = 4096;
/// Bytes of a thread's stack. A signal's frame is the largest thing on it, 3 KiB with
/// AVX-512.
const STACK: usize = 64 << 10;

/// Memory of one thread: a guard page, its stack, and around its thread pointer what
/// stands for thread-local storage: our own word alone.
pub struct Place {
    base: *mut u8,
}

// SAFETY: a place belongs to the pool, and to the thread on it while that lives.
unsafe impl Send for Place {}

impl Place {
    /// Bytes before the thread pointer.
    fn before() -> usize {
        arch::word_distance().next_multiple_of(PAGE)
    }

    /// New memory for a thread; `None` if there is none.
    pub fn new() -> Option<Place> {
        let base = raw::reserve(PAGE + STACK + Self::before() + PAGE)?;
        // SAFETY: the first page of our new mapping.
        unsafe {
            syscall3(
                libc::SYS_mprotect,
                base as u64,
                PAGE as u64,
                libc::PROT_NONE as u64,
            )
        };
        Some(Place { base })
    }

    fn stack_top(&self) -> u64 {
        self.base as u64 + (PAGE + STACK) as u64
    }

    fn thread_pointer(&self) -> u64 {
        self.stack_top() + Self::before() as u64
    }

    fn alive(&self) -> *mut u32 {
        (self.thread_pointer() + PAGE as u64 / 2) as *mut u32
    }

    /// Whether no thread is on it.
    pub fn is_free(&self) -> bool {
        // SAFETY: a word of our own mapping, which the kernel writes too.
        unsafe { AtomicU32::from_ptr(self.alive()) }.load(Ordering::Acquire) == 0
    }

    /// Starts a thread of `pool` on it. False if the kernel makes none. Every signal must
    /// be blocked.
    pub fn start(&self, pool: &'static Pool) -> bool {
        // SAFETY: the place is free, so its memory is ours to prepare, and it has room for
        // what the thread reads at its thread pointer.
        unsafe {
            arch::set_word_of(self.thread_pointer(), POOL_WORD);
            arch::spawn_thread(
                self.stack_top(),
                self.thread_pointer(),
                self.alive(),
                body,
                ptr::from_ref(pool) as usize,
            ) > 0
        }
    }
}

unsafe extern "C" fn body(pool: usize) {
    // SAFETY: `start` passes a pool, and pools are never freed.
    unsafe { &*(pool as *const Pool) }.serve();
}
