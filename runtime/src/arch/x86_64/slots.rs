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
//! One writer at a time ([`WRITING`]): the hub's kernel thread, in dispatch on a guest, or any
//! thread whose calls are caught, in the handler of SIGSYS, which interrupts nothing within this
//! file. A slot's words are written before `INDEX`
//! names it (release) and never change after, but `ra`, which is for unwinders;
//! others read `INDEX` with acquire. A slot is never given back, so a guest may be in it
//! for any time.
#![allow(unsafe_code)]

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};

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

/// A slot whose call returns twice: the new thread or process calls a function of ours before
/// it goes on where the other does. What libc's code behind the call has in registers stays.
macro_rules! slot_of_two {
    ($name:literal, $behind:literal, $begin:ident, $back:ident) => {
        global_asm!(
            ".text",
            ".balign 16",
            concat!(".type ", $name, ",@function"),
            concat!($name, ":"),
            "syscall",
            concat!(".hidden ", $behind),
            concat!(".globl ", $behind),
            concat!($behind, ":"),
            "test eax, eax",
            "jnz 2f",
            "lea rsp, [rsp - 128]", // the child of a vfork is on its parent's stack
            "push rax",
            "push rbx",
            "push rdx",
            "push rsi",
            "push rdi",
            "push r8",
            "push r9",
            "push r10",
            "mov rbx, rsp",
            "and rsp, -16",
            "call {begin}",
            "mov rsp, rbx",
            "pop r10",
            "pop r9",
            "pop r8",
            "pop rdi",
            "pop rsi",
            "pop rdx",
            "pop rbx",
            "pop rax",
            "lea rsp, [rsp + 128]",
            "2:",
            "jmp qword ptr [rip + {back}]",
            concat!(".size ", $name, ", . - ", $name),
            begin = sym $begin,
            back = sym $back,
        );
    };
}

slot_of_two!(
    "gevent_shim_thread_slot",
    "gevent_shim_thread_slot_behind",
    begin_thread,
    THREAD_BACK
);
slot_of_two!(
    "gevent_shim_child_slot",
    "gevent_shim_child_slot_behind",
    begin_child,
    CHILD_BACK
);

unsafe extern "C" {
    fn gevent_shim_slots();
    fn gevent_shim_thread_slot_behind();
    fn gevent_shim_child_slot_behind();
}

/// Where the slot goes on that makes a thread of ours.
static THREAD_BACK: AtomicU64 = AtomicU64::new(0);
/// Where the slot goes on that makes the child of a vfork.
static CHILD_BACK: AtomicU64 = AtomicU64::new(0);

struct Single(UnsafeCell<SiteRecord>);

// SAFETY: see `slot_for`.
unsafe impl Sync for Single {}

static THREAD_RECORD: Single = Single(UnsafeCell::new(SiteRecord { resume: 0, ra: 0 }));
static CHILD_RECORD: Single = Single(UnsafeCell::new(SiteRecord { resume: 0, ra: 0 }));

unsafe extern "C" fn begin_thread() {
    crate::catch::start_on_own_thread();
}

unsafe extern "C" fn begin_child() {
    crate::catch::note_child();
}

/// The record of a slot that makes a thread of ours whose calls are caught from its begin, and
/// goes on where the slot with `record` does.
pub fn thread_slot(record: *const SiteRecord) -> *const SiteRecord {
    let behind = gevent_shim_thread_slot_behind as *const () as u64;
    slot_for(record, behind, &THREAD_BACK, &THREAD_RECORD)
}

/// The same of one that makes the child of a vfork, which is noted.
pub fn child_slot(record: *const SiteRecord) -> *const SiteRecord {
    let behind = gevent_shim_child_slot_behind as *const () as u64;
    slot_for(record, behind, &CHILD_BACK, &CHILD_RECORD)
}

/// libc makes threads at one place of its text, or two, and a vfork keeps the hub's kernel
/// thread until the child has gone: nobody else uses what is written here.
fn slot_for(
    record: *const SiteRecord,
    behind: u64,
    back: &AtomicU64,
    own: &Single,
) -> *const SiteRecord {
    // SAFETY: records are never freed.
    let SiteRecord { resume, ra } = unsafe { *record };
    if back.swap(resume, Ordering::AcqRel) != resume {
        // SAFETY: as the function says.
        unsafe { own.0.get().write(SiteRecord { resume: behind, ra }) };
    }
    own.0.get()
}

/// Where each slot goes on.
static BACK: [AtomicU64; SLOTS] = [const { AtomicU64::new(0) }; SLOTS];

struct Records {
    each: [UnsafeCell<SiteRecord>; SLOTS],
    used: AtomicUsize,
}

// SAFETY: see Synchronization.
unsafe impl Sync for Records {}

static RECORDS: Records = Records {
    each: [const { UnsafeCell::new(SiteRecord { resume: 0, ra: 0 }) }; SLOTS],
    used: AtomicUsize::new(0),
};

/// Whether somebody makes a slot now.
static WRITING: AtomicBool = AtomicBool::new(false);

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
/// unwinders; it is made if there is none, and `None` if there are too many. On the hub's kernel
/// thread, or in the handler of SIGSYS.
pub fn find_or_make(back: u64, ra: u64) -> Option<*const SiteRecord> {
    // A few stores, in which nobody waits for anything.
    while WRITING.swap(true, Ordering::Acquire) {
        spin_loop();
    }
    let record = find_or_write(back, ra);
    WRITING.store(false, Ordering::Release);
    record
}

fn find_or_write(back: u64, ra: u64) -> Option<*const SiteRecord> {
    if let Some(number) = slot(back) {
        let record = RECORDS.each[number].get();
        // SAFETY: one writer; others do not use this field.
        unsafe { (*record).ra = ra };
        return Some(record);
    }
    let number = RECORDS.used.load(Ordering::Relaxed);
    let record = RECORDS.each.get(number)?.get();
    let resume = first() + number as u64 * SIZE + SYSCALL_LEN;
    // SAFETY: nobody knows the slot yet.
    unsafe { record.write(SiteRecord { resume, ra }) };
    BACK[number].store(back, Ordering::Relaxed);
    RECORDS.used.store(number + 1, Ordering::Relaxed);
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
    if number >= RECORDS.used.load(Ordering::Relaxed) {
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
