//! Memory of thread stacks, without a mapping for each.
//!
//! libc asks the kernel for a stack with `mmap(NULL, size, …, MAP_STACK)`, makes
//! all but the guard accessible with `mprotect`, and gives it back with `munmap`.
//! Bare, each is one or two mappings, and a process may have 65,530. Here the
//! first call gets a *slot* of a large reservation of slots of that size, the
//! second installs the guard with MADV_GUARD_INSTALL (Linux 6.13), which is a
//! property of page tables and splits no mapping, and the third drops the pages
//! and keeps the slot, guard included, for the next thread. libc notices nothing: its own
//! sizes, its own cache, its own `pthread_getattr_np`.
//!
//! Anything that does not look like that sequence (a part of a slot is unmapped
//! or protected, an executable stack) is done by the kernel as asked, and the
//! slot is never used again.
//!
//! # Synchronization
//! Used on the hub's kernel thread alone.
#![allow(unsafe_code)]

use core::cell::{Cell, UnsafeCell};
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::arch::syscall3;
use crate::raw::{self, err};

const MADV_GUARD_INSTALL: u64 = 102;
const MADV_GUARD_REMOVE: u64 = 103;
const PAGE: usize = 4096;

/// Larger stacks are the kernel's, which may refuse them.
const LARGEST: usize = 1 << 30;

/// Bytes of address space one reservation takes, at most (and at least a slot).
const CHUNK: usize = 16 << 30;
/// Reservations altogether: 16 TiB of address space, and as many mappings.
const CHUNKS: usize = 1024;

/// Book-keeping of one slot.
#[repr(C)]
struct Slot {
    /// Guard in pages, installed at the slot's start.
    guard: u32,
    /// Link of the free list: index + 1 of the next free slot, 0 at the end.
    next_free: u32,
    /// Whether it is a thread's now.
    used: bool,
    /// Whether the kernel was asked for something that made it unfit.
    spoiled: bool,
}

struct Chunk {
    base: usize,
    slot_size: usize,
    slots: usize,
    taken: usize,
    free: u32,
    book: *mut Slot,
}

/// See the file's first lines.
pub struct Stacks {
    chunks: UnsafeCell<[Chunk; CHUNKS]>,
    count: Cell<usize>,
    /// Whether MADV_GUARD_INSTALL works: unknown (0), yes (1), no (2).
    guards: Cell<u8>,
    /// The range that all of it lies in, for kernel threads that are no guests.
    lowest: AtomicUsize,
    highest: AtomicUsize,
}

impl Stacks {
    /// Without any memory yet.
    #[allow(clippy::new_without_default)] // its only use is a static
    pub const fn new() -> Self {
        Stacks {
            chunks: UnsafeCell::new(
                [const {
                    Chunk {
                        base: 0,
                        slot_size: 0,
                        slots: 0,
                        taken: 0,
                        free: 0,
                        book: ptr::null_mut(),
                    }
                }; CHUNKS],
            ),
            count: Cell::new(0),
            guards: Cell::new(0),
            lowest: AtomicUsize::new(usize::MAX),
            highest: AtomicUsize::new(0),
        }
    }

    /// False: no stack of a guest's is there. Any kernel thread.
    pub fn may_hold(&self, addr: usize) -> bool {
        self.lowest.load(Ordering::Acquire) <= addr && addr < self.highest.load(Ordering::Acquire)
    }

    #[allow(clippy::mut_from_ref)]
    fn chunks(&self) -> &mut [Chunk] {
        // SAFETY: one kernel thread, and no function here calls out while it
        // holds the slice.
        unsafe { &mut (&mut *self.chunks.get())[..self.count.get()] }
    }

    /// Its memory: where each part begins, and its length.
    pub fn memory(&self) -> impl Iterator<Item = (usize, usize)> {
        let parts = self.chunks().iter();
        parts.map(|chunk| (chunk.base, chunk.slot_size * chunk.slots))
    }

