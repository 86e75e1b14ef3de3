//! The records of all guests, in memory that grows with their number.
//!
//! A record's number gives the guest's thread id and the other way round, so
//! `tgkill` finds its target without a table. Ids lie above every id the kernel
//! gives (pid_max is at most 2^22) and below 2^28: the ids of CPU-time clocks have room
//! for no more (and FUTEX_TID_MASK has two bits more). A record
//! that is used again gives another id, so that a stale id is not found.
//!
//! # Synchronization
//! Used on the hub's kernel thread alone.
#![allow(unsafe_code)]

use core::cell::Cell;
use core::ptr;

use super::{Guest, State};
use crate::blocks::Blocks;

/// PID_MAX_LIMIT of the kernel.
pub(crate) const FIRST_TID: i32 = 1 << 22;
/// How many records there may be; ids are `FIRST_TID`, the record's number in this
/// process, and a multiple of this.
const MAX: usize = 1 << 22;
/// Multiples of `MAX` that fit below 2^28.
const ROUNDS: u32 = 63;

/// From the number of one process's first record to that of the process with the next id:
/// the golden section of `MAX`, so that many processes in a row are far from each other.
const STRIDE: usize = 2_592_097;

/// See the file's first lines.
pub struct Slab {
    records: Blocks<Guest, 64>,
    /// The number of the first record.
    first: Cell<usize>,
    used: Cell<usize>,
    free: Cell<*const Guest>,
}

impl Slab {
    /// An empty slab without memory.
    #[allow(clippy::new_without_default)] // its only use is a static
    pub const fn new() -> Self {
        Slab {
            records: Blocks::new(),
            first: Cell::new(0),
            used: Cell::new(0),
            free: Cell::new(ptr::null()),
        }
    }

    /// The guests will be those of the process with that id. There are none yet.
    pub fn begin(&self, pid: i32) {
        self.first.set((pid as usize).wrapping_mul(STRIDE) % MAX);
    }

    /// Gets the memory of the first records; false if there is none.
    pub fn init(&self) -> bool {
        self.records.count() != 0 || self.records.grow()
    }

    /// Its memory: where each part begins, and its length.
    pub fn memory(&self) -> impl Iterator<Item = (usize, usize)> {
        self.records.memory()
    }

    /// A record to fill in, with its `tid` set and everything else zero but
    /// `uses` and `number`. `None`: there is no memory for more.
    pub fn take(&self) -> Option<&'static Guest> {
        let free = self.free.get();
        let (guest, number): (&'static Guest, u32) = if free.is_null() {
            let index = self.used.get();
            if index == MAX || index == self.records.count() && !self.records.grow() {
                return None;
            }
            let record = self.records.get(index)?;
            self.used.set(index + 1);
            // SAFETY: memory that is never freed, zero, never given out before.
            (unsafe { record.as_ref() }, index as u32)
        } else {
            // SAFETY: `put` linked it; its owner is gone.
            let guest = unsafe { &*free };
            self.free.set(guest.next.get());
            (guest, guest.number.get())
        };
        let uses = guest.uses.get();
        // SAFETY: nobody refers to a free record; all zero is a valid one.
        unsafe { ptr::write_bytes(guest as *const Guest as *mut Guest, 0, 1) };
        guest.uses.set((uses + 1) % ROUNDS);
        guest.number.set(number);
        let number = (self.first.get() + number as usize) % MAX;
        guest
            .tid
            .set(FIRST_TID + (number + uses as usize * MAX) as i32);
        Some(guest)
    }

    /// Gives a record back.
    pub fn put(&self, guest: &'static Guest) {
        guest.state.set(State::Free);
        guest.tid.set(0);
        guest.next.set(self.free.get());
        self.free.set(guest);
    }

    /// The live guest with that id.
    pub fn find(&self, tid: i32) -> Option<&'static Guest> {
        if tid < FIRST_TID {
            return None;
        }
        let number = (tid - FIRST_TID) as usize % MAX;
        let index = (number + MAX - self.first.get()) % MAX;
        if index >= self.used.get() {
            return None;
        }
        // SAFETY: records below `used` are initialised, and never freed.
        let guest: &'static Guest = unsafe { self.records.get(index)?.as_ref() };
        (guest.tid.get() == tid && guest.state.get() != State::Free).then_some(guest)
    }

    /// The live guest with its record there.
    pub fn at(&self, address: usize) -> Option<&'static Guest> {
        if self.records.index_of(address)? >= self.used.get() {
            return None;
        }
        // SAFETY: records below `used` are initialised, and never freed.
        let guest = unsafe { &*(address as *const Guest) };
        (guest.state.get() != State::Free).then_some(guest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_and_not_reused_at_once() {
        let slab = Slab::new();
        slab.begin(1000);
        assert!(slab.init());
        let a = slab.take().unwrap();
        a.state.set(State::Ready);
        let first = a.tid.get();
        assert!((FIRST_TID..1 << 28).contains(&first));
        assert!(ptr::eq(slab.find(first).unwrap(), a));
        let at = ptr::from_ref(a) as usize;
        assert!(ptr::eq(slab.at(at).unwrap(), a));
        assert!(slab.at(at + 8).is_none() && slab.at(at + size_of::<Guest>()).is_none());
        assert!(slab.at(at - size_of::<Guest>()).is_none() && slab.at(0).is_none());
        slab.put(a);
        assert!(slab.find(first).is_none() && slab.at(at).is_none());
        let b = slab.take().unwrap();
        b.state.set(State::Ready);
        assert!(ptr::eq(a, b));
        assert_ne!(b.tid.get(), first);
        assert!(slab.find(b.tid.get()).is_some());
        assert!(slab.find(1).is_none());
        assert!(slab.find(i32::MAX).is_none());
    }

    #[test]
    fn more_records_than_the_first_memory_holds_are_found() {
        let slab = Slab::new();
        slab.begin(77);
        assert!(slab.init());
        let guests: Vec<_> = (0..1000).map(|_| slab.take().unwrap()).collect();
        for guest in &guests {
            guest.state.set(State::Ready);
        }
        for guest in &guests {
            assert!(ptr::eq(slab.find(guest.tid.get()).unwrap(), *guest));
            assert!(ptr::eq(
                slab.at(ptr::from_ref(*guest) as usize).unwrap(),
                *guest
            ));
        }
        let first = guests[500].tid.get();
        slab.put(guests[500]);
        let again = slab.take().unwrap();
        again.state.set(State::Ready);
        assert!(ptr::eq(again, guests[500]) && again.tid.get() != first);
        assert!(ptr::eq(slab.find(again.tid.get()).unwrap(), again));
    }

    #[test]
    fn processes_in_a_row_count_far_from_each_other() {
        let (here, there) = (Slab::new(), Slab::new());
        for pid in [1000, 4_194_303] {
            here.begin(pid);
            assert!(here.init());
            let guest = here.take().unwrap();
            guest.state.set(State::Ready);
            assert!(ptr::eq(here.find(guest.tid.get()).unwrap(), guest));
            for other in pid - 200..pid + 200 {
                there.begin(other);
                let distance = here.first.get().abs_diff(there.first.get());
                assert!(other == pid || distance.min(MAX - distance) > 5000);
            }
            here.put(guest);
        }
    }
}
