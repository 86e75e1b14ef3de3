//! System calls that change what a kernel thread is or may do, made on every processor.
//!
//! Credentials, capabilities, filters of system calls and namespaces belong to a kernel
//! thread. A guest may run on any processor, so what it asks for is done on all of them, as
//! libc has every thread do it for setuid(2).
//!
//! # Synchronization
//! `CALL` belongs to who has turned `BUSY`, from before it sets `Processor::asked` of the
//! others until all of them are clear again. The others read it in the handler of the
//! monitor's signal, which interrupts a guest's code and ours alike; they touch nothing else.
//! Who asks gives the giant lock away meanwhile: a handler may wait for it with every signal
//! blocked.
#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::{Hub, Processor, processor};
use crate::arch::{self, syscall3, syscall4};
use crate::raw;

struct Call(UnsafeCell<(u64, [u64; 6])>);

// SAFETY: see Synchronization.
unsafe impl Sync for Call {}

static CALL: Call = Call(UnsafeCell::new((0, [0; 6])));
static BUSY: AtomicBool = AtomicBool::new(false);
/// Processors that have not made the call yet; who asks sleeps on it.
static LEFT: AtomicU32 = AtomicU32::new(0);

const WAIT: u64 = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as u64;
const WAKE: u64 = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64;

/// How long who asks sleeps before it asks again, in nanoseconds: a signal that came while
/// a child of vfork had the kernel thread is the child's.
const PATIENCE: u64 = 10_000_000;

/// Makes the call here, and if that succeeds on every other processor too. Returns the result
/// of the first. In our code; other guests may run meanwhile.
///
/// # Safety
/// As the call itself, which must not depend on the kernel thread that makes it.
pub unsafe fn call(hub: &Hub, nr: u64, args: [u64; 6]) -> i64 {
    // SAFETY: the caller's contract.
    let ret = unsafe { arch::syscall(nr, args) };
    if ret < 0 || !processor::several() {
        return ret;
    }
    while BUSY.swap(true, Ordering::Acquire) {
        // Another guest asks, and this processor is asked too.
        hub.unlocked(core::hint::spin_loop);
    }
    // SAFETY: `BUSY` is ours, and nobody is asked now.
    unsafe { *CALL.0.get() = (nr, args) };
    let here = processor::here();
    let others = || {
        let all = processor::each().iter();
        all.filter(|other| !ptr::eq(*other, here))
    };
    LEFT.store(others().count() as u32, Ordering::SeqCst);
    for other in others() {
        other.asked.store(true, Ordering::SeqCst);
        other.interrupt();
    }
    hub.unlocked(|| {
        loop {
            let left = LEFT.load(Ordering::SeqCst);
            if left == 0 {
                break;
            }
            let timeout = raw::ns_timespec(PATIENCE);
            let (word, timeout) = (LEFT.as_ptr() as u64, &raw const timeout as u64);
            // SAFETY: a word and a time span of ours.
            unsafe { syscall4(libc::SYS_futex, word, WAIT, left as u64, timeout) };
            for other in others().filter(|other| other.asked.load(Ordering::SeqCst)) {
                other.interrupt();
            }
        }
    });
    BUSY.store(false, Ordering::Release);
    ret
}

/// Makes the call that this kernel thread is asked for, if it is. Called by the handler of
/// the monitor's signal.
pub fn answer(here: &Processor) {
    if !here.asked.load(Ordering::SeqCst) || !here.asked.swap(false, Ordering::SeqCst) {
        return;
    }
    // SAFETY: who asked promised that any processor may make it.
    unsafe {
        let (nr, args) = *CALL.0.get();
        // It succeeded where it was asked for; where it then fails nothing can be done.
        arch::syscall(nr, args);
    }
    if LEFT.fetch_sub(1, Ordering::SeqCst) == 1 {
        // SAFETY: a wake needs a valid address only.
        unsafe { syscall3(libc::SYS_futex, LEFT.as_ptr() as u64, WAKE, 1) };
    }
}

/// In a forked child: nobody asks.
pub(super) fn reset_after_fork() {
    BUSY.store(false, Ordering::Relaxed);
    LEFT.store(0, Ordering::Relaxed);
}
