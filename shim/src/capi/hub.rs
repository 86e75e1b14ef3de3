//! Patching, sleeping, the hub and kernel threads in C.

use std::ffi::{c_double, c_int, c_void};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use gevent_runtime::api::{
    self, Fork, HubStatistics, Monitor, Stretch, ThreadPool, fork_and_watch, get_hub,
};

use super::greenlet::{Pointer, errno, gevent_callback_t, gevent_function_t};
use super::{call, free, get, give, ok, span, wait};
use crate::monkey::{self, PatchError};

/// Starts the hub, with the caller as its first guest, unless it runs. A program that is
/// linked with the library or preloaded is patched when it starts; its hub starts with its
/// first thread or with this. 0; -EBUSY if the process had other threads when the library
/// was loaded; -EPERM in a privileged program; -ENOTSUP if nothing can be patched or the
/// environment says so; -EINVAL if a variable of it can't be meant. Any thread, if it is
/// the only one.
#[unsafe(no_mangle)]
pub extern "C" fn gevent_patch_all() -> c_int {
    call(|| match monkey::patch_all() {
        Ok(()) => 0,
        Err(PatchError::Late(..)) => -libc::EBUSY,
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

/// Lets the others that are runnable run first. 0. A wait. Any thread.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn gevent_yield() -> c_int {
    wait(|| {
        api::yield_now();
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

fn of_c(counts: HubStatistics) -> gevent_statistics_t {
    gevent_statistics_t {
        guests: counts.guests,
        greenlets: counts.greenlets,
        switches: counts.switches,
    }
}

/// Writes counts of the moment to `out`, unless it is null. 1 if there is a hub, 0 if not:
/// then greenlets are kernel threads. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_hub(out: *mut gevent_statistics_t) -> c_int {
    call(|| {
        if !out.is_null() {
            // SAFETY: the caller's place.
            unsafe { out.write(of_c(get_hub().statistics())) };
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

/// Runs `function(argument)` on the calling thread and puts what it returns at `result`,
/// unless that is null. 0; or -EBUSY if it let no other greenlet run meanwhile and took
/// longer than `seconds` (0: however short it was). Where there is no hub all is well. Not
/// a wait itself. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_assert_switches(
    seconds: c_double,
    function: gevent_function_t,
    argument: *mut c_void,
    result: *mut *mut c_void,
) -> c_int {
    let longest = match span(seconds) {
        Ok(Some(Duration::ZERO)) => None,
        Ok(longest) => Some(longest.unwrap_or(Duration::MAX)),
        Err(error) => return error,
    };
    let Some(function) = function else {
        return -libc::EINVAL;
    };
    // It may be cancelled in there: nothing of this frame has a destructor.
    let stretch = Stretch::begin();
    // SAFETY: the caller's function and argument.
    let value = unsafe { function(argument) };
    if !result.is_null() {
        // SAFETY: the caller's place.
        unsafe { result.write(value) };
    }
    call(|| stretch.end(longest).map_or(-libc::EBUSY, |()| 0))
}

/// A function that looks regularly.
pub type gevent_monitor_function_t =
    Option<unsafe extern "C" fn(counts: *const gevent_statistics_t, argument: *mut c_void)>;

/// What has a function look regularly.
pub struct gevent_monitor_t(#[expect(dead_code, reason = "dropped to end it")] Monitor);

/// Has a kernel thread call `function` with the counts of the moment and `argument` every
/// `seconds` (a millisecond at least; no negative number), also while a greenlet keeps the
/// hub, until the handle is freed. It must return. 0, -EINVAL, or an error of thread
/// creation. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_monitor_new(
    seconds: c_double,
    function: gevent_monitor_function_t,
    argument: *mut c_void,
    out: *mut *mut gevent_monitor_t,
) -> c_int {
    call(|| {
        let (Some(function), Some(period)) = (function, ok!(span(seconds))) else {
            return -libc::EINVAL;
        };
        if out.is_null() {
            return -libc::EINVAL;
        }
        let argument = Pointer(argument);
        let look = move |counts: HubStatistics| {
            // SAFETY: the caller's function and argument.
            unsafe { function(&of_c(counts), argument.get()) }
        };
        match get_hub().add_monitoring_function(period, look) {
            // SAFETY: the caller's place.
            Ok(monitor) => unsafe { give(out, gevent_monitor_t(monitor)) },
            Err(error) => errno(&error),
        }
    })
}

/// Has the function look no more, and frees the handle. One more call may be under way.
/// Any thread, the last that uses the handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_monitor_free(monitor: *mut gevent_monitor_t) {
    // SAFETY: the caller's handle.
    unsafe { free(monitor) };
}

/// A function that is told of a child that has ended: its id and its status as of waitpid.
pub type gevent_child_t = Option<unsafe extern "C" fn(child: c_int, status: c_int, *mut c_void)>;

/// Forks. In the parent a greenlet waits for the child, so that it leaves no zombie, and then
/// calls `callback(id, status, argument)`, unless that is null or the program has waited for
/// it itself. The child's id, 0 in the child, or the error of fork or of thread creation: in
/// that case nobody waits for the child. The child has the calling thread alone. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_fork_and_watch(
    callback: gevent_child_t,
    argument: *mut c_void,
) -> c_int {
    call(|| {
        let argument = Pointer(argument);
        let tell = move |child, status: ExitStatus| {
            if let Some(callback) = callback {
                // SAFETY: the caller's function and argument.
                unsafe { callback(child, status.into_raw(), argument.get()) };
            }
        };
        // SAFETY: the caller's program.
        match unsafe { fork_and_watch(tell) } {
            Ok(Fork::Parent(child)) => child,
            Ok(Fork::Child) => 0,
            Err(error) => errno(&error),
        }
    })
}

/// Kernel threads that are no guests.
pub struct gevent_threadpool_t(ThreadPool);

/// Makes a pool of `size` kernel threads at most. 0, or -EINVAL for 0 of them. Any thread.
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

/// Frees a pool; what was given to it is still done. Any thread, the last that uses the handle.
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

/// Has a thread of the pool run `function(argument)`, and does not wait. `callback`, unless
/// it is null, gets what it returned, on that thread. Both must return. 0, -EINVAL, or an
/// error of thread creation. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_threadpool_spawn(
    pool: *const gevent_threadpool_t,
    function: gevent_function_t,
    argument: *mut c_void,
    callback: gevent_callback_t,
) -> c_int {
    call(|| {
        let Some(function) = function else {
            return -libc::EINVAL;
        };
        let argument = Pointer(argument);
        let job = move || {
            // SAFETY: the caller's functions and argument.
            unsafe {
                let value = function(argument.get());
                if let Some(callback) = callback {
                    callback(value);
                }
            }
        };
        match get!(pool).spawn(job) {
            Ok(_) => 0,
            Err(error) => errno(&error),
        }
    })
}

/// Waits until everything that was given to the pool is done. 0. A wait. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_threadpool_join(pool: *const gevent_threadpool_t) -> c_int {
    wait(|| {
        get!(pool).join();
        0
    })
}
