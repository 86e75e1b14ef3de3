//! Memory of thread stacks, without a mapping for each.
//!
//! libc asks the kernel for a stack with `mmap(NULL, size, …, MAP_STACK)`, makes
//! all but the guard accessible with `mprotect`, and gives it back with `munmap`.
//! Bare, each is one or two mappings, and a process may have 65,530. Here the
//! first call gets a *slot*, which lies next to others in memory that the kernel sees as one
//! mapping; the second installs the guard with MADV_GUARD_INSTALL (Linux 6.13), which is a
//! property of page tables and splits no mapping; and the third drops the pages
//! and keeps the slot, guard included, for the next thread. libc notices nothing: its own
//! sizes, its own cache, its own `pthread_getattr_np`.
//!
//! # How much
//! Address space counts, whether it is used or not: for RLIMIT_AS, RLIMIT_DATA and strict
//! overcommit (vm.overcommit_memory=2), and for who reads VmSize. So slots are made as
//! threads come, in *chunks* of a 32nd of what is there, and given back as threads go, down
//! to a quarter of what is used. Where the kernel has no room for something else, all that
//! are free are given back ([`Stacks::release`]).
//!
//! Anything that does not look like that sequence (a part of a slot is unmapped
//! or protected, an executable stack) is done by the kernel as asked, and the
//! slot is never used again.
//!
//! # Synchronization
//! Used on the hub's kernel thread alone.
#![allow(unsafe_code)]

mod chunk;

use core::cell::{Cell, UnsafeCell};
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::arch::{syscall2, syscall3};
use crate::raw::err;

use chunk::{Chunk, Chunks};

pub use chunk::MADV_GUARD_INSTALL;

const PAGE: usize = 4096;

/// Larger stacks are the kernel's.
const LARGEST: usize = 1 << 30;

/// A chunk has this part of the slots that are there, and at least one.
const PART: usize = 32;
/// Free slots are given back if they are more than this part of those in use, and more than
/// some memory, in bytes.
const SPARE_PART: usize = 4;
const SPARE: usize = 16 << 20;
/// Slots between others are given back only while there are fewer chunks: each hole makes a
/// mapping more, of which a process may have 65,530.
const MOST_SPLIT: usize = 8192;

/// Slots of one size. All zero: of none.
struct Class {
    size: usize,
    slots: usize,
    /// Whether there are any chunks with free slots, and which is the first one.
    first: Option<u32>,
}

/// Sizes that slots may have at a time; stacks of others are the kernel's.
const CLASSES: usize = 32;

struct State {
    chunks: Chunks,
    classes: [Class; CLASSES],
    /// Bytes of slots that are a thread's, and of those that are nobody's.
    used: usize,
    free: usize,
}

/// See the file's first lines.
pub struct Stacks {
    state: UnsafeCell<State>,
    /// MADV_GUARD_INSTALL does not work.
    no_guards: Cell<bool>,
    /// The range that all of it lies in, for kernel threads that are no guests.
    lowest: AtomicUsize,
    highest: AtomicUsize,
}

impl Stacks {
    /// Without any memory yet.
    #[allow(clippy::new_without_default)] // its only use is a static
    pub const fn new() -> Self {
        Stacks {
            state: UnsafeCell::new(State {
                chunks: Chunks::new(),
                classes: [const {
                    Class {
                        size: 0,
                        slots: 0,
                        first: None,
                    }
                }; CLASSES],
                used: 0,
                free: 0,
            }),
            no_guards: Cell::new(false),
            lowest: AtomicUsize::new(usize::MAX),
            highest: AtomicUsize::new(0),
        }
    }

    /// False: no stack of a guest's is there. Any kernel thread.
    pub fn may_hold(&self, addr: usize) -> bool {
        self.lowest.load(Ordering::Acquire) <= addr && addr < self.highest.load(Ordering::Acquire)
    }

    #[allow(clippy::mut_from_ref)]
    fn state(&self) -> &mut State {
        // SAFETY: one kernel thread, and no function here calls out, or another one that
        // calls this, while it holds the reference.
        unsafe { &mut *self.state.get() }
    }

    /// Its memory: where each part begins, and its length.
    pub fn memory(&self) -> impl Iterator<Item = (usize, usize)> {
        let chunks = &self.state().chunks;
        (0..chunks.len()).map(|at| {
            let chunk = chunks.get(chunks.id_at(at));
            (chunk.base, chunk.size * chunk.slots)
        })
    }

