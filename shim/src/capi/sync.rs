//! Events, results, semaphores and locks in C.

use std::ffi::{c_double, c_int, c_void};

use gevent_runtime::api::{
    AsyncResult, BoundedSemaphore, Event, Exception, GetError, RLock, Semaphore,
};

use super::greenlet::Pointer;
use super::{call, count, free, get, give, ok, span, wait};

/// 0 if so, or the error of a time that was up.
fn in_time(yes: bool) -> c_int {
    if yes { 0 } else { -libc::ETIMEDOUT }
}

/// A flag that is waited for.
pub struct gevent_event_t(pub(super) Event);

/// Makes a flag that is not set. 0 or -EINVAL. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_event_new(out: *mut *mut gevent_event_t) -> c_int {
    // SAFETY: the caller's place.
    call(|| unsafe { give(out, gevent_event_t(Event::new())) })
}

/// Frees a flag that nobody waits for. Any thread, the last that uses the handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_event_free(event: *mut gevent_event_t) {
    // SAFETY: the caller's handle.
    unsafe { free(event) };
}

/// Sets it and lets everybody go who waits. 0. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_event_set(event: *const gevent_event_t) -> c_int {
    call(|| {
        get!(event).set();
        0
    })
}

/// Clears it. 0. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_event_clear(event: *const gevent_event_t) -> c_int {
    call(|| {
        get!(event).clear();
        0
    })
}

/// 1 if it is set, 0 if not. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_event_is_set(event: *const gevent_event_t) -> c_int {
    call(|| get!(event).is_set() as c_int)
}

/// Waits until it is set, `seconds` at most. 0 or -ETIMEDOUT. A wait. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_event_wait(
    event: *const gevent_event_t,
    seconds: c_double,
) -> c_int {
    wait(|| match ok!(span(seconds)) {
        None => {
            get!(event).wait();
            0
        }
        Some(span) => in_time(get!(event).wait_timeout(span)),
    })
}

/// A pointer that arrives later.
pub struct gevent_async_result_t(pub(super) AsyncResult<Value>);

/// A pointer of C's, shared by whoever asks for it.
#[derive(Clone, Copy)]
pub(super) struct Value(*mut c_void);

// SAFETY: whoever set it said so.
unsafe impl Send for Value {}

/// Makes an empty place. 0 or -EINVAL. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_async_result_new(out: *mut *mut gevent_async_result_t) -> c_int {
    // SAFETY: the caller's place.
    call(|| unsafe { give(out, gevent_async_result_t(AsyncResult::new())) })
}

/// Frees a place that nobody waits for. Any thread, the last that uses the handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_async_result_free(result: *mut gevent_async_result_t) {
    // SAFETY: the caller's handle.
    unsafe { free(result) };
}

/// Puts a value there and lets everybody go who waits. 0. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_async_result_set(
    result: *const gevent_async_result_t,
    value: *mut c_void,
) -> c_int {
    call(|| {
        get!(result).set(Value(Pointer(value).get()));
        0
    })
}

/// Puts an error there instead of a value, a positive errno, and lets everybody go who
/// waits. 0, or -EINVAL for another number. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_async_result_set_error(
    result: *const gevent_async_result_t,
    error: c_int,
) -> c_int {
    call(|| {
        if !(1..4096).contains(&error) {
            return -libc::EINVAL;
        }
        get!(result).set_exception(Exception::new(Box::new(error)));
        0
    })
}

/// 1 if a value or an error is there, 0 if not. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_async_result_ready(result: *const gevent_async_result_t) -> c_int {
    call(|| get!(result).ready() as c_int)
}

/// 1 if a value is there, 0 if not or if it is an error. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_async_result_successful(
    result: *const gevent_async_result_t,
) -> c_int {
    call(|| get!(result).successful() as c_int)
}

/// The error that was put: a handle of C has no other exceptions.
fn error_of(exception: &Exception) -> c_int {
    -exception
        .with::<c_int, _>(|error| *error)
        .unwrap_or(libc::EIO)
}

/// Waits for the value, `seconds` at most, and puts it at `value` unless that is null. 0,
/// -ETIMEDOUT, or the error that was put, negated. A wait. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_async_result_get(
    result: *const gevent_async_result_t,
    value: *mut *mut c_void,
    seconds: c_double,
) -> c_int {
    wait(|| {
        let got = match ok!(span(seconds)) {
            None => get!(result).get(),
            Some(span) => get!(result).get_timeout(span),
        };
        match got {
            Ok(got) => {
                if !value.is_null() {
                    // SAFETY: the caller's place.
                    unsafe { value.write(got.0) };
                }
                0
            }
            Err(GetError::Failed(exception)) => error_of(&exception),
            Err(_) => -libc::ETIMEDOUT,
        }
    })
}

