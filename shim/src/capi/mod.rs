//! The interface for C: what `include/gevent.h` declares.
//!
//! Each function stands for the one of [`gevent_runtime::api`] or [`monkey`](crate::monkey)
//! with the same name. Handles are pointers that one function makes and another frees;
//! freeing a handle ends nothing that runs. Where Rust has a closure or a type, C has this:
//!
//! | Rust | C |
//! |---|---|
//! | `scope` with a closure | `gevent_scope_new`, `_spawn`, `_end`; `_kill` in a cleanup handler |
//! | `local!` | `_Thread_local`, or `gevent_local_new` at run time |
//! | `kill_with` any payload | a pointer: `gevent_kill_with`, `gevent_kill_payload`, `gevent_exception` |
//! | iterators: `imap`, `iwait` | `gevent_imap_next`, `gevent_iwait_next` |
//! | `Location` of a spawner | return addresses: `gevent_spawning_stack` |
//! | `GroupSet` | names: `gevent_patch("socket,time")` |
//! | `exit` | `pthread_exit` |
//! | `with_timeout` and a closure | `gevent_timeout_start`, `gevent_timeout_stop` around the code |
//! | a time-out with its own error | which one it was, `gevent_timeout_stop` says: -ETIME |
//! | guards (`hold`) | acquire, and release in a cleanup handler |
//! | clones of objects | the same handle, on any thread |
//! | `wait` and `iwait` for any `Waitable` | `gevent_wait_objects`, `gevent_iwait_objects`: an array of kinds and handles |
//!
//! Results are 0 or a count, or a negated errno:
//!
//! | result | meaning |
//! |---|---|
//! | `-EINVAL` | a null handle, a size of 0, a time that is no number |
//! | `-ETIMEDOUT` | the time given to this call was up |
//! | `-ETIME` | a `gevent_timeout_t` of the caller fired |
//! | `-ECANCELED` | the calling greenlet was killed (and does not unwind) |
//! | `-EAGAIN` | not now: empty, full, not ended |
//! | `-ESHUTDOWN` | the queue is shut down |
//! | `-EPERM` | not the caller's to release |
//! | `-EBUSY` | another thread was there first; code let nobody else run |
//! | `-ENOMEM` | no memory, no place left for variables of a thread's own |
//! | `-ENODATA` | nothing is left to wait for; no payload |
//! | `-ECHILD` | the greenlet of this item was killed |
//! | `-EDEADLK` | a signal handler used what the code that it interrupted is changing; a greenlet would wait for itself |
//!
//! Times are seconds; a negative one is no limit, 0 does not wait.
//!
//! # How a greenlet of C is killed
//! By `pthread_cancel`: the wait or the cancellation point of libc that it is in unwinds,
//! cleanup handlers and C++ destructors run, and the greenlet ends. In a greenlet that
//! called `gevent_kill_mode(GEVENT_KILL_ERROR)`, or has disabled cancellation, a wait of
//! this interface returns `-ECANCELED` instead; in the first case a call of libc's that
//! waits fails with `ECANCELED`; and the greenlet may go on.
//!
//! `gevent_kill_with` adds a payload. The killed one reads it with `gevent_kill_payload`, in a
//! cleanup handler or after its `-ECANCELED`; if the kill ends it, it counts as failed, and
//! `gevent_exception` has the payload.
//!
//! Frames of Rust can't be cancelled, so each function here disables cancellation while it
//! runs, and a wait asks for it at its end, when no frame of Rust is left that has
//! something to drop.
#![allow(unsafe_code)]
#![allow(non_camel_case_types)] // C's names
#![allow(clippy::missing_safety_doc)] // said once: handles must be live, see below

