//! The library's own heap.
//!
//! A guest may be switched out anywhere in its own code, also inside libc's
//! `malloc` with an arena locked. Host code that then asked libc for memory would
//! wait for a lock whose holder cannot run. So nothing of ours uses libc's heap.
//! This one is shared by host code, the pool's threads, and the interface for programs
//! that know of the hub, which guests call; of a program that links this crate it is the
//! whole heap. So a guest is not switched out while it is in here.
//!
//! A signal handler that interrupted the heap's holder can't have the heap. It gets one of a
//! few blocks that are set apart, which is enough to unwind out of the handler's call: that
//! is how a function of the C interface comes to its `-EDEADLK`. What it frees of the heap
//! itself is not used again.
//!
//! # Synchronization
//! [`HEAP`] is held by whoever touches the heap, and by fork. A block that is set apart is
//! had by who set its bit in `used`.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use dlmalloc::Dlmalloc;
use gevent_runtime::api::section::Section;
use gevent_runtime::dispatch::in_guest_mode;
use gevent_runtime::heap_lock::HEAP;
use gevent_runtime::owned_lock::Sleep;

use crate::reserve::Source;

#[global_allocator]
static ALLOCATOR: Heap = Heap(UnsafeCell::new(Dlmalloc::new_with_allocator(Source)));

/// The heap; debug builds see to it that no system call of a guest uses it.
struct Heap(UnsafeCell<Dlmalloc<Source>>);

// SAFETY: see Synchronization.
unsafe impl Sync for Heap {}

impl Heap {
    /// Has `f` use the heap. `None` in a signal handler that interrupted its holder.
    fn with<R>(&self, f: impl FnOnce(&mut Dlmalloc<Source>) -> R) -> Option<R> {
        debug_assert!(!in_guest_mode(), "the heap is used in guest mode");
        let _section = Section::enter();
        HEAP.lock(Sleep::Kernel).ok()?;
        // SAFETY: the lock is held, and the heap does not call back.
        let result = f(unsafe { &mut *self.0.get() });
        HEAP.unlock(Sleep::Kernel);
        Some(result)
    }
}

/// Bytes of a block that is set apart, and what it is aligned to.
const BLOCK: usize = 256;

#[repr(C, align(256))]
struct Block(UnsafeCell<[u8; BLOCK]>);

/// Blocks for signal handlers; bit n of `used` is block n's.
struct Apart {
    blocks: [Block; 32],
    used: AtomicU32,
}

// SAFETY: a block is used by who set its bit.
unsafe impl Sync for Apart {}

static APART: Apart = Apart {
    blocks: [const { Block(UnsafeCell::new([0; BLOCK])) }; 32],
    used: AtomicU32::new(0),
};

impl Apart {
    /// A block, or null if there is none that is large enough.
    #[cold]
    fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > BLOCK || layout.align() > BLOCK {
            return ptr::null_mut();
        }
        let mut used = self.used.load(Ordering::Relaxed);
        while used != u32::MAX {
            let n = used.trailing_ones();
            let taken = used | 1 << n;
            let swap =
                self.used
                    .compare_exchange(used, taken, Ordering::Acquire, Ordering::Relaxed);
            match swap {
                Ok(_) => return self.blocks[n as usize].0.get().cast(),
                Err(now) => used = now,
            }
        }
        ptr::null_mut()
    }

    /// Takes a block back. False: it is none of these.
    fn dealloc(&self, at: *mut u8) -> bool {
        let ours = self.has(at);
        if ours {
            let n = self.offset(at) / BLOCK;
            self.used.fetch_and(!(1 << n), Ordering::Release);
        }
        ours
    }

    /// Whether it is one of these.
    fn has(&self, at: *mut u8) -> bool {
        self.offset(at) < size_of_val(&self.blocks)
    }

    fn offset(&self, at: *mut u8) -> usize {
        (at as usize).wrapping_sub(self.blocks.as_ptr() as usize)
    }
}

// SAFETY: hands everything on to a heap that is one, one thread at a time, or to blocks that
// one has at a time.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        let block = self.with(|heap| unsafe { heap.malloc(layout.size(), layout.align()) });
        block.unwrap_or_else(|| APART.alloc(layout))
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if !APART.dealloc(at) {
            // SAFETY: the caller's contract.
            self.with(|heap| unsafe { heap.free(at, layout.size(), layout.align()) });
        }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !APART.has(at) {
            // SAFETY: the caller's contract.
            let grow = |heap: &mut Dlmalloc<Source>| unsafe {
                heap.realloc(at, layout.size(), layout.align(), size)
            };
            if let Some(block) = self.with(grow) {
                return block;
            }
        }
        // SAFETY: the caller's contract.
        unsafe {
            let fresh = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !fresh.is_null() {
                fresh.copy_from_nonoverlapping(at, layout.size().min(size));
                self.dealloc(at, layout);
            }
            fresh
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        let block = self.with(|heap| unsafe { heap.calloc(layout.size(), layout.align()) });
        block.unwrap_or_else(|| {
            let block = APART.alloc(layout);
            if !block.is_null() {
                // SAFETY: a block of that size at least.
                unsafe { block.write_bytes(0, layout.size()) };
            }
            block
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_gets_a_block_that_is_set_apart() {
        let layout = Layout::from_size_align(100, 16).unwrap();
        // What an interrupted holder has.
        let _section = Section::enter();
        HEAP.lock(Sleep::Kernel).unwrap();
        // SAFETY: blocks of that layout, each freed once.
        let same = unsafe {
            let first = ALLOCATOR.alloc(layout);
            let second = ALLOCATOR.alloc_zeroed(layout);
            second.write(7);
            let grown = ALLOCATOR.realloc(second, layout, 200);
            let apart = [first, grown].iter().all(|at| APART.has(*at)) && grown.read() == 7;
            let large = Layout::from_size_align(BLOCK + 1, 1).unwrap();
            let refused = ALLOCATOR.alloc(large).is_null();
            ALLOCATOR.dealloc(first, layout);
            ALLOCATOR.dealloc(grown, layout);
            apart && refused
        };
        HEAP.unlock(Sleep::Kernel);
        assert!(same);
        assert_eq!(APART.used.load(Ordering::Relaxed), 0);
    }
}
