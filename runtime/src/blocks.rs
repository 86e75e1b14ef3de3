//! An array that grows and whose elements stay where they are: blocks of address space, each
//! as large as all before it.
//!
//! A reservation for the most that a program may ever need would be counted as if it were
//! used: by RLIMIT_AS, RLIMIT_DATA, strict overcommit, and who reads VmSize.
//!
//! # Synchronization
//! None: it belongs to whoever has it.
#![allow(unsafe_code)]

use core::cell::Cell;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use crate::raw;

/// More than any array has.
const BLOCKS: usize = 32;

/// See the file's first lines. The first block has `FIRST` elements, a power of two. All-zero
/// bytes are a value of `T`.
pub struct Blocks<T, const FIRST: usize> {
    blocks: [Cell<*mut T>; BLOCKS],
    /// Elements of the blocks that are there.
    count: Cell<usize>,
    owns: PhantomData<T>,
}

impl<T, const FIRST: usize> Blocks<T, FIRST> {
    /// Without any memory yet.
    #[allow(clippy::new_without_default)] // its only uses are statics
    pub const fn new() -> Self {
        assert!(FIRST.is_power_of_two() && !core::mem::needs_drop::<T>());
        Blocks {
            blocks: [const { Cell::new(ptr::null_mut()) }; BLOCKS],
            count: Cell::new(0),
            owns: PhantomData,
        }
    }

    /// Elements that are there.
    pub fn count(&self) -> usize {
        self.count.get()
    }

    /// Elements of a block.
    const fn size(block: usize) -> usize {
        if block == 0 {
            FIRST
        } else {
            FIRST << (block - 1)
        }
    }

    /// Which block an element is in, and where there.
    const fn place(index: usize) -> (usize, usize) {
        let block = (usize::BITS - (index / FIRST).leading_zeros()) as usize;
        let before = if block == 0 { 0 } else { Self::size(block) };
        (block, index - before)
    }

    /// Where an element is, zero if nobody wrote it, or `None` if it is not there.
    pub fn get(&self, index: usize) -> Option<NonNull<T>> {
        if index >= self.count.get() {
            return None;
        }
        let (block, offset) = Self::place(index);
        // SAFETY: the blocks below `count` are there, and have these elements.
        NonNull::new(unsafe { self.blocks[block].get().add(offset) })
    }

    /// Has at least one element more. False: the kernel gives no memory.
    pub fn grow(&self) -> bool {
        let (block, _) = Self::place(self.count.get());
        if block >= BLOCKS {
            return false;
        }
        let size = Self::size(block);
        let Some(at) = raw::reserve(size * size_of::<T>()) else {
            return false;
        };
        self.blocks[block].set(at.cast());
        self.count.set(self.count.get() + size);
        true
    }

    /// The number of the element at that address.
    pub fn index_of(&self, address: usize) -> Option<usize> {
        let mut before = 0;
        for (block, at) in self.blocks.iter().enumerate() {
            if at.get().is_null() {
                break;
            }
            let offset = address.wrapping_sub(at.get() as usize);
            if offset < Self::size(block) * size_of::<T>() {
                let whole = offset.is_multiple_of(size_of::<T>());
                return whole.then_some(before + offset / size_of::<T>());
            }
            before += Self::size(block);
        }
        None
    }

    /// Its memory: where each block begins, and its length in bytes.
    pub fn memory(&self) -> impl Iterator<Item = (usize, usize)> {
        let blocks = self.blocks.iter().enumerate();
        blocks
            .take_while(|(_, at)| !at.get().is_null())
            .map(|(block, at)| (at.get() as usize, Self::size(block) * size_of::<T>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_by_number_and_by_address() {
        let blocks = Blocks::<u64, 512>::new();
        assert!(blocks.get(0).is_none() && blocks.memory().next().is_none());
        for expected in [512, 1024, 2048, 4096] {
            assert!(blocks.grow());
            assert_eq!(blocks.count(), expected);
        }
        assert!(blocks.get(4096).is_none());
        for i in 0..4096 {
            let at = blocks.get(i).unwrap();
            // SAFETY: an element of ours.
            unsafe {
                assert_eq!(at.read(), 0);
                at.write(i as u64 + 1);
            }
            assert_eq!(blocks.index_of(at.as_ptr() as usize), Some(i));
            assert_eq!(blocks.index_of(at.as_ptr() as usize + 1), None);
        }
        for i in 0..4096 {
            // SAFETY: as above.
            assert_eq!(unsafe { blocks.get(i).unwrap().read() }, i as u64 + 1);
        }
        let memory: Vec<usize> = blocks.memory().map(|(_, len)| len).collect();
        assert_eq!(memory, [4096, 4096, 8192, 16384]);
    }
}