    /// Serves `mmap(NULL, size, prot, flags, …)` of a stack, or `None`: the
    /// kernel is to do it.
    pub fn map(&self, size: usize, prot: i32) -> Option<usize> {
        if size == 0 || size > LARGEST || !size.is_multiple_of(PAGE) || prot & libc::PROT_EXEC != 0
        {
            return None;
        }
        let chunk = match self
            .chunks()
            .iter()
            .rposition(|c| c.slot_size == size && (c.free != 0 || c.taken < c.slots))
        {
            Some(i) => i,
            None => self.grow(size)?,
        };
        let chunk = &mut self.chunks()[chunk];
        let index = if chunk.free != 0 {
            let index = chunk.free as usize - 1;
            // SAFETY: a slot that was given back has its book entry.
            chunk.free = unsafe { (*chunk.book.add(index)).next_free };
            index
        } else {
            chunk.taken += 1;
            chunk.taken - 1
        };
        // SAFETY: index < slots, and the book has an entry a slot.
        let slot = unsafe { &mut *chunk.book.add(index) };
        slot.used = true;
        let addr = chunk.base + index * size;
        if prot & libc::PROT_WRITE != 0 && slot.guard != 0 {
            // Asked for without a protected part: the guard of the last thread goes.
            if !self.remove_guard(addr, slot.guard as usize * PAGE) {
                slot.spoiled = true;
                return None;
            }
            slot.guard = 0;
        }
        Some(addr)
    }

    /// Serves `mprotect(addr, len, prot)`. `None`: not ours, or the kernel is to
    /// do it.
    pub fn protect(&self, addr: usize, len: usize, prot: i32) -> Option<i64> {
        let (base, size, slot) = self.find(addr)?;
        let guard = addr - base;
        let plain = prot == libc::PROT_READ | libc::PROT_WRITE;
        if !plain
            || !slot.used
            || slot.spoiled
            || addr + len != base + size
            || !guard.is_multiple_of(PAGE)
        {
            slot.spoiled = true;
            return None;
        }
        if slot.guard as usize * PAGE == guard {
            return Some(0);
        }
        if slot.guard != 0 && !self.remove_guard(base, slot.guard as usize * PAGE) {
            slot.spoiled = true;
            return None;
        }
        slot.guard = 0;
        if guard != 0 && !self.install_guard(base, guard) {
            // As bare, but a mapping more: the guard is a protected range.
            slot.spoiled = true;
            // SAFETY: the range is the low end of a slot in use by this caller.
            let ret = unsafe {
                syscall3(
                    libc::SYS_mprotect,
                    base as u64,
                    guard as u64,
                    libc::PROT_NONE as u64,
                )
            };
            return Some(ret);
        }
        slot.guard = (guard / PAGE) as u32;
        Some(0)
    }

    /// Bytes of the guard that a stack of ours begins with.
    pub fn guard_at(&self, base: usize) -> usize {
        match self.find(base) {
            Some((found, _, slot)) if found == base => slot.guard as usize * PAGE,
            _ => 0,
        }
    }

    /// Serves `munmap(addr, len)`. `None`: not ours, or the kernel is to do it.
    pub fn unmap(&self, addr: usize, len: usize) -> Option<i64> {
        let (base, size, slot) = self.find(addr)?;
        if addr != base || len != size || !slot.used || slot.spoiled {
            slot.spoiled = true;
            return None;
        }
        // SAFETY: the program gives the range up.
        let ret = unsafe {
            syscall3(
                libc::SYS_madvise,
                addr as u64,
                len as u64,
                libc::MADV_DONTNEED as u64,
            )
        };
        if ret != 0 {
            // Locked pages (mlockall) cannot be dropped: they would not be zero again.
            slot.spoiled = true;
            return None;
        }
        slot.used = false;
        let chunk = self
            .chunks()
            .iter_mut()
            .find(|c| c.base <= base && base < c.base + c.slots * c.slot_size)?;
        let index = (base - chunk.base) / size;
        slot.next_free = chunk.free;
        chunk.free = index as u32 + 1;
        Some(0)
    }

    fn find(&self, addr: usize) -> Option<(usize, usize, &'static mut Slot)> {
        let chunk = self
            .chunks()
            .iter()
            .find(|c| c.base <= addr && addr < c.base + c.slots * c.slot_size)?;
        let index = (addr - chunk.base) / chunk.slot_size;
        // SAFETY: index < slots; one kernel thread, no two borrows of one slot.
        let slot = unsafe { &mut *chunk.book.add(index) };
        Some((chunk.base + index * chunk.slot_size, chunk.slot_size, slot))
    }

