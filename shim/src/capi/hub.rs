//! Patching, sleeping, the hub and kernel threads in C.

use std::ffi::{c_double, c_int, c_void};
use std::time::Duration;

use gevent_runtime::api::{self, ThreadPool, get_hub};

use super::greenlet::{Pointer, errno, gevent_callback_t, gevent_function_t};
use super::{call, free, get, give, ok, span, wait};
use crate::monkey::{self, PatchError};

/// Starts the hub, with the caller as its first guest, unless it runs. A program that is
/// linked with the library or preloaded is patched when it starts; its hub starts with its
/// first thread or with this. 0; -EBUSY if the process had other threads when the library
/// was loaded; -EPERM in a privileged program; -ENOTSUP if nothing can be patched or the
/// environment says so; -EINVAL if a variable of it can't be meant.
#[unsafe(no_mangle)]
pub extern "C" fn gevent_patch_all() -> c_int {
    call(|| match monkey::patch_all() {
        Ok(()) => 0,
        Err(PatchError::Late(_)) => -libc::EBUSY,
        Err(PatchError::Privileged) => -libc::EPERM,
        Err(PatchError::Config(_)) => -libc::EINVAL,
        Err(_) => -libc::ENOTSUP,
    })
}

/// Sleeps; 0 lets the others run first, a negative time sleeps until something ends it. 0.
/// A wait. Any thread.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn gevent_sleep(seconds: c_double) -> c_int {
    wait(|| {
        api::sleep(ok!(span(seconds)).unwrap_or(Duration::MAX));
        0
    })
}

/// Returns when no other greenlet is runnable. 0. A wait. Any thread.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn gevent_idle() -> c_int {
    wait(|| {
        api::idle();
        0
    })
}

/// Whether the caller was killed or its time is over: 0, -ETIME, -ECANCELED. A wait that
/// does not wait. Any thread.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn gevent_check() -> c_int {
    wait(|| {
        api::check();
        0
    })
}

/// Waits until no greenlet is left, `seconds` at most. 0 or -ETIMEDOUT. A wait. Any thread.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn gevent_wait_all(seconds: c_double) -> c_int {
    wait(|| {
        if api::wait_all(ok!(span(seconds))) {
            0
        } else {
            -libc::ETIMEDOUT
        }
    })
}

/// Counts of the moment.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct gevent_statistics_t {
    /// Threads of the program that are guests.
    pub guests: usize,
    /// Greenlets that have not ended.
    pub greenlets: usize,
    /// How often the hub switched to a guest, modulo 2^32.
    pub switches: u64,
}

/// Writes counts of the moment to `out`, unless it is null. 1 if there is a hub, 0 if not:
/// then greenlets are kernel threads. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_hub(out: *mut gevent_statistics_t) -> c_int {
    call(|| {
        if !out.is_null() {
            let counts = get_hub().statistics();
            let counts = gevent_statistics_t {
                guests: counts.guests,
                greenlets: counts.greenlets,
                switches: counts.switches,
            };
            // SAFETY: the caller's place.
            unsafe { out.write(counts) };
        }
        get_hub().is_running() as c_int
    })
}

/// Has `callback(argument)` run soon on the hub's thread. It must return, soon. 0, -EINVAL,
/// or an error of thread creation. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_run_callback(
    callback: gevent_callback_t,
    argument: *mut c_void,
) -> c_int {
    call(|| {
        let Some(callback) = callback else {
            return -libc::EINVAL;
        };
        let argument = Pointer(argument);
        // SAFETY: the caller's function and argument.
        let posted = get_hub().run_callback(move || unsafe { callback(argument.get()) });
        posted.map_or_else(|error| errno(&error), |()| 0)
    })
}

/// Kernel threads that are no guests.
pub struct gevent_threadpool_t(ThreadPool);

/// Makes a pool of `size` kernel threads at most. 0, or -EINVAL for 0 of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_threadpool_new(
    size: usize,
    out: *mut *mut gevent_threadpool_t,
) -> c_int {
    call(|| match ThreadPool::new(size) {
        // SAFETY: the caller's place.
        Ok(pool) => unsafe { give(out, gevent_threadpool_t(pool)) },
        Err(_) => -libc::EINVAL,
    })
}

/// Frees a pool; what was given to it is still done. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_threadpool_free(pool: *mut gevent_threadpool_t) {
    // SAFETY: the caller's handle.
    unsafe { free(pool) };
}

/// Runs `function(argument)` on a thread of the pool and waits for its result, which is put
/// at `result` unless that is null. The function must return. If the wait ends early the
/// function goes on. 0 or an error of thread creation. A wait. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_threadpool_apply(
    pool: *const gevent_threadpool_t,
    function: gevent_function_t,
    argument: *mut c_void,
    result: *mut *mut c_void,
) -> c_int {
    wait(|| {
        let Some(function) = function else {
            return -libc::EINVAL;
        };
        let argument = Pointer(argument);
        // SAFETY: the caller's function and argument.
        let value = get!(pool).apply(move || Pointer(unsafe { function(argument.get()) }));
        match value {
            Ok(value) => {
                if !result.is_null() {
                    // SAFETY: the caller's place.
                    unsafe { result.write(value.get()) };
                }
                0
            }
            Err(_) => -libc::EAGAIN,
        }
    })
}
