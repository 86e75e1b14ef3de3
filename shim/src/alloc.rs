//! The library's own heap.
//!
//! A guest may be switched out anywhere in its own code, also inside libc's
//! `malloc` with an arena locked. Host code that then asked libc for memory would
//! wait for a lock whose holder cannot run. So nothing of ours uses libc's heap.
//! This one is shared by host code, the pool's threads, and the interface for programs
//! that know of the hub, which guests call; of a program that links this crate it is the
//! whole heap. So a guest is not switched out while it is in here.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};

use dlmalloc::GlobalDlmalloc;
use gevent_runtime::api::section::Section;
use gevent_runtime::dispatch::in_guest_mode;

#[global_allocator]
static HEAP: Heap = Heap(GlobalDlmalloc);

/// The heap; debug builds see to it that no system call of a guest uses it.
struct Heap(GlobalDlmalloc);

// SAFETY: hands everything on.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        debug_assert!(!in_guest_mode(), "an allocation in guest mode");
        let _section = Section::enter();
        // SAFETY: the caller's contract.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        debug_assert!(!in_guest_mode(), "memory given back in guest mode");
        let _section = Section::enter();
        // SAFETY: the caller's contract.
        unsafe { self.0.dealloc(at, layout) };
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        debug_assert!(!in_guest_mode(), "an allocation in guest mode");
        let _section = Section::enter();
        // SAFETY: the caller's contract.
        unsafe { self.0.realloc(at, layout, size) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        debug_assert!(!in_guest_mode(), "an allocation in guest mode");
        let _section = Section::enter();
        // SAFETY: the caller's contract.
        unsafe { self.0.alloc_zeroed(layout) }
    }
}

/// Keeps the heap usable in a forked child whose parent's pool threads were using
/// it. Called once, before the first of those threads exists.
pub fn survive_fork() {
    // SAFETY: registers handlers for fork; nothing of the heap is in use by another
    // thread yet.
    unsafe { dlmalloc::enable_alloc_after_fork() };
}