    /// Serves `mmap(NULL, size, prot, flags, …)` of a stack, or `None`: the
    /// kernel is to do it.
    pub fn map(&self, size: usize, prot: i32) -> Option<usize> {
        let plain = prot & libc::PROT_EXEC == 0 && size.is_multiple_of(PAGE);
        // Without guards of that kind each stack is a mapping of its own, as bare.
        if size == 0 || size > LARGEST || !plain || self.no_guards.get() {
            return None;
        }
        let state = self.state();
        let class = state.class(size)?;
        let id = match state.classes[class].first {
            Some(id) => id,
            None => {
                let chunk = state.grow(class)?;
                let (base, end) = (chunk.base, chunk.base + chunk.slots * size);
                self.lowest.fetch_min(base, Ordering::Release);
                self.highest.fetch_max(end, Ordering::Release);
                state.classes[class].first?
            }
        };
        let chunk = state.chunks.get(id);
        let slot = chunk.free.trailing_zeros() as usize;
        let addr = chunk.base + slot * size;
        let guard = usize::from(chunk.guards[slot]) * PAGE;
        chunk.free &= !(1 << slot);
        let removed = prot & libc::PROT_WRITE == 0 || guard == 0 || {
            // Asked for without a protected part: the guard of the last thread goes.
            chunk.guards[slot] = 0;
            chunk::remove_guard(addr, guard)
        };
        chunk.spoiled |= u64::from(!removed) << slot;
        state.relist(class, id);
        state.free -= size;
        state.used += size;
        removed.then_some(addr)
    }

    /// Serves `mprotect(addr, len, prot)`. `None`: not ours, or the kernel is to
    /// do it.
    pub fn protect(&self, addr: usize, len: usize, prot: i32) -> Option<i64> {
        let (chunk, slot, base) = self.find(addr)?;
        let guard = addr - base;
        let plain = prot == libc::PROT_READ | libc::PROT_WRITE;
        if !plain
            || !chunk.is_used(slot)
            || addr + len != base + chunk.size
            || !guard.is_multiple_of(PAGE)
        {
            chunk.spoil(slot);
            return None;
        }
        let old = usize::from(chunk.guards[slot]) * PAGE;
        if old == guard {
            return Some(0);
        }
        chunk.guards[slot] = 0;
        if old != 0 && !chunk::remove_guard(base, old) {
            chunk.spoil(slot);
            return None;
        }
        if guard == 0 {
            return Some(0);
        }
        if let Ok(pages) = u16::try_from(guard / PAGE)
            && self.install_guard(base, guard) == 0
        {
            chunk.guards[slot] = pages;
            return Some(0);
        }
        // As bare, but a mapping more: the guard is a protected range.
        chunk.spoil(slot);
        // SAFETY: the range is the low end of a slot in use by this caller.
        Some(unsafe {
            syscall3(
                libc::SYS_mprotect,
                base as u64,
                guard as u64,
                libc::PROT_NONE as u64,
            )
        })
    }

    /// Serves `madvise(addr, len, MADV_GUARD_INSTALL)`, by which glibc makes guards since
    /// 2.42. `None`: not ours, or the kernel is to do it.
    pub fn guard(&self, addr: usize, len: usize) -> Option<i64> {
        let (chunk, slot, base) = self.find(addr)?;
        let pages = u16::try_from(len / PAGE);
        let whole = addr == base && len.is_multiple_of(PAGE) && len < chunk.size;
        match pages {
            Ok(pages) if whole && chunk.is_used(slot) && chunk.guards[slot] == 0 => {
                let ret = self.install_guard(base, len);
                if ret == 0 {
                    chunk.guards[slot] = pages;
                }
                Some(ret)
            }
            _ => {
                chunk.spoil(slot);
                None
            }
        }
    }

    /// Bytes of the guard that a stack of ours begins with.
    pub fn guard_at(&self, base: usize) -> usize {
        match self.find(base) {
            Some((chunk, slot, found)) if found == base => usize::from(chunk.guards[slot]) * PAGE,
            _ => 0,
        }
    }

    /// The stack of ours that this address is in, guard included: where it begins, and its length.
    pub fn bounds(&self, addr: usize) -> Option<(usize, usize)> {
        self.find(addr).map(|(chunk, _, base)| (base, chunk.size))
    }

    /// Serves `munmap(addr, len)`. `None`: not ours, or the kernel is to do it.
    pub fn unmap(&self, addr: usize, len: usize) -> Option<i64> {
        let (chunk, slot, base) = self.find(addr)?;
        let (size, used) = (chunk.size, chunk.free & 1 << slot == 0);
        if addr != base || len != size || !used {
            chunk.spoil(slot);
            return None;
        }
        let state = self.state();
        let id = state.chunks.find(addr)?;
        // Locked pages (mlockall) cannot be dropped: they would not be zero again.
        if !chunk.is_used(slot) || !chunk::drop_pages(addr, len) {
            if !state.give_back(id, slot..slot + 1) {
                chunk.spoil(slot);
                return None;
            }
            state.used -= size;
            return Some(0);
        }
        chunk.free |= 1 << slot;
        let empty = chunk.free == chunk.all();
        let slots = chunk.slots;
        state.used -= size;
        state.free += size;
        let class = state.class(size)?;
        state.relist(class, id);
        let spare = (state.used / SPARE_PART).max(SPARE);
        if state.free > spare && empty {
            state.give_back(id, 0..slots);
        }
        if state.free > spare && state.chunks.len() < MOST_SPLIT {
            state.trim(spare / 2);
        }
        Some(0)
    }

