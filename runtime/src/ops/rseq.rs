//! Restartable sequences (rseq(2)): whose area the kernel writes, and what a guest is told.
//!
//! The kernel knows one area a kernel thread. The initial thread's stays registered with the
//! kernel thread that was its own, on which it stays. What libc registers for every other
//! thread succeeds without the kernel: libc takes an error for a broken kernel and aborts. The cpu
//! id in such an area is "not registered", so that sched_getcpu(3) asks the kernel. To areas
//! of the program's own the answer is that there are no such sequences, where it would trust
//! what nobody writes.
//!
//! Where libc's area is: from glibc 2.35 on `__rseq_offset` bytes from the thread pointer,
//! inside the TCB at first, below it (a negative offset) since 2.41. Older ones have none.
#![allow(unsafe_code)]

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use super::{Call, Outcome};
use crate::arch;
use crate::guest::Guest;
use crate::hub::{Processor, processor};
use crate::objects::find_first;
use crate::raw::err;

/// RSEQ_FLAG_UNREGISTER.
const UNREGISTER: u64 = 1;

/// RSEQ_SIG of x86-64, which libc registers with.
const SIGNATURE: u32 = 0x5305_3053;

/// ORIG_RSEQ_SIZE: the least that the kernel takes, and what libc registers where its
/// features need no more.
const LEAST_SIZE: u32 = 32;

/// RSEQ_CPU_ID_UNINITIALIZED.
const NOT_REGISTERED: u32 = u32::MAX;

/// `__rseq_offset`, with all bits changed; 0 where there is none.
static OFFSET: AtomicU64 = AtomicU64::new(0);

/// Thread pointer of the initial thread, whose area the first kernel thread has.
static INITIAL: AtomicU64 = AtomicU64::new(0);

/// An area that a guest believes to be registered. All zero: there is none.
#[derive(Debug)]
pub struct Registered {
    address: Cell<u64>,
    size: Cell<u32>,
    signature: Cell<u32>,
}

/// Looks where libc has its areas. Start-up only.
pub fn find() {
    if let Some(offset) = find_first(c"__rseq_offset") {
        // SAFETY: glibc's constant, a ptrdiff_t.
        let offset = unsafe { *(offset as *const u64) };
        OFFSET.store(!offset, Ordering::Relaxed);
    }
}

/// The calling thread becomes the initial guest.
pub fn begin() {
    INITIAL.store(arch::fs_base(), Ordering::Relaxed);
}

/// libc's area of the thread with that thread pointer.
fn area_of(thread_pointer: u64) -> Option<u64> {
    let offset = OFFSET.load(Ordering::Relaxed);
    (offset != 0).then_some(thread_pointer.wrapping_add(!offset))
}

/// rseq(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn rseq(c: &mut Call<'_>) -> Outcome {
    if c.guest.is_initial() {
        return Outcome::Native;
    }
    let (address, size, flags, signature) = (c.a[0], c.a[1] as u32, c.a[2], c.a[3] as u32);
    let registered = &c.guest.rseq;
    let same = registered.address.get() == address && registered.size.get() == size;
    let result = match flags as u32 as u64 {
        UNREGISTER if !same || address == 0 => libc::EINVAL,
        UNREGISTER if registered.signature.get() != signature => libc::EPERM,
        UNREGISTER => {
            registered.address.set(0);
            clear(address);
            return Outcome::Done(0);
        }
        0 if registered.address.get() == 0 => {
            if area_of(arch::fs_base()) != Some(address) {
                return Outcome::Done(err(libc::ENOSYS));
            }
            registered.address.set(address);
            registered.size.set(size);
            registered.signature.set(signature);
            clear(address);
            return Outcome::Done(0);
        }
        0 if !same => libc::EINVAL,
        0 if registered.signature.get() != signature => libc::EPERM,
        0 => libc::EBUSY,
        _ => libc::EINVAL,
    };
    Outcome::Done(err(result))
}

/// Makes an area say that it is not registered, as the kernel does when it no longer is. Some
/// libcs leave zeros there, which name a processor.
fn clear(area: u64) {
    let area = area as *mut [u32; 2];
    // SAFETY: libc's area of the present thread, in its TCB: cpu_id_start and cpu_id.
    unsafe { area.write_volatile([0, NOT_REGISTERED]) };
}

/// In a forked child of a guest on `from`, whose kernel thread has a copy of what that one's
/// had registered: it gets the guest's own. The other may lie on a stack that libc gives
/// to a new thread, or unmaps.
pub fn give_to_child(guest: &Guest, from: &Processor) {
    let thread_pointer = if core::ptr::eq(from, processor::first()) {
        INITIAL.load(Ordering::Relaxed)
    } else {
        // SAFETY: the child's only thread; the host's context does not run.
        unsafe { (*from.ctx.get()).fs }
    };
    let registered = &guest.rseq;
    let size = registered.size.get().max(LEAST_SIZE);
    if let Some(area) = area_of(thread_pointer) {
        call(area, size, UNREGISTER, SIGNATURE);
    }
    if registered.address.get() != 0 {
        let signature = registered.signature.get();
        call(registered.address.get(), size, 0, signature);
    }
}

fn call(area: u64, size: u32, flags: u64, signature: u32) {
    // SAFETY: an area that libc registered or asked to have registered; each stays the
    // memory of a thread for as long as that is.
    unsafe { arch::syscall4(libc::SYS_rseq, area, size.into(), flags, signature.into()) };
}
