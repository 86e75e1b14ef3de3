//! Functions over many items in a pool, and in the background, in C.

use std::ffi::{c_double, c_int, c_void};

use gevent_runtime::api::foreign::{self, ForeignMap, Next};
use gevent_runtime::api::{Builder, getcurrent};

use super::callers::callers;
use super::greenlet::{
    errno, gevent_callback_t, gevent_function_t, gevent_greenlet_t, give_spawned,
};
use super::group::gevent_pool_t;
use super::{call, free, get, give, list, ok, span, wait};

/// Runs `function` on each of the `n` items in the pool and puts what it returns at the
/// same index of `results`, unless that is null; null for an item whose greenlet was killed.
/// Waits until all have ended. 0, -ECANCELED if any was killed, or pthread_create's error:
/// then the items from the first that could not be begun on were not. A wait; if it ends
/// early the greenlets go on, and nothing more is written to `results`. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_pool_map(
    pool: *const gevent_pool_t,
    function: gevent_function_t,
    items: *const *mut c_void,
    n: usize,
    results: *mut *mut c_void,
) -> c_int {
    let builder = Builder::new().callers(callers());
    wait(move || {
        let (pool, Some(function)) = (get!(pool), function) else {
            return -libc::EINVAL;
        };
        let mut outcome = 0;
        let mut spawned = Vec::new();
        // SAFETY: the caller's array of that size.
        for &item in ok!(unsafe { list(items, n) }) {
            let builder = builder.clone();
            // SAFETY: the caller's function and its items.
            match unsafe { foreign::spawn_in(pool, builder, None, function, item) } {
                Ok(greenlet) => spawned.extend(greenlet),
                Err(error) => {
                    outcome = errno(&error);
                    break;
                }
            }
        }
        for (i, spawned) in spawned.iter().enumerate() {
            spawned.greenlet.join();
            if !spawned.returned() && outcome == 0 {
                outcome = -libc::ECANCELED;
            }
            if !results.is_null() {
                // SAFETY: the caller's array of that size.
                unsafe { results.add(i).write(spawned.result()) };
            }
        }
        outcome
    })
}

/// Runs `function(argument)` in the pool and puts what it returns at `result`, unless that is
/// null; waits for a place and for its end. From one of the pool's own greenlets it runs
/// there, since a full pool would wait for itself. 0, -ECANCELED if its greenlet was killed,
/// or pthread_create's error. A wait; if it ends early the greenlet goes on. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_pool_apply(
    pool: *const gevent_pool_t,
    function: gevent_function_t,
    argument: *mut c_void,
    result: *mut *mut c_void,
) -> c_int {
    let inside = call(|| {
        let group = get!(pool).group();
        getcurrent().is_some_and(|own| group.contains(&own)) as c_int
    });
    match (inside, function) {
        (0, _) => {
            // SAFETY: the caller's own arguments, and one item.
            unsafe { gevent_pool_map(pool, function, &argument, 1, result) }
        }
        (1, Some(function)) => {
            // It may be cancelled in there: nothing of this frame has a destructor.
            // SAFETY: the caller's function and argument.
            let value = unsafe { function(argument) };
            if !result.is_null() {
                // SAFETY: the caller's place.
                unsafe { result.write(value) };
            }
            0
        }
        (error @ ..0, _) => error,
        _ => -libc::EINVAL,
    }
}

/// Runs `function(argument)` in the pool without waiting, not even for a place: another
/// greenlet does that. A handle of that one is put at `out`, unless it is null, and
/// gevent_result gives what the function returned. `callback`, unless it is null, gets it
/// too, on that greenlet, and must return; not if the function's greenlet was killed. 0,
/// -EINVAL, or pthread_create's error. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_pool_apply_async(
    pool: *const gevent_pool_t,
    function: gevent_function_t,
    argument: *mut c_void,
    callback: gevent_callback_t,
    out: *mut *mut gevent_greenlet_t,
) -> c_int {
    let builder = Builder::new().callers(callers());
    call(|| {
        let (pool, Some(function)) = (get!(pool), function) else {
            return -libc::EINVAL;
        };
        let tell = move |value| {
            if let Some(callback) = callback {
                // SAFETY: the caller's function.
                unsafe { callback(value) };
            }
        };
        // SAFETY: the caller's function and argument, and its place.
        unsafe {
            let spawned = foreign::apply_async(pool, builder, function, argument, tell);
            give_spawned(spawned, out)
        }
    })
}

