//! The real `syscall` instruction, used by everything of ours that wants the
//! kernel itself: calls through libc would meet their own patched sites.
#![allow(unsafe_code)]

use core::arch::asm;
use core::sync::atomic::{AtomicPtr, Ordering};

/// Whether a call must not be made.
pub type Refuses = fn(u64, &[u64; 6]) -> bool;

/// The [`Refuses`] to ask before every call, or null.
pub static REFUSES: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Has `refuses` asked before every call that is made here from now on: one that it refuses
/// fails with EPERM. It must be async-signal-safe.
pub fn ask_before_calls(refuses: Refuses) {
    REFUSES.store(refuses as *mut (), Ordering::Release);
}

/// Whether a call must not be made, once there is who says so.
#[cold]
pub fn is_refused(nr: u64, a: &[u64; 6]) -> bool {
    let refuses = REFUSES.load(Ordering::Acquire);
    if refuses.is_null() {
        return false;
    }
    // SAFETY: what `ask_before_calls` stored.
    unsafe { core::mem::transmute::<*mut (), Refuses>(refuses)(nr, a) }
}

/// Runs system call `nr`. Returns what the kernel left in `rax`: `-errno` on
/// failure. Async-signal-safe; touches no thread-local storage.
///
/// # Safety
/// As the call itself: pointers must be valid for what the kernel does.
#[inline(always)]
pub unsafe fn syscall(nr: u64, a: [u64; 6]) -> i64 {
    if !REFUSES.load(Ordering::Relaxed).is_null() && is_refused(nr, &a) {
        return -(libc::EPERM as i64);
    }
    // SAFETY: the caller's contract.
    unsafe { syscall_unasked(nr, a) }
}

/// As [`syscall`], without asking whether the call may be made: for calls of the program's own,
/// which is to have the kernel's answer.
///
/// # Safety
/// As the call itself.
#[inline(always)]
pub unsafe fn syscall_unasked(nr: u64, a: [u64; 6]) -> i64 {
    let ret: i64;
    // SAFETY: the kernel keeps every register but rax, rcx and r11; the caller
    // answers for the arguments.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") nr as i64 => ret,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    ret
}

macro_rules! short {
    ($name:ident, $($arg:ident),*; $($pad:literal),*) => {
        /// [`syscall`] with fewer arguments.
        ///
        /// # Safety
        /// As [`syscall`].
        #[inline(always)]
        pub unsafe fn $name(nr: i64, $($arg: u64),*) -> i64 {
            // SAFETY: the caller's contract is passed on.
            unsafe { syscall(nr as u64, [$($arg,)* $($pad),*]) }
        }
    };
}

short!(syscall0, ; 0, 0, 0, 0, 0, 0);
short!(syscall1, a; 0, 0, 0, 0, 0);
short!(syscall2, a, b; 0, 0, 0, 0);
short!(syscall3, a, b, c; 0, 0, 0);
short!(syscall4, a, b, c, d; 0, 0);