use std::ffi::{c_char, c_double, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use gevent_runtime::api::{Reentered, TimedOut, foreign};

mod callers;
pub mod greenlet;
pub mod group;
pub mod hub;
pub mod kill;
pub mod local;
pub mod many;
pub mod patching;
pub mod plugin;
pub mod queue;
pub mod scope;
pub mod server;
pub mod sync;
pub mod threadpool;
pub mod waiting;

unsafe extern "C-unwind" {
    /// pthread_testcancel(3), which may unwind.
    fn pthread_testcancel();
}

unsafe extern "C" {
    /// pthread_setcancelstate(3).
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
}

/// PTHREAD_CANCEL_DISABLE.
const DISABLE: c_int = 1;

/// Runs the body of a function with cancellation disabled. A panic becomes a result.
fn call(f: impl FnOnce() -> c_int) -> c_int {
    let mut state = 0;
    // SAFETY: our variable.
    unsafe { pthread_setcancelstate(DISABLE, &mut state) };
    let outcome = catch_unwind(AssertUnwindSafe(f));
    // SAFETY: the state that was there.
    unsafe { pthread_setcancelstate(state, std::ptr::null_mut()) };
    match outcome {
        Ok(result) => result,
        Err(payload) if foreign::sees(&*payload) => -libc::ECANCELED,
        Err(payload) if payload.is::<TimedOut>() => -libc::ETIME,
        Err(payload) if payload.is::<Reentered>() => -libc::EDEADLK,
        // Libc has no place left for what a thread needs of its own.
        Err(_) => -libc::ENOMEM,
    }
}

/// As [`call`], for a function that waits. If the caller was killed and unwinds, it does so
/// from here.
fn wait(f: impl FnOnce() -> c_int) -> c_int {
    let result = call(f);
    if result == -libc::ECANCELED {
        // SAFETY: nothing of this frame or its caller's has a destructor.
        unsafe { pthread_testcancel() };
    }
    result
}

/// A number as a result.
fn count(n: usize) -> c_int {
    c_int::try_from(n).unwrap_or(c_int::MAX)
}

/// A time of C: `None` for no limit.
///
/// # Errors
/// `-EINVAL` for what is no number.
fn span(seconds: c_double) -> Result<Option<Duration>, c_int> {
    if seconds.is_nan() {
        return Err(-libc::EINVAL);
    }
    if seconds < 0.0 {
        return Ok(None);
    }
    Ok(Some(
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX),
    ))
}

/// Puts a new handle at `out`.
///
/// # Safety
/// `out` must be null or writable.
unsafe fn give<T>(out: *mut *mut T, handle: T) -> c_int {
    if out.is_null() {
        return -libc::EINVAL;
    }
    // SAFETY: the caller's contract.
    unsafe { out.write(Box::into_raw(Box::new(handle))) };
    0
}

/// Writes a text, cut to `size` bytes with its end, and returns its length.
///
/// # Safety
/// `buffer` must be null or have room for `size` bytes.
unsafe fn write_text(text: &str, buffer: *mut c_char, size: usize) -> c_int {
    if !buffer.is_null() && size > 0 {
        let kept = text.len().min(size - 1);
        // SAFETY: the caller's buffer of that size.
        unsafe {
            buffer
                .cast::<u8>()
                .copy_from_nonoverlapping(text.as_ptr(), kept);
            buffer.add(kept).write(0);
        }
    }
    count(text.len())
}

/// The `n` pointers of C's at `items`, or `-EINVAL` if they are at null.
///
/// # Safety
/// There must be so many, which stay while the result is used.
unsafe fn list<'a, T>(items: *const T, n: usize) -> Result<&'a [T], c_int> {
    match n {
        0 => Ok(&[]),
        _ if items.is_null() => Err(-libc::EINVAL),
        // SAFETY: the caller's contract.
        _ => Ok(unsafe { std::slice::from_raw_parts(items, n) }),
    }
}

/// Frees a handle; null is none.
///
/// # Safety
/// The handle must be of [`give`] and not freed.
unsafe fn free<T>(handle: *mut T) {
    call(|| {
        if !handle.is_null() {
            // SAFETY: the caller's contract.
            drop(unsafe { Box::from_raw(handle) });
        }
        0
    });
}

/// What a handle stands for, or `-EINVAL` out of the calling closure.
macro_rules! get {
    ($handle:expr) => {
        // SAFETY: the function's contract: null or a live handle.
        match unsafe { $handle.as_ref() } {
            Some(handle) => &handle.0,
            None => return -libc::EINVAL,
        }
    };
}

/// A value, or its error out of the calling closure.
macro_rules! ok {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => return error,
        }
    };
}

use {get, ok};
