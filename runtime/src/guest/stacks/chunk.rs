//! Runs of neighbouring slots of one size, in the order of their addresses.
//!
//! # Synchronization
//! That of [`Stacks`](super::Stacks).
#![allow(unsafe_code)]

use core::cell::Cell;
use core::ops::Range;
use core::ptr;

use crate::arch::{syscall, syscall2, syscall3};
use crate::blocks::Blocks;

/// Advice of madvise(2) that makes a guard (Linux 6.13).
pub const MADV_GUARD_INSTALL: u64 = 102;
const MADV_GUARD_REMOVE: u64 = 103;

/// A run of slots. All zero: none.
pub struct Chunk {
    /// Where the first slot begins; bytes of each; how many.
    pub base: usize,
    pub size: usize,
    pub slots: usize,
    /// Bit n is slot n's: it is nobody's.
    pub free: u64,
    /// The kernel was asked for something that made it unfit.
    pub spoiled: u64,
    /// Guard in pages, installed at each slot's start.
    pub guards: [u16; Chunk::MOST],
    /// Whether it is in its class's list, and its neighbours there.
    pub listed: bool,
    pub before: Option<u32>,
    pub after: Option<u32>,
    /// Link of the free records: the number of the next one, plus 1.
    next_record: u32,
}

impl Chunk {
    /// Slots of a chunk at most.
    pub const MOST: usize = u64::BITS as usize;

    /// The bits of those slots.
    pub fn mask(slots: &Range<usize>) -> u64 {
        if slots.is_empty() {
            return 0;
        }
        (!0 >> (Self::MOST - slots.len())) << slots.start
    }

    /// The bits of all slots.
    pub fn all(&self) -> u64 {
        Self::mask(&(0..self.slots))
    }

    /// Whether a slot is a thread's, and nothing unusual was done to it.
    pub fn is_used(&self, slot: usize) -> bool {
        (self.free | self.spoiled) & 1 << slot == 0
    }

    /// A slot is never used again.
    pub fn spoil(&mut self, slot: usize) {
        self.spoiled |= 1 << slot;
    }

    /// The free slots with the highest addresses that are neighbours.
    pub fn highest_free(&self) -> Option<Range<usize>> {
        let free = self.free;
        let end = Self::MOST - free.leading_zeros() as usize;
        let above = (free << (Self::MOST - end.max(1))).leading_ones() as usize;
        (free != 0).then(|| end - above..end)
    }

    /// Is without its first slots.
    fn shift(&mut self, count: usize) {
        self.base += count * self.size;
        self.slots -= count;
        self.free = self.free.checked_shr(count as u32).unwrap_or(0);
        self.spoiled = self.spoiled.checked_shr(count as u32).unwrap_or(0);
        self.guards.copy_within(count.., 0);
    }

    /// Is without its last slots.
    fn truncate(&mut self, slots: usize) {
        self.slots = slots;
        self.free &= self.all();
        self.spoiled &= self.all();
    }
}

/// All chunks. A chunk's number stays the same; its place in the order does not.
pub struct Chunks {
    records: Blocks<Chunk, 32>,
    /// Records that were ever used.
    used: Cell<u32>,
    /// The first free record's number plus 1, or 0.
    free: Cell<u32>,
    /// Numbers by falling address.
    order: Blocks<u32, 1024>,
    len: Cell<usize>,
}