enum AnySemaphore {
    Free(Semaphore),
    Bounded(BoundedSemaphore),
}

/// A number of units.
pub struct gevent_semaphore_t(AnySemaphore);

/// Makes a semaphore with `units` units, which never has more if `bounded` is not 0. 0 or
/// -EINVAL. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_semaphore_new(
    units: usize,
    bounded: c_int,
    out: *mut *mut gevent_semaphore_t,
) -> c_int {
    call(|| {
        let semaphore = match bounded {
            0 => AnySemaphore::Free(Semaphore::new(units)),
            _ => AnySemaphore::Bounded(BoundedSemaphore::new(units)),
        };
        // SAFETY: the caller's place.
        unsafe { give(out, gevent_semaphore_t(semaphore)) }
    })
}

/// Frees a semaphore that nobody waits for. Any thread, the last that uses the handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_semaphore_free(semaphore: *mut gevent_semaphore_t) {
    // SAFETY: the caller's handle.
    unsafe { free(semaphore) };
}

/// Takes a unit; waits `seconds` at most, first come first served. 0 or -ETIMEDOUT. A wait.
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_semaphore_acquire(
    semaphore: *const gevent_semaphore_t,
    seconds: c_double,
) -> c_int {
    wait(|| match (get!(semaphore), ok!(span(seconds))) {
        (AnySemaphore::Free(semaphore), Some(span)) => in_time(semaphore.acquire_timeout(span)),
        (AnySemaphore::Bounded(semaphore), Some(span)) => in_time(semaphore.acquire_timeout(span)),
        (AnySemaphore::Free(semaphore), None) => {
            semaphore.acquire();
            0
        }
        (AnySemaphore::Bounded(semaphore), None) => {
            semaphore.acquire();
            0
        }
    })
}

/// Gives a unit back. 0, or -EPERM if a bounded semaphore has them all. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_semaphore_release(semaphore: *const gevent_semaphore_t) -> c_int {
    call(|| match get!(semaphore) {
        AnySemaphore::Free(semaphore) => {
            semaphore.release();
            0
        }
        AnySemaphore::Bounded(semaphore) => semaphore.release().map_or(-libc::EPERM, |()| 0),
    })
}

/// Units that nobody has. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_semaphore_counter(semaphore: *const gevent_semaphore_t) -> c_int {
    call(|| match get!(semaphore) {
        AnySemaphore::Free(semaphore) => count(semaphore.counter()),
        AnySemaphore::Bounded(semaphore) => count(semaphore.counter()),
    })
}

/// How many wait for a unit. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_semaphore_waiting(semaphore: *const gevent_semaphore_t) -> c_int {
    call(|| match get!(semaphore) {
        AnySemaphore::Free(semaphore) => count(semaphore.waiting()),
        AnySemaphore::Bounded(semaphore) => count(semaphore.waiting()),
    })
}

/// A lock that its holder may take again.
pub struct gevent_rlock_t(RLock);

/// Makes a lock that nobody has. 0 or -EINVAL. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_rlock_new(out: *mut *mut gevent_rlock_t) -> c_int {
    // SAFETY: the caller's place.
    call(|| unsafe { give(out, gevent_rlock_t(RLock::new())) })
}

/// Frees a lock that nobody has or waits for. Any thread, the last that uses the handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_rlock_free(lock: *mut gevent_rlock_t) {
    // SAFETY: the caller's handle.
    unsafe { free(lock) };
}

/// Takes the lock; waits `seconds` at most, first come first served. 0 or -ETIMEDOUT. A
/// wait. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_rlock_acquire(
    lock: *const gevent_rlock_t,
    seconds: c_double,
) -> c_int {
    wait(|| match ok!(span(seconds)) {
        None => {
            get!(lock).acquire();
            0
        }
        Some(span) => in_time(get!(lock).acquire_timeout(span)),
    })
}

/// Gives the lock back once. 0, or -EPERM if the caller does not have it. Any thread; the
/// one that took it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_rlock_release(lock: *const gevent_rlock_t) -> c_int {
    call(|| get!(lock).release().map_or(-libc::EPERM, |()| 0))
}

/// 1 if anybody has the lock, 0 if not. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_rlock_locked(lock: *const gevent_rlock_t) -> c_int {
    call(|| get!(lock).locked() as c_int)
}
