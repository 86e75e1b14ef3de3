//! Greenlets and time-outs in C.

use std::ffi::{CStr, c_char, c_double, c_int, c_void};
use std::time::Duration;

use gevent_runtime::api::foreign::{self, ForeignGreenlet};
use gevent_runtime::api::{AnyGreenlet, Builder, Timeout, getcurrent, iwait};

use super::callers::{callers, describe};
use super::{call, free, get, give, ok, span, wait, write_text};

/// A handle of a greenlet.
pub struct gevent_greenlet_t(pub(super) Handle);

/// What such a handle stands for: `getcurrent` knows no result.
#[derive(Clone)]
pub(super) enum Handle {
    Spawned(ForeignGreenlet),
    Found(AnyGreenlet),
}

impl Handle {
    pub(super) fn greenlet(&self) -> &AnyGreenlet {
        match self {
            Handle::Spawned(spawned) => &spawned.greenlet,
            Handle::Found(greenlet) => greenlet,
        }
    }
}

/// A function that a greenlet runs.
pub type gevent_function_t = Option<unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void>;

/// A function that is told something.
pub type gevent_callback_t = Option<unsafe extern "C" fn(*mut c_void)>;

/// A pointer of C's that goes to another thread, as its owner promised.
pub(super) struct Pointer(pub(super) *mut c_void);

// SAFETY: whoever passed it said so.
unsafe impl Send for Pointer {}

impl Pointer {
    pub(super) fn get(&self) -> *mut c_void {
        self.0
    }
}

pub(super) fn errno(error: &std::io::Error) -> c_int {
    -error.raw_os_error().unwrap_or(libc::EAGAIN)
}

unsafe fn spawn(
    builder: Builder,
    function: gevent_function_t,
    argument: *mut c_void,
    out: *mut *mut gevent_greenlet_t,
) -> c_int {
    let Some(function) = function else {
        return -libc::EINVAL;
    };
    // SAFETY: the caller's function and argument, and its place.
    unsafe { give_spawned(foreign::spawn(builder, function, argument), out) }
}

/// Puts a handle of a new greenlet at `out`, unless that is null.
///
/// # Safety
/// `out` must be null or writable.
pub(super) unsafe fn give_spawned(
    spawned: std::io::Result<ForeignGreenlet>,
    out: *mut *mut gevent_greenlet_t,
) -> c_int {
    match spawned {
        Ok(_) if out.is_null() => 0,
        // SAFETY: the caller's place.
        Ok(spawned) => unsafe { give(out, gevent_greenlet_t(Handle::Spawned(spawned))) },
        Err(error) => errno(&error),
    }
}

/// Spawns a greenlet that runs `function(argument)`; it begins when the caller waits. A
/// handle of it is put at `out`, unless that is null. 0, -EINVAL, or pthread_create's error.
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_spawn(
    function: gevent_function_t,
    argument: *mut c_void,
    out: *mut *mut gevent_greenlet_t,
) -> c_int {
    let builder = Builder::new().callers(callers());
    // SAFETY: the caller's own arguments.
    call(|| unsafe { spawn(builder, function, argument, out) })
}

/// As gevent_spawn, to begin `seconds` later, with a name (null: one is made up) and with a
/// stack of `stack_size` bytes (0: 2 MiB). Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_spawn_later(
    seconds: c_double,
    name: *const c_char,
    stack_size: usize,
    function: gevent_function_t,
    argument: *mut c_void,
    out: *mut *mut gevent_greenlet_t,
) -> c_int {
    let callers = callers();
    call(|| {
        let mut builder = Builder::new().callers(callers);
        match ok!(span(seconds)) {
            None => return -libc::EINVAL,
            Some(Duration::ZERO) => {}
            Some(delay) => builder = builder.delay(delay),
        }
        if !name.is_null() {
            // SAFETY: the caller's string.
            let name = unsafe { CStr::from_ptr(name) };
            builder = builder.name(name.to_string_lossy());
        }
        if stack_size != 0 {
            builder = builder.stack_size(stack_size);
        }
        // SAFETY: the caller's own arguments.
        unsafe { spawn(builder, function, argument, out) }
    })
}

