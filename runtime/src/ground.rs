//! What a kernel thread stands on that libc does not know: a stack, and a thread pointer.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering};

use crate::arch::{self, syscall3};
use crate::host::POOL_WORD;
use crate::raw;

const PAGE: usize = 4096;
/// Bytes of a thread's stack. A signal's frame is the largest thing on it, 3 KiB with
/// AVX-512.
const STACK: usize = 64 << 10;

/// Memory of one thread: a guard page, its stack, and around its thread pointer what
/// stands for thread-local storage: our own word alone.
pub struct Ground {
    base: *mut u8,
}

// SAFETY: it belongs to whoever made it, and to the thread on it while that lives.
unsafe impl Send for Ground {}

impl Ground {
    /// Bytes before the thread pointer.
    fn before() -> usize {
        arch::word_distance().next_multiple_of(PAGE)
    }

    /// New memory for a thread; `None` if there is none.
    pub fn new() -> Option<Ground> {
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
        Some(Ground { base })
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

    /// Starts what `spawn` makes on it: [`spawn_thread`](arch::spawn_thread) or
    /// [`spawn_process`](arch::spawn_process), whose result is returned.
    ///
    /// # Safety
    /// It must be free, and `body` as `spawn` wants it.
    pub unsafe fn start(&self, spawn: Spawn, body: Body, argument: usize) -> i64 {
        // SAFETY: free, so its memory is ours to prepare, and it has room for what the
        // thread reads at its thread pointer.
        unsafe {
            arch::set_word_of(self.thread_pointer(), POOL_WORD);
            spawn(
                self.stack_top(),
                self.thread_pointer(),
                self.alive(),
                body,
                argument,
            )
        }
    }
}

type Body = unsafe extern "C" fn(usize);
type Spawn = unsafe fn(u64, u64, *mut u32, Body, usize) -> i64;