    /// Whether any slots are free.
    pub fn has_free(&self) -> bool {
        self.state().free != 0
    }

    /// Gives every free slot back to the kernel. Whether there were any.
    #[cold]
    pub fn release(&self) -> bool {
        let state = self.state();
        let before = state.free;
        state.trim(0);
        state.free != before
    }

    /// In a forked child that becomes a hub again: what its parent's threads had is libc's,
    /// which unmaps it without us.
    pub fn forget(&self) {
        let state = self.state();
        state.trim(0);
        state.chunks.clear();
        for class in &mut state.classes {
            (class.slots, class.first) = (0, None);
        }
        (state.used, state.free) = (0, 0);
    }

    #[allow(clippy::mut_from_ref)]
    fn find(&self, addr: usize) -> Option<(&mut Chunk, usize, usize)> {
        if !self.may_hold(addr) {
            return None;
        }
        let chunks = &self.state().chunks;
        let id = chunks.find(addr)?;
        let chunk = chunks.get(id);
        let slot = (addr - chunk.base) / chunk.size;
        let base = chunk.base + slot * chunk.size;
        Some((chunk, slot, base))
    }

    /// What madvise(2) returns for a guard at the low end of a slot.
    fn install_guard(&self, addr: usize, len: usize) -> i64 {
        if self.no_guards.get() {
            return err(libc::EINVAL);
        }
        let ret = chunk::install_guard(addr, len);
        self.no_guards.set(ret == err(libc::EINVAL));
        ret
    }
}

impl State {
    /// The class of slots of that size, a new one if there is none yet.
    fn class(&mut self, size: usize) -> Option<usize> {
        let mut classes = self.classes.iter();
        if let Some(found) = classes.position(|class| class.size == size) {
            return Some(found);
        }
        let free = self.classes.iter().position(|class| class.slots == 0)?;
        self.classes[free].size = size;
        Some(free)
    }

    /// Makes slots of that class.
    fn grow(&mut self, class: usize) -> Option<&Chunk> {
        let Class { size, slots, .. } = self.classes[class];
        if !self.chunks.has_room() {
            return None;
        }
        let mut count = (slots / PART).clamp(1, Chunk::MOST);
        let base = loop {
            match self.chunks.reserve(count * size) {
                Some(base) => break base,
                None if count > 1 => count = 1,
                None if self.free == 0 => return None,
                None => {
                    let before = self.free;
                    self.trim(0);
                    if self.free == before {
                        return None;
                    }
                }
            }
        };
        let id = self.chunks.insert(base, size, count);
        // Giving back may have left the class without slots, but nobody has taken it since.
        self.classes[class].size = size;
        self.classes[class].slots += count;
        self.free += count * size;
        self.relist(class, id);
        Some(self.chunks.get(id))
    }

    /// Has a chunk in its class's list exactly if it has free slots.
    fn relist(&mut self, class: usize, id: u32) {
        let chunk = self.chunks.get(id);
        if (chunk.free != 0) == chunk.listed {
            return;
        }
        let first = &mut self.classes[class].first;
        if chunk.listed {
            let (before, after) = (chunk.before.take(), chunk.after.take());
            match before {
                Some(before) => self.chunks.get(before).after = after,
                None => *first = after,
            }
            if let Some(after) = after {
                self.chunks.get(after).before = before;
            }
        } else {
            chunk.after = *first;
            if let Some(after) = *first {
                self.chunks.get(after).before = Some(id);
            }
            *first = Some(id);
        }
        let chunk = self.chunks.get(id);
        chunk.listed = !chunk.listed;
    }

    /// Unmaps slots of a chunk that are nobody's. False: it can't be done.
    fn give_back(&mut self, id: u32, slots: Range<usize>) -> bool {
        let Chunk {
            base, size, free, ..
        } = *self.chunks.get(id);
        let Some(class) = self.class(size) else {
            return false;
        };
        if !self.chunks.has_room() {
            return false;
        }
        let len = slots.len() * size;
        // SAFETY: slots that are nobody's.
        if unsafe {
            syscall2(
                libc::SYS_munmap,
                (base + slots.start * size) as u64,
                len as u64,
            )
        } != 0
        {
            return false;
        }
        let gone = Chunk::mask(&slots);
        if free & gone != 0 {
            self.free -= len;
        }
        self.classes[class].slots -= slots.len();
        self.chunks.get(id).free &= !gone;
        self.relist(class, id);
        if let Some(upper) = self.chunks.cut(id, slots) {
            self.relist(class, upper);
            // Its free slots may all have been above.
            self.relist(class, id);
        }
        true
    }

    /// Gives free slots back until only `keep` bytes of them are left.
    fn trim(&mut self, keep: usize) {
        // Downwards: what is cut or removed changes no place below.
        for at in (0..self.chunks.len()).rev() {
            let id = self.chunks.id_at(at);
            while self.free > keep
                && let Some(run) = self.chunks.get(id).highest_free()
            {
                if !self.give_back(id, run) {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
