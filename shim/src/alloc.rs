//! The library's own heap.
//!
//! A guest may be switched out anywhere in its own code, also inside libc's
//! `malloc` with an arena locked. Host code that then asked libc for memory would
//! wait for a lock whose holder cannot run. So nothing of ours uses libc's heap.
//! This one is shared by host code, the pool's threads, and the interface for programs
//! that know of the hub, which guests call; of a program that links this crate it is the
//! whole heap. So a guest is not switched out while it is in here.
//!
//! # Synchronization
//! [`HEAP`] is held by whoever touches the heap, and by fork.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;

use dlmalloc::Dlmalloc;
use gevent_runtime::api::section::Section;
use gevent_runtime::dispatch::in_guest_mode;
use gevent_runtime::heap_lock::HEAP;

#[global_allocator]
static ALLOCATOR: Heap = Heap(UnsafeCell::new(Dlmalloc::new()));

/// The heap; debug builds see to it that no system call of a guest uses it.
struct Heap(UnsafeCell<Dlmalloc>);

// SAFETY: see Synchronization.
unsafe impl Sync for Heap {}

impl Heap {
    fn with<R>(&self, f: impl FnOnce(&mut Dlmalloc) -> R) -> R {
        debug_assert!(!in_guest_mode(), "the heap is used in guest mode");
        let _section = Section::enter();
        HEAP.lock();
        // SAFETY: the lock is held, and the heap does not call back.
        let result = f(unsafe { &mut *self.0.get() });
        HEAP.unlock();
        result
    }
}

// SAFETY: hands everything on to a heap that is one, one thread at a time.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        self.with(|heap| unsafe { heap.malloc(layout.size(), layout.align()) })
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        self.with(|heap| unsafe { heap.free(at, layout.size(), layout.align()) });
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's contract.
        self.with(|heap| unsafe { heap.realloc(at, layout.size(), layout.align(), size) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        self.with(|heap| unsafe { heap.calloc(layout.size(), layout.align()) })
    }
}
