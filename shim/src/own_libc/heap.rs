//! Memory of the library's own heap: std has some from libc's even where the program's allocator
//! is another.
//!
//! Each block has its size and alignment in the 16 bytes before it.
#![allow(unsafe_code)]

use core::ffi::{c_int, c_void};
use core::ptr;
use std::alloc::{self, Layout};

use super::call::set_errno;
use super::own;

own! { calloc free malloc posix_memalign realloc }

/// Bytes before a block, and its least alignment.
const HEAD: usize = 16;

/// The layout of a block with what is before it, and how far the block is from its begin.
fn layout(size: usize, align: usize) -> Option<(Layout, usize)> {
    let align = align.max(HEAD);
    let layout = Layout::from_size_align(size.checked_add(align)?, align).ok()?;
    Some((layout, align))
}

fn make(size: usize, align: usize) -> *mut c_void {
    let Some((layout, offset)) = layout(size, align) else {
        return ptr::null_mut();
    };
    // SAFETY: a layout of some bytes, of which the last before the block are the head.
    unsafe {
        let at = alloc::alloc_zeroed(layout);
        if at.is_null() {
            return ptr::null_mut();
        }
        let block = at.add(offset);
        block.sub(HEAD).cast::<[usize; 2]>().write([size, align]);
        block.cast()
    }
}

fn or_no_memory(block: *mut c_void) -> *mut c_void {
    if block.is_null() {
        set_errno(libc::ENOMEM);
    }
    block
}

unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    or_no_memory(make(size, HEAD))
}

unsafe extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    let size = count.checked_mul(size);
    or_no_memory(size.map_or(ptr::null_mut(), |size| make(size, HEAD)))
}

unsafe extern "C" fn posix_memalign(to: *mut *mut c_void, align: usize, size: usize) -> c_int {
    if !align.is_power_of_two() || !align.is_multiple_of(size_of::<usize>()) {
        return libc::EINVAL;
    }
    let block = make(size, align);
    if block.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller's place.
    unsafe { *to = block };
    0
}

unsafe extern "C" fn free(block: *mut c_void) {
    if block.is_null() {
        return;
    }
    // SAFETY: a block that `make` returned, with its head.
    unsafe {
        let [size, align] = block.cast::<u8>().sub(HEAD).cast::<[usize; 2]>().read();
        if let Some((layout, offset)) = layout(size, align) {
            alloc::dealloc(block.cast::<u8>().sub(offset), layout);
        }
    }
}

unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    let new = or_no_memory(make(size, HEAD));
    if block.is_null() || new.is_null() {
        return new;
    }
    // SAFETY: a block that `make` returned, and another one.
    unsafe {
        let [old, _] = block.cast::<u8>().sub(HEAD).cast::<[usize; 2]>().read();
        new.cast::<u8>()
            .copy_from_nonoverlapping(block.cast(), old.min(size));
        free(block);
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_keep_what_they_hold() {
        for align in [8, 16, 64, 4096] {
            let mut block = ptr::null_mut();
            // SAFETY: blocks of these functions, used within their sizes and freed once.
            unsafe {
                assert_eq!(posix_memalign(&mut block, align, 100), 0);
                assert_eq!(block as usize % align, 0);
                block.cast::<u8>().write_bytes(7, 100);
                let grown = realloc(block, 10_000);
                assert_eq!(*grown.cast::<[u8; 100]>(), [7; 100]);
                free(grown);
            }
        }
        // SAFETY: refused.
        unsafe {
            let mut block = ptr::null_mut();
            assert_eq!(posix_memalign(&mut block, 3, 1), libc::EINVAL);
            assert!(malloc(usize::MAX).is_null() && calloc(usize::MAX, 2).is_null());
            free(ptr::null_mut());
        }
    }
}
