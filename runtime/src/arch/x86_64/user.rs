//! The program's memory, read and written as the kernel does: a bad address is an
//! answer, not the end.
#![allow(unsafe_code)]

use core::arch::{asm, naked_asm};

/// Whether a fault at this instruction is one of a bad address of the program's.
pub(super) fn may_fault_at(ip: u64) -> bool {
    [
        copy_bytes as *const () as u64,
        load_word as *const () as u64,
        store_word as *const () as u64,
        load_u32 as *const () as u64,
        exchange_u32 as *const () as u64,
    ]
    .contains(&ip)
}

/// Where to go on after such a fault.
pub(super) fn fault_address() -> u64 {
    faulted as *const () as u64
}

// The functions below fault at their first instruction or not at all: the
// signal handler knows them by that address and goes on at `faulted`.

/// rdi, rsi, rcx: to, from, length. edx: 1 if it faulted.
#[unsafe(naked)]
unsafe extern "C" fn copy_bytes() {
    naked_asm!("rep movsb", "xor edx, edx", "ret")
}

#[unsafe(naked)]
unsafe extern "C" fn load_word() {
    naked_asm!("mov rax, [rsi]", "xor edx, edx", "ret")
}

#[unsafe(naked)]
unsafe extern "C" fn store_word() {
    naked_asm!("mov [rdi], rsi", "xor edx, edx", "ret")
}

#[unsafe(naked)]
unsafe extern "C" fn load_u32() {
    naked_asm!("mov eax, [rsi]", "xor edx, edx", "ret")
}

#[unsafe(naked)]
unsafe extern "C" fn exchange_u32() {
    naked_asm!("lock cmpxchg [rdi], esi", "mov edx, 0", "ret")
}

#[unsafe(naked)]
unsafe extern "C" fn faulted() {
    naked_asm!("mov edx, 1", "ret")
}

/// Copies between the program's memory and ours. False if the program's address
/// is bad: what the kernel answers with EFAULT. Faults are caught once the first guest
/// exists.
///
/// # Safety
/// Our side must be valid for `len` bytes, and the program must expect the
/// access, as it would of the kernel.
pub unsafe fn copy(to: *mut u8, from: *const u8, len: usize) -> bool {
    let fault: u32;
    // SAFETY: the caller's contract; a fault ends in `faulted`.
    unsafe {
        asm!(
            "call {f}",
            f = sym copy_bytes,
            inout("rdi") to => _, inout("rsi") from => _, inout("rcx") len => _,
            out("edx") fault,
        )
    };
    fault == 0
}

/// Reads a word of the program's memory; `None` as in [`copy`].
///
/// # Safety
/// As [`copy`].
pub unsafe fn read_word(from: u64) -> Option<u64> {
    let (value, fault): (u64, u32);
    // SAFETY: as in `copy`.
    unsafe {
        asm!("call {f}", f = sym load_word, in("rsi") from, out("rax") value, out("edx") fault)
    };
    (fault == 0).then_some(value)
}

/// Writes a word of the program's memory; false as in [`copy`].
///
/// # Safety
/// As [`copy`].
pub unsafe fn write_word(to: u64, value: u64) -> bool {
    let fault: u32;
    // SAFETY: as in `copy`.
    unsafe {
        asm!("call {f}", f = sym store_word, in("rdi") to, in("rsi") value, out("edx") fault)
    };
    fault == 0
}

/// Reads 32 bits of the program's memory, in one access that no later one overtakes;
/// `None` as in [`copy`].
///
/// # Safety
/// As [`copy`].
#[inline]
pub unsafe fn load(from: u64) -> Option<u32> {
    let (value, fault): (u32, u32);
    // SAFETY: as in `copy`.
    unsafe {
        asm!("call {f}", f = sym load_u32, in("rsi") from, out("eax") value, out("edx") fault)
    };
    (fault == 0).then_some(value)
}

/// Stores `new` in 32 bits of the program's memory that are `current`, in one step and with a
/// full barrier. What they were; `None` as in [`copy`], and where they can only be read.
///
/// # Safety
/// As [`copy`].
#[inline]
pub unsafe fn compare_exchange(at: u64, current: u32, new: u32) -> Option<u32> {
    let (seen, fault): (u32, u32);
    // SAFETY: as in `copy`.
    unsafe {
        asm!(
            "call {f}",
            f = sym exchange_u32,
            in("rdi") at, in("esi") new, inout("eax") current => seen, out("edx") fault,
        )
    };
    (fault == 0).then_some(seen)
}