    fn grow(&self, size: usize) -> Option<usize> {
        let n = self.count.get();
        if n == CHUNKS {
            return None;
        }
        let mut slots = (CHUNK / size).clamp(1, 1 << 20);
        let base = loop {
            match raw::reserve(slots * size) {
                Some(p) => break p as usize,
                None if slots > 1 => slots /= 4,
                None => return None,
            }
            slots = slots.max(1);
        };
        let Some(book) = raw::reserve(slots * size_of::<Slot>()) else {
            // SAFETY: the reservation just made.
            unsafe { crate::arch::syscall2(libc::SYS_munmap, base as u64, (slots * size) as u64) };
            return None;
        };
        // A huge page for a stack of which two small ones are used would cost
        // 2 MiB a thread. Failure leaves the system's default.
        // SAFETY: the reservation just made.
        unsafe {
            syscall3(
                libc::SYS_madvise,
                base as u64,
                (slots * size) as u64,
                libc::MADV_NOHUGEPAGE as u64,
            )
        };
        self.lowest.fetch_min(base, Ordering::Release);
        self.highest
            .fetch_max(base + slots * size, Ordering::Release);
        self.count.set(n + 1);
        self.chunks()[n] = Chunk {
            base,
            slot_size: size,
            slots,
            taken: 0,
            free: 0,
            book: book.cast(),
        };
        Some(n)
    }

    fn install_guard(&self, addr: usize, len: usize) -> bool {
        if self.guards.get() == 2 {
            return false;
        }
        // SAFETY: the low end of a slot nobody uses yet.
        let ret = unsafe {
            syscall3(
                libc::SYS_madvise,
                addr as u64,
                len as u64,
                MADV_GUARD_INSTALL,
            )
        };
        if ret == err(libc::EINVAL) {
            self.guards.set(2);
        }
        ret == 0
    }

    fn remove_guard(&self, addr: usize, len: usize) -> bool {
        // SAFETY: a range on which a guard was installed.
        unsafe {
            syscall3(
                libc::SYS_madvise,
                addr as u64,
                len as u64,
                MADV_GUARD_REMOVE,
            ) == 0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 64 * 1024;

    #[test]
    fn a_slot_is_given_back_zeroed_and_used_again() {
        let stacks = Stacks::new();
        let a = stacks.map(SIZE, libc::PROT_NONE).unwrap();
        assert_eq!(
            stacks.protect(a + PAGE, SIZE - PAGE, libc::PROT_READ | libc::PROT_WRITE),
            Some(0)
        );
        // SAFETY: the slot is mapped and ours.
        unsafe { ((a + SIZE - 8) as *mut u64).write(7) };
        assert_eq!(stacks.unmap(a, SIZE), Some(0));
        let b = stacks.map(SIZE, libc::PROT_NONE).unwrap();
        assert_eq!(a, b);
        assert_eq!(
            stacks.protect(b + PAGE, SIZE - PAGE, libc::PROT_READ | libc::PROT_WRITE),
            Some(0)
        );
        // SAFETY: as above.
        assert_eq!(unsafe { ((b + SIZE - 8) as *const u64).read() }, 0);
        let c = stacks.map(SIZE, libc::PROT_NONE).unwrap();
        assert_ne!(b, c);
    }

    /// Whether a byte can be read, by the kernel's word.
    fn is_accessible(addr: usize) -> bool {
        let mut byte = 0u8;
        let local = libc::iovec {
            iov_base: (&raw mut byte).cast(),
            iov_len: 1,
        };
        let remote = libc::iovec {
            iov_base: addr as *mut _,
            iov_len: 1,
        };
        // SAFETY: reads one byte of this process into `byte`, or fails.
        unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) == 1 }
    }

    #[test]
    fn the_guard_guards_with_and_without_the_kernels_help() {
        for guards in [0, 2] {
            let stacks = Stacks::new();
            stacks.guards.set(guards);
            let a = stacks.map(SIZE, libc::PROT_NONE).unwrap();
            let plain = libc::PROT_READ | libc::PROT_WRITE;
            assert_eq!(
                stacks.protect(a + 2 * PAGE, SIZE - 2 * PAGE, plain),
                Some(0)
            );
            assert!(!is_accessible(a) && !is_accessible(a + 2 * PAGE - 1));
            assert!(is_accessible(a + 2 * PAGE) && is_accessible(a + SIZE - 1));
        }
    }

    #[test]
    fn what_is_not_a_whole_slot_goes_to_the_kernel() {
        let stacks = Stacks::new();
        assert!(stacks.map(SIZE + 1, libc::PROT_NONE).is_none());
        assert!(
            stacks
                .map(SIZE, libc::PROT_EXEC | libc::PROT_READ)
                .is_none()
        );
        let a = stacks
            .map(SIZE, libc::PROT_READ | libc::PROT_WRITE)
            .unwrap();
        assert!(stacks.unmap(a, PAGE).is_none());
        // Spoiled: not even whole any more.
        assert!(stacks.unmap(a, SIZE).is_none());
        assert!(
            stacks
                .protect(12345 * PAGE, PAGE, libc::PROT_READ)
                .is_none()
        );
    }
}