impl Chunks {
    pub const fn new() -> Self {
        Chunks {
            records: Blocks::new(),
            used: Cell::new(0),
            free: Cell::new(0),
            order: Blocks::new(),
            len: Cell::new(0),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len.get()
    }

    /// The chunk with that number, which somebody was told.
    #[allow(clippy::mut_from_ref)]
    pub fn get(&self, id: u32) -> &mut Chunk {
        let record = self.records.get(id as usize).expect("a chunk's number");
        // SAFETY: memory that is never freed; one kernel thread, and nobody keeps two
        // references to one chunk.
        unsafe { &mut *record.as_ptr() }
    }

    /// The number of the chunk at that place.
    pub fn id_at(&self, at: usize) -> u32 {
        let entry = self.order.get(at).expect("a place in the order");
        // SAFETY: memory that is never freed.
        unsafe { entry.read() }
    }

    fn set_id(&self, at: usize, id: u32) {
        let entry = self.order.get(at).expect("a place in the order");
        // SAFETY: as above.
        unsafe { entry.write(id) }
    }

    /// The first place whose chunk does not begin above `addr`.
    fn place(&self, addr: usize) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            if self.get(self.id_at(middle)).base > addr {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The number of the chunk that an address lies in.
    pub fn find(&self, addr: usize) -> Option<u32> {
        let at = self.place(addr);
        if at == self.len() {
            return None;
        }
        let id = self.id_at(at);
        let chunk = self.get(id);
        (addr - chunk.base < chunk.size * chunk.slots).then_some(id)
    }

    /// Is without any chunks. Nobody may use a number of theirs.
    pub fn clear(&self) {
        self.len.set(0);
        self.used.set(0);
        self.free.set(0);
    }

    /// Whether there is memory for a chunk more.
    pub fn has_room(&self) -> bool {
        let order = self.len() < self.order.count() || self.order.grow();
        order
            && (self.free.get() != 0
                || (self.used.get() as usize) < self.records.count()
                || self.records.grow())
    }

    /// A new chunk of free slots; its number. There must be [room](Self::has_room).
    pub fn insert(&self, base: usize, size: usize, slots: usize) -> u32 {
        let id = match self.free.get() {
            0 => self.used.replace(self.used.get() + 1),
            next => next - 1,
        };
        let chunk = self.get(id);
        if self.free.get() != 0 {
            self.free.set(chunk.next_record);
        }
        // SAFETY: a record that nobody uses; all zero is a valid one.
        unsafe { ptr::write_bytes(chunk, 0, 1) };
        (chunk.base, chunk.size, chunk.slots) = (base, size, slots);
        chunk.free = chunk.all();
        let at = self.place(base);
        let len = self.len();
        self.len.set(len + 1);
        for to in (at..len).rev() {
            self.set_id(to + 1, self.id_at(to));
        }
        self.set_id(at, id);
        id
    }

    /// A chunk is without some of its slots. With slots on both sides of them there must be
    /// [room](Self::has_room); the upper ones are a new chunk then, whose number is returned.
    /// A chunk in a list must keep slots there.
    pub fn cut(&self, id: u32, slots: Range<usize>) -> Option<u32> {
        let chunk = self.get(id);
        match (slots.start, chunk.slots - slots.end) {
            (0, 0) => {
                let at = self.place(chunk.base);
                let len = self.len();
                for to in at..len - 1 {
                    self.set_id(to, self.id_at(to + 1));
                }
                self.len.set(len - 1);
                chunk.slots = 0;
                chunk.next_record = self.free.replace(id + 1);
                None
            }
            (0, _) => {
                chunk.shift(slots.end);
                None
            }
            (_, 0) => {
                chunk.truncate(slots.start);
                None
            }
            (_, above) => {
                let upper = self.insert(chunk.base + slots.end * chunk.size, chunk.size, above);
                let (chunk, new) = (self.get(id), self.get(upper));
                new.free = chunk.free >> slots.end;
                new.spoiled = chunk.spoiled >> slots.end;
                new.guards[..above].copy_from_slice(&chunk.guards[slots.end..][..above]);
                chunk.truncate(slots.start);
                Some(upper)
            }
        }
    }

    /// Memory for slots, where the kernel sees it as a part of what is there. `None`: it gives
    /// none.
    pub fn reserve(&self, len: usize) -> Option<usize> {
        // Beside the lowest one if there is room: memory of huge pages' size would be put
        // where a huge page may begin, and leave a gap.
        let lowest = self.len().checked_sub(1).map(|at| self.id_at(at));
        let hint = lowest.map_or(0, |id| self.get(id).base.saturating_sub(len));
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
        let args = [
            hint,
            len,
            libc::PROT_NONE as usize,
            flags as usize,
            usize::MAX,
            0,
        ];
        // SAFETY: a new mapping where nothing is.
        let base = unsafe { syscall(libc::SYS_mmap as u64, args.map(|word| word as u64)) };
        if (-4095..0).contains(&base) {
            return None;
        }
        let (at, len) = (base as u64, len as u64);
        let access = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        // Accessible from the first, it would be there as a whole where new memory is locked
        // (MCL_FUTURE). A huge page for a stack of which two small ones are used would cost
        // 2 MiB a thread; since Linux 6.7 MAP_STACK says so.
        // SAFETY: our own new mapping.
        unsafe {
            syscall2(libc::SYS_munlock, at, len);
            syscall3(libc::SYS_madvise, at, len, libc::MADV_NOHUGEPAGE as u64);
            if syscall3(libc::SYS_mprotect, at, len, access) != 0 {
                syscall2(libc::SYS_munmap, at, len);
                return None;
            }
        }
        Some(base as usize)
    }
}

/// What madvise(2) returns for a guard there.
pub fn install_guard(addr: usize, len: usize) -> i64 {
    // SAFETY: the low end of a slot that nobody runs on yet.
    unsafe {
        syscall3(
            libc::SYS_madvise,
            addr as u64,
            len as u64,
            MADV_GUARD_INSTALL,
        )
    }
}

/// Makes the pages of a guard accessible. False: it can't be done.
pub fn remove_guard(addr: usize, len: usize) -> bool {
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

/// Makes memory zero again, as if nobody had touched it. False: it can't be done.
pub fn drop_pages(addr: usize, len: usize) -> bool {
    // SAFETY: a slot that its thread gives up.
    unsafe {
        syscall3(
            libc::SYS_madvise,
            addr as u64,
            len as u64,
            libc::MADV_DONTNEED as u64,
        ) == 0
    }
}
