//! Names of libc that are interposed, because the system calls below them have
//! lost what the name says.
//!
//! `pthread_setname_np` and `pthread_getname_np` reach another thread through
//! `/proc/self/task`, where the kernel has no entry for a guest.
//!
//! `clock_gettime` and `clock_getres` ask the kernel's own page (vdso(7)), which makes the
//! call itself where it can't answer: no site of ours sees it. For clocks of CPU time the
//! call is made from libc instead; all others go on to libc, a comparison later.
//!
//! # Synchronization
//! Where libc's functions are is written at load or by whoever comes first; all who write write
//! the same.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_char, c_int};
use core::mem::transmute;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use gevent_runtime::dispatch::{current_guest, guest_of};
use gevent_runtime::guest::Guest;
use gevent_runtime::objects;

use crate::own_libc;

/// Longest name, with its terminator (TASK_COMM_LEN).
const NAME: usize = 16;

type SetName = unsafe extern "C" fn(libc::pthread_t, *const c_char) -> c_int;
type GetName = unsafe extern "C" fn(libc::pthread_t, *mut c_char, usize) -> c_int;

/// Where a name is in the objects after this library, or null.
pub(crate) fn next(name: &CStr) -> *mut libc::c_void {
    objects::find_next(next as *const () as u64, name).unwrap_or(null_mut())
}

/// Looks libc's functions up, while that may still take locks and memory.
pub fn init() {
    for place in [&GET_TIME, &GET_RESOLUTION, &SET_NAME, &GET_NAME] {
        place.get();
    }
}

/// A function of libc's about a clock.
type OfClock = unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> c_int;

/// Where a function is; null before it was found.
struct Place {
    name: &'static CStr,
    at: AtomicPtr<libc::c_void>,
}

static GET_TIME: Place = Place::new(c"clock_gettime");
static GET_RESOLUTION: Place = Place::new(c"clock_getres");
static SET_NAME: Place = Place::new(c"pthread_setname_np");
static GET_NAME: Place = Place::new(c"pthread_getname_np");

impl Place {
    const fn new(name: &'static CStr) -> Self {
        Place {
            name,
            at: AtomicPtr::new(null_mut()),
        }
    }

    #[inline]
    fn get(&self) -> *mut libc::c_void {
        match self.at.load(Ordering::Relaxed) {
            at if at.is_null() => self.look_up(),
            at => at,
        }
    }

    #[cold]
    fn look_up(&self) -> *mut libc::c_void {
        let at = next(self.name);
        self.at.store(at, Ordering::Relaxed);
        at
    }
}

/// Whether a clock counts CPU time, of a thread or of another process, or is a device's:
/// what the kernel's page does not answer.
#[inline]
fn is_counted(clock: libc::clockid_t) -> bool {
    clock < 0 || clock == libc::CLOCK_THREAD_CPUTIME_ID
}

/// # Safety
/// As the function's.
#[inline]
unsafe fn about_clock(
    place: &Place,
    nr: libc::c_long,
    clock: libc::clockid_t,
    to: *mut libc::timespec,
) -> c_int {
    // SAFETY: the caller's own call; null or libc's function of this type (clock_gettime(2)).
    unsafe {
        match transmute::<*mut libc::c_void, Option<OfClock>>(place.get()) {
            Some(real) if !is_counted(clock) => real(clock, to),
            _ => own_libc::syscall_of_program(nr, clock as u64, to as u64) as c_int,
        }
    }
}

/// clock_gettime(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, to: *mut libc::timespec) -> c_int {
    // SAFETY: the caller's own call.
    unsafe { about_clock(&GET_TIME, libc::SYS_clock_gettime, clock, to) }
}

/// clock_getres(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_getres(clock: libc::clockid_t, to: *mut libc::timespec) -> c_int {
    // SAFETY: the caller's own call.
    unsafe { about_clock(&GET_RESOLUTION, libc::SYS_clock_getres, clock, to) }
}

fn is_caller(guest: &Guest) -> bool {
    current_guest().is_some_and(|caller| core::ptr::eq(caller, guest))
}

/// pthread_setname_np(3).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_setname_np(thread: libc::pthread_t, name: *const c_char) -> c_int {
    // SAFETY: the caller's thread and string; null or libc's function of this type.
    unsafe {
        // For itself a thread asks the kernel, with a call that we carry out.
        let Some(guest) = guest_of(thread).filter(|&guest| !is_caller(guest)) else {
            let real = transmute::<*mut libc::c_void, Option<SetName>>(SET_NAME.get());
            return real.map_or(libc::ENOSYS, |set| set(thread, name));
        };
        let name = CStr::from_ptr(name).to_bytes();
        if name.len() >= NAME {
            return libc::ERANGE;
        }
        let mut bytes = [0; NAME];
        bytes[..name.len()].copy_from_slice(name);
        guest.name.set(bytes);
        0
    }
}

/// pthread_getname_np(3).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_getname_np(
    thread: libc::pthread_t,
    name: *mut c_char,
    size: usize,
) -> c_int {
    // SAFETY: the caller's thread and buffer; null or libc's function of this type.
    unsafe {
        let Some(guest) = guest_of(thread).filter(|&guest| !is_caller(guest)) else {
            let real = transmute::<*mut libc::c_void, Option<GetName>>(GET_NAME.get());
            return real.map_or(libc::ENOSYS, |get| get(thread, name, size));
        };
        if size < NAME {
            return libc::ERANGE;
        }
        let bytes = guest.name.get();
        name.cast::<u8>()
            .copy_from_nonoverlapping(bytes.as_ptr(), NAME);
        0
    }
}