/// Frees a handle; the greenlet goes on. Any thread, the last that uses the handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_greenlet_free(greenlet: *mut gevent_greenlet_t) {
    // SAFETY: the caller's handle.
    unsafe { free(greenlet) };
}

/// Puts a handle of the greenlet that runs the caller at `out`. 0, or -ESRCH on a thread that
/// is no greenlet. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_getcurrent(out: *mut *mut gevent_greenlet_t) -> c_int {
    call(|| match getcurrent() {
        // SAFETY: the caller's place.
        Some(greenlet) => unsafe { give(out, gevent_greenlet_t(Handle::Found(greenlet))) },
        None => -libc::ESRCH,
    })
}

/// Waits until the greenlet has ended, `seconds` at most. 0 or -ETIMEDOUT. A wait. Any
/// thread, any number of times.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_join(
    greenlet: *const gevent_greenlet_t,
    seconds: c_double,
) -> c_int {
    wait(|| match ok!(span(seconds)) {
        None => {
            get!(greenlet).greenlet().join();
            0
        }
        Some(span) if get!(greenlet).greenlet().join_timeout(span) => 0,
        Some(_) => -libc::ETIMEDOUT,
    })
}

/// Puts the result of the greenlet's function at `result` without a wait. -EAGAIN if it has
/// not ended, -ECANCELED if it was killed or the handle is of gevent_getcurrent. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_result(
    greenlet: *const gevent_greenlet_t,
    result: *mut *mut c_void,
) -> c_int {
    call(|| {
        let greenlet = get!(greenlet);
        if !greenlet.greenlet().ready() {
            return -libc::EAGAIN;
        }
        match greenlet {
            Handle::Spawned(spawned) if spawned.returned() => {
                if !result.is_null() {
                    // SAFETY: the caller's place.
                    unsafe { result.write(spawned.result()) };
                }
                0
            }
            _ => -libc::ECANCELED,
        }
    })
}

/// 1 if the greenlet has ended, 0 if not. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_ready(greenlet: *const gevent_greenlet_t) -> c_int {
    call(|| get!(greenlet).greenlet().ready() as c_int)
}

/// 1 if the greenlet has ended and its function returned or it was killed, as gevent counts
/// it; 0 if it has not ended, was killed with a payload, or left with a panic of Rust's. Any
/// thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_successful(greenlet: *const gevent_greenlet_t) -> c_int {
    call(|| get!(greenlet).greenlet().successful() as c_int)
}

/// A number that no other greenlet of the process has or had; 0 for null. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_minimal_ident(greenlet: *const gevent_greenlet_t) -> u64 {
    // SAFETY: null or the caller's handle.
    unsafe { greenlet.as_ref() }.map_or(0, |handle| handle.0.greenlet().minimal_ident())
}

/// Writes the greenlet's name, cut to `size` bytes with its end, and returns its length. Any
/// thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_name(
    greenlet: *const gevent_greenlet_t,
    buffer: *mut c_char,
    size: usize,
) -> c_int {
    call(|| {
        let name = get!(greenlet).greenlet().name();
        // SAFETY: the caller's buffer of that size.
        unsafe { write_text(name, buffer, size) }
    })
}

/// Writes where the greenlet was spawned, a line for each caller, the innermost first and 10
/// of them at most, cut to `size` bytes with its end, and returns its length. A line of C is
/// as of backtrace_symbols(3): `object(function+0xoffset)`, or `object(+0xoffset)` where the
/// function's name is not exported, as addr2line(1) reads it. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_spawning_stack(
    greenlet: *const gevent_greenlet_t,
    buffer: *mut c_char,
    size: usize,
) -> c_int {
    call(|| {
        let text = describe(get!(greenlet).greenlet());
        // SAFETY: the caller's buffer of that size.
        unsafe { write_text(&text, buffer, size) }
    })
}

