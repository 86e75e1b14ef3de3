//! Sleeping, the hub and children in C.

use std::ffi::{c_double, c_int, c_void};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use gevent_runtime::api::{self, Fork, HubStatistics, Monitor, Stretch, fork_and_watch, get_hub};

use super::greenlet::{Pointer, errno, gevent_callback_t, gevent_function_t};
use super::{call, free, give, ok, span, wait};

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

/// 1 if the caller is a guest, 0 if it is a kernel thread. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn gevent_is_guest() -> c_int {
    call(|| get_hub().is_guest() as c_int)
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
