//! System call instructions of our own that go on wherever they are told to.
//!
//! ```text
//! slot i:  syscall
//!          jmp   [BACK + 8 * i]
//! ```
//!
//! A call that was met elsewhere is carried out here with every register as it was: the
//! jump needs none, and memory that no other call uses.
//!
//! # Synchronization
//! One writer, the hub's kernel thread, in the handler of SIGSYS or in dispatch on a guest,
//! neither of which interrupts the other within this file. A slot's words are written before `INDEX`
//! names it (release) and never change after, but `ra`, which the writer alone uses;
//! others read `INDEX` with acquire. A slot is never given back, so a guest may be in it
//! for any time.
#![allow(unsafe_code)]

use core::arch::global_asm;
use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use crate::frame::{SYSCALL_LEN, SiteRecord};

/// Slots there are: places of a program that make calls and are no patched site, and
/// sites whose call was the kernel's.
const SLOTS: usize = 4096;
/// Bytes of a slot.
const SIZE: u64 = 8;

global_asm!(
    ".text",
    ".balign 64",
    ".hidden gevent_shim_slots",
    ".globl gevent_shim_slots",
    ".type gevent_shim_slots,@function",
    "gevent_shim_slots:",
    ".set gevent_shim_slot, 0",
    ".rept {slots}",
    "syscall",
    "jmp qword ptr [rip + {back} + gevent_shim_slot * 8]",
    ".set gevent_shim_slot, gevent_shim_slot + 1",
    ".endr",
    ".size gevent_shim_slots, . - gevent_shim_slots",
    slots = const SLOTS,
    back = sym BACK,
);

unsafe extern "C" {
    fn gevent_shim_slots();
}

/// Where each slot goes on.
static BACK: [AtomicU64; SLOTS] = [const { AtomicU64::new(0) }; SLOTS];

struct Records {
    each: [UnsafeCell<SiteRecord>; SLOTS],
    used: Cell<usize>,
}

// SAFETY: see Synchronization.
unsafe impl Sync for Records {}

static RECORDS: Records = Records {
    each: [const { UnsafeCell::new(SiteRecord { resume: 0, ra: 0 }) }; SLOTS],
    used: Cell::new(0),
};

/// Slots by a hash of where they go on, plus one; 0 is none. At most half full.
static INDEX: [AtomicU16; 2 * SLOTS] = [const { AtomicU16::new(0) }; 2 * SLOTS];

/// Places of `INDEX` where `back` may be, best first.
fn places(back: u64) -> impl Iterator<Item = &'static AtomicU16> {
    const BITS: u32 = INDEX.len().trailing_zeros();
    let first = (back.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS)) as usize;
    (first..first + INDEX.len()).map(|at| &INDEX[at % INDEX.len()])
}

/// The number of the slot that goes on at `back`.
fn slot(back: u64) -> Option<usize> {
    places(back)
        .map(|place| usize::from(place.load(Ordering::Acquire)))
        .take_while(|&number| number != 0)
        .map(|number| number - 1)
        .find(|&number| BACK[number].load(Ordering::Relaxed) == back)
}

/// The record of the slot that goes on at `back`, if there is one. Any thread.
pub fn find(back: u64) -> Option<*const SiteRecord> {
    slot(back).map(|number| RECORDS.each[number].get().cast_const())
}

/// Whether an address is in a slot. Any thread.
pub fn is_slot(address: u64) -> bool {
    address.wrapping_sub(first()) < SLOTS as u64 * SIZE
}

/// The record of the slot that goes on at `back`, with `ra` as its return address for
/// unwinders; it is made if there is none, and `None` if there are too many. The writer alone.
pub fn find_or_make(back: u64, ra: u64) -> Option<*const SiteRecord> {
    if let Some(number) = slot(back) {
        let record = RECORDS.each[number].get();
        // SAFETY: one writer; others do not use this field.
        unsafe { (*record).ra = ra };
        return Some(record);
    }
    let number = RECORDS.used.get();
    let record = RECORDS.each.get(number)?.get();
    let resume = first() + number as u64 * SIZE + SYSCALL_LEN;
    // SAFETY: nobody knows the slot yet.
    unsafe { record.write(SiteRecord { resume, ra }) };
    BACK[number].store(back, Ordering::Relaxed);
    RECORDS.used.set(number + 1);
    places(back)
        .find(|place| place.load(Ordering::Relaxed) == 0)?
        .store(number as u16 + 1, Ordering::Release);
    Some(record)
}

/// Where the instruction pointer would be at the place whose call a slot carries out, if
/// `ip` is in one: at the call or behind it. The hub's kernel thread alone.
pub(super) fn shown(ip: u64) -> Option<u64> {
    let offset = ip.wrapping_sub(first());
    let number = (offset / SIZE) as usize;
    if number >= RECORDS.used.get() {
        return None;
    }
    // SAFETY: a slot in use; one writer, this thread.
    let record = unsafe { &*RECORDS.each[number].get() };
    Some(record.ra.wrapping_sub(record.resume.wrapping_sub(ip)))
}

fn first() -> u64 {
    gevent_shim_slots as *const () as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_found_again_until_there_are_no_more() {
        // SAFETY: records are never given back.
        let of = |back| find(back).map(|record| unsafe { (*record).resume });
        for number in 0..SLOTS as u64 {
            let back = 0x7f00_0000_0000 + number * 3;
            assert_eq!(of(back), None);
            let record = find_or_make(back, back + 1).unwrap();
            // SAFETY: as above.
            let (resume, ra) = unsafe { ((*record).resume, (*record).ra) };
            assert_eq!(of(back), Some(resume));
            assert_eq!(ra, back + 1);
            assert_eq!(shown(resume), Some(ra));
            assert_eq!(shown(resume - SYSCALL_LEN), Some(ra - SYSCALL_LEN));
            // SAFETY: the code of the slot.
            let code = unsafe { ((resume - SYSCALL_LEN) as *const [u8; 4]).read() };
            assert_eq!(code, [0x0f, 0x05, 0xff, 0x25]);
        }
        assert_eq!(find_or_make(1, 1), None);
        let known = 0x7f00_0000_0000;
        assert_eq!(find_or_make(known, 7), find(known));
        assert!(is_slot(first()) && !is_slot(first() - 1));
        assert_eq!(shown(first() - 1), None);
        assert_eq!(shown(first() + SLOTS as u64 * SIZE), None);
        assert!(!is_slot(first() + SLOTS as u64 * SIZE));
    }
}
