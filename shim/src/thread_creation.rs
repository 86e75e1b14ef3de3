//! `pthread_create` and `thrd_create`, which tell of the program's first thread where no site
//! can.
//!
//! Where text can't be written, the calls of guests are
//! [caught](gevent_runtime::catch), and a program that makes no thread must not pay for that. So the
//! first thread has to be noticed before it asks the kernel for anything. These functions go
//! on to libc's with the caller's stack and registers as they are; only where nothing is
//! patched do they start the hub first. Threads that libc makes for itself (SIGEV_THREAD,
//! getaddrinfo_a(3), aio(7)) before the program's first one are not noticed, and then
//! nothing is made cooperative.
//!
//! # Synchronization
//! Where the next functions are is written before `STEP` is cleared; all who write write the same,
//! once libc has them. `WATCHED` is set once, at load.
#![allow(unsafe_code)]

use core::arch::{global_asm, naked_asm};
use core::ffi::{CStr, c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering};

use gevent_runtime::dispatch;

use crate::symbols;

// What the library's own code gets by the name. Not bound by the build script: libgcc has a
// function of this name for -fsplit-stack, which would be taken before.
global_asm!(
    ".text",
    ".hidden __wrap_pthread_create",
    ".globl __wrap_pthread_create",
    ".type __wrap_pthread_create,@function",
    "__wrap_pthread_create:",
    "jmp gevent_shim_own_pthread_create",
    ".size __wrap_pthread_create, . - __wrap_pthread_create",
);

/// Whether the first thread is to be told of.
static WATCHED: AtomicBool = AtomicBool::new(false);
/// Whether [`step`] has something to do.
static STEP: AtomicU8 = AtomicU8::new(1);

static PTHREAD_CREATE: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static THRD_CREATE: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// From now on the first thread that is made starts the hub. False if libc has no threads.
pub(crate) fn watch() -> bool {
    find();
    if PTHREAD_CREATE.load(Ordering::Relaxed) == no_pthread as *mut c_void {
        return false;
    }
    WATCHED.store(true, Ordering::Relaxed);
    STEP.store(1, Ordering::Release);
    true
}

/// Looks libc's functions up.
fn find() {
    let set = |place: &AtomicPtr<c_void>, name: &CStr, missing: extern "C" fn() -> c_int| {
        let missing = missing as *mut c_void;
        let known = place.load(Ordering::Relaxed);
        // libpthread may be loaded later (glibc before 2.34).
        if known.is_null() || known == missing {
            let found = symbols::next(name);
            let at = if found.is_null() { missing } else { found };
            place.store(at, Ordering::Relaxed);
        }
    };
    set(&PTHREAD_CREATE, c"pthread_create", no_pthread);
    set(&THRD_CREATE, c"thrd_create", no_thrd);
}

/// libc has no such function.
extern "C" fn no_pthread() -> c_int {
    libc::EAGAIN
}

/// The same; thrd_error of threads.h.
extern "C" fn no_thrd() -> c_int {
    2
}

/// A thread is about to be made.
extern "C" fn step() {
    // SAFETY: the calling thread's errno.
    let errno = unsafe { *libc::__errno_location() };
    find();
    if WATCHED.load(Ordering::Relaxed) {
        // SAFETY: called by the program's own code.
        unsafe { dispatch::expect_thread() };
    } else if PTHREAD_CREATE.load(Ordering::Relaxed) != no_pthread as *mut c_void {
        STEP.store(0, Ordering::Release);
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

macro_rules! goes_on {
    ($name:ident, $next:ident) => {
        /// As libc's.
        ///
        /// # Safety
        /// As libc's function.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name() {
            naked_asm!(
                ".cfi_startproc",
                "cmp byte ptr [rip + {step_left}], 0",
                "je 2f",
                "push rdi",
                ".cfi_adjust_cfa_offset 8",
                "push rsi",
                ".cfi_adjust_cfa_offset 8",
                "push rdx",
                ".cfi_adjust_cfa_offset 8",
                "push rcx",
                ".cfi_adjust_cfa_offset 8",
                "sub rsp, 8", // to a multiple of 16
                ".cfi_adjust_cfa_offset 8",
                "call {step}",
                "add rsp, 8",
                ".cfi_adjust_cfa_offset -8",
                "pop rcx",
                ".cfi_adjust_cfa_offset -8",
                "pop rdx",
                ".cfi_adjust_cfa_offset -8",
                "pop rsi",
                ".cfi_adjust_cfa_offset -8",
                "pop rdi",
                ".cfi_adjust_cfa_offset -8",
                "2:",
                "jmp qword ptr [rip + {next}]",
                ".cfi_endproc",
                step_left = sym STEP,
                step = sym step,
                next = sym $next,
            )
        }
    };
}

goes_on!(pthread_create, PTHREAD_CREATE);
goes_on!(thrd_create, THRD_CREATE);