/// As the functions below.
unsafe fn link(
    greenlet: *const gevent_greenlet_t,
    callback: gevent_callback_t,
    argument: *mut c_void,
    wanted: fn(&AnyGreenlet) -> bool,
) -> c_int {
    call(|| {
        let Some(callback) = callback else {
            return -libc::EINVAL;
        };
        let argument = Pointer(argument);
        get!(greenlet).greenlet().link(move |greenlet| {
            if wanted(greenlet) {
                // SAFETY: the caller's function and argument.
                unsafe { callback(argument.get()) };
            }
        });
        0
    })
}

/// Has `callback(argument)` run after the greenlet has ended, on a thread of its own choice.
/// It must return. 0 or -EINVAL. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_link(
    greenlet: *const gevent_greenlet_t,
    callback: gevent_callback_t,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { link(greenlet, callback, argument, |_| true) }
}

/// As gevent_link, if gevent_successful is 1 then. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_link_value(
    greenlet: *const gevent_greenlet_t,
    callback: gevent_callback_t,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { link(greenlet, callback, argument, AnyGreenlet::successful) }
}

/// As gevent_link, if gevent_successful is 0 then. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_link_exception(
    greenlet: *const gevent_greenlet_t,
    callback: gevent_callback_t,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe {
        link(greenlet, callback, argument, |greenlet| {
            !greenlet.successful()
        })
    }
}

/// The greenlets of an array of handles.
pub(super) unsafe fn all(
    greenlets: *const *mut gevent_greenlet_t,
    n: usize,
) -> Option<Vec<AnyGreenlet>> {
    if n > 0 && greenlets.is_null() {
        return None;
    }
    (0..n)
        // SAFETY: the caller's array of live handles.
        .map(|i| unsafe { (*greenlets.add(i)).as_ref() })
        .map(|handle| Some(handle?.0.greenlet().clone()))
        .collect()
}

/// Waits until all greenlets have ended, `seconds` at most. How many have. A wait. Any
/// thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_joinall(
    greenlets: *const *mut gevent_greenlet_t,
    n: usize,
    seconds: c_double,
) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { gevent_wait(greenlets, n, seconds, n) }
}

/// Waits until `wanted` of the greenlets have ended, `seconds` at most. How many have, of
/// those. A wait. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_wait(
    greenlets: *const *mut gevent_greenlet_t,
    n: usize,
    seconds: c_double,
    wanted: usize,
) -> c_int {
    wait(|| {
        // SAFETY: the caller's own arguments.
        let Some(all) = (unsafe { all(greenlets, n) }) else {
            return -libc::EINVAL;
        };
        iwait(&all, ok!(span(seconds)), Some(wanted)).count() as c_int
    })
}

/// A limit of time on the thread that made it.
pub struct gevent_timeout_t(Timeout);

/// Starts a limit of `seconds` on the caller: when it is over, the wait that the caller is
/// in, or the next one, returns -ETIME, once; on a guest also a call of libc's that waits
/// fails with ECANCELED, once. 0, or -EINVAL for a negative time. Any thread, for itself:
/// end it with gevent_timeout_stop on the same thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_timeout_start(
    seconds: c_double,
    out: *mut *mut gevent_timeout_t,
) -> c_int {
    call(|| match ok!(span(seconds)) {
        None => -libc::EINVAL,
        Some(_) if out.is_null() => -libc::EINVAL,
        // SAFETY: the caller's place.
        Some(span) => unsafe { give(out, gevent_timeout_t(Timeout::new(span))) },
    })
}

/// 1 if the limit has not ended a wait or call yet, 0 if it has. Any thread; the one that
/// started it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_timeout_pending(timeout: *const gevent_timeout_t) -> c_int {
    call(|| get!(timeout).is_pending() as c_int)
}

/// Ends a limit of time and frees its handle. -ETIME if its time was over, whether or not a
/// wait was ended by it; 0 if not. Any thread; the one that started it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_timeout_stop(timeout: *mut gevent_timeout_t) -> c_int {
    call(|| {
        let over = get!(timeout).is_over();
        // SAFETY: the caller's handle, which is not null.
        drop(unsafe { Box::from_raw(timeout) });
        if over { -libc::ETIME } else { 0 }
    })
}
