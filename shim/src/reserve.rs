//! Where the library's heap gets its memory: from the kernel, and once that gives no more,
//! from its [reserve](heap_reserve).
//!
//! # Synchronization
//! Called by the heap alone, under its lock.
#![allow(unsafe_code)]

use std::ptr;

use dlmalloc::Allocator;
use gevent_runtime::arch::{syscall, syscall2, syscall4};
use gevent_runtime::{heap_lock, heap_reserve};

/// The heap did not make this segment, and neither frees nor joins it (dlmalloc's
/// EXTERN_BIT).
const EXTERNAL: u32 = 1;

/// See the file's first lines.
pub struct Source;

/// An address the kernel returned, or null for an error.
fn address(ret: i64) -> *mut u8 {
    if (-4095..0).contains(&ret) {
        ptr::null_mut()
    } else {
        ret as *mut u8
    }
}

// SAFETY: every region is a mapping of its own, or the reserve, which is given once.
unsafe impl Allocator for Source {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
        let args = [0, size as u64, protection, flags, u64::MAX, 0];
        // SAFETY: a new mapping.
        let mapped = address(unsafe { syscall(libc::SYS_mmap as u64, args) });
        if !mapped.is_null() {
            return (mapped, size, 0);
        }
        heap_lock::note_short(size);
        match heap_reserve::take(size) {
            Some((at, len)) => (at, len, EXTERNAL),
            None => (ptr::null_mut(), 0, 0),
        }
    }

    fn remap(&self, at: *mut u8, old: usize, new: usize, can_move: bool) -> *mut u8 {
        let flags = if can_move { libc::MREMAP_MAYMOVE } else { 0 };
        // SAFETY: a mapping that `alloc` made: dlmalloc remaps no others.
        address(unsafe {
            syscall4(
                libc::SYS_mremap,
                at as u64,
                old as u64,
                new as u64,
                flags as u64,
            )
        })
    }

    fn free_part(&self, at: *mut u8, old: usize, new: usize) -> bool {
        // SAFETY: the end of a mapping that `alloc` made.
        unsafe { syscall2(libc::SYS_munmap, at as u64 + new as u64, (old - new) as u64) == 0 }
    }

    fn free(&self, at: *mut u8, size: usize) -> bool {
        // SAFETY: a mapping that `alloc` made.
        unsafe { syscall2(libc::SYS_munmap, at as u64, size as u64) == 0 }
    }

    fn can_release_part(&self, flags: u32) -> bool {
        flags & EXTERNAL == 0
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        4096
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_mappings_of_their_own() {
        let (none, _, _) = Source.alloc(1 << 46);
        assert!(none.is_null());
        let (at, size, flags) = Source.alloc(1 << 16);
        assert!(size == 1 << 16 && flags == 0);
        // SAFETY: a new mapping of ours.
        unsafe { at.write(1) };
        let grown = Source.remap(at, size, 2 * size, true);
        assert!(!grown.is_null());
        assert!(Source.free_part(grown, 2 * size, size) && Source.free(grown, size));
    }
}