/// Items that are taken as their greenlets end.
pub struct gevent_imap_t(ForeignMap);

/// As the functions below.
unsafe fn imap(
    builder: Builder,
    pool: *const gevent_pool_t,
    function: gevent_function_t,
    (items, n): (*const *mut c_void, usize),
    ordered: bool,
    out: *mut *mut gevent_imap_t,
) -> c_int {
    call(|| {
        let (pool, Some(function), false) = (get!(pool), function, out.is_null()) else {
            return -libc::EINVAL;
        };
        // SAFETY: the caller's array of that size.
        let items = ok!(unsafe { list(items, n) });
        // SAFETY: the caller's function and its items.
        match unsafe { foreign::imap(pool, builder, function, items, ordered) } {
            // SAFETY: the caller's place.
            Ok(map) => unsafe { give(out, gevent_imap_t(map)) },
            Err(error) => errno(&error),
        }
    })
}

/// As gevent_pool_map, one item after the other, in their order: gevent_imap_next gives them.
/// Greenlets are begun in the background, as places become free. The array is the caller's
/// again when this returns. 0, -EINVAL, or pthread_create's error. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_pool_imap(
    pool: *const gevent_pool_t,
    function: gevent_function_t,
    items: *const *mut c_void,
    n: usize,
    out: *mut *mut gevent_imap_t,
) -> c_int {
    let builder = Builder::new().callers(callers());
    // SAFETY: the caller's own arguments.
    unsafe { imap(builder, pool, function, (items, n), true, out) }
}

/// As gevent_pool_imap, in the order in which the greenlets end. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_pool_imap_unordered(
    pool: *const gevent_pool_t,
    function: gevent_function_t,
    items: *const *mut c_void,
    n: usize,
    out: *mut *mut gevent_imap_t,
) -> c_int {
    let builder = Builder::new().callers(callers());
    // SAFETY: the caller's own arguments.
    unsafe { imap(builder, pool, function, (items, n), false, out) }
}

/// Waits for the next item, `seconds` at most, and puts its index in the array at `index` and
/// what the function returned at `result`, unless they are null. 0; -ECHILD if its greenlet
/// was killed, with null as the result; -ENODATA when there is none left; -ETIMEDOUT; or
/// pthread_create's error: then no further items are begun. If the wait ends early the item
/// is the next one still. A wait. Any thread, one at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_imap_next(
    imap: *mut gevent_imap_t,
    index: *mut usize,
    result: *mut *mut c_void,
    seconds: c_double,
) -> c_int {
    wait(|| {
        // SAFETY: null or the handle of the caller, who alone uses it.
        let Some(imap) = (unsafe { imap.as_mut() }) else {
            return -libc::EINVAL;
        };
        let (at, item) = match imap.0.next(ok!(span(seconds))) {
            Next::Item(at, item) => (at, item),
            Next::End => return -libc::ENODATA,
            Next::TimedOut => return -libc::ETIMEDOUT,
            Next::Failed(error) => return errno(&error),
        };
        // SAFETY: the caller's places.
        unsafe {
            if !index.is_null() {
                index.write(at);
            }
            if !result.is_null() {
                result.write(item.result());
            }
        }
        if item.returned() { 0 } else { -libc::ECHILD }
    })
}

/// Frees the handle: no further items are begun, and those that are go on. Any thread, the
/// last that uses the handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_imap_free(imap: *mut gevent_imap_t) {
    // SAFETY: the caller's handle.
    unsafe { free(imap) };
}
