//! Groups and pools in C.

use std::ffi::{c_double, c_int, c_void};

use gevent_runtime::api::foreign;
use gevent_runtime::api::{Builder, Pool, Wait};

use super::callers::callers;
use super::greenlet::{Handle, gevent_function_t, gevent_greenlet_t, give_spawned};
use super::{call, count, free, get, give, ok, span, wait};

/// Greenlets that are waited for and killed together.
pub struct gevent_pool_t(pub(super) Pool);

/// Makes a pool of `size` greenlets at most. 0, or -EINVAL for a size of 0. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_pool_new(size: usize, out: *mut *mut gevent_pool_t) -> c_int {
    call(|| match Pool::new(size) {
        // SAFETY: the caller's place.
        Ok(pool) => unsafe { give(out, gevent_pool_t(pool)) },
        Err(_) => -libc::EINVAL,
    })
}

/// Makes a group: a pool without a limit. 0 or -EINVAL. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_group_new(out: *mut *mut gevent_pool_t) -> c_int {
    // SAFETY: the caller's place.
    call(|| unsafe { give(out, gevent_pool_t(Pool::unbounded())) })
}

/// Frees a pool; its greenlets go on. Any thread, the last that uses the handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_pool_free(pool: *mut gevent_pool_t) {
    // SAFETY: the caller's handle.
    unsafe { free(pool) };
}

/// As gevent_spawn, in the pool; waits for a place, `seconds` at most. 0, -ETIMEDOUT, or
/// pthread_create's error. A wait. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_pool_spawn(
    pool: *const gevent_pool_t,
    function: gevent_function_t,
    argument: *mut c_void,
    seconds: c_double,
    out: *mut *mut gevent_greenlet_t,
) -> c_int {
    let builder = Builder::new().callers(callers());
    wait(move || {
        let (pool, Some(function)) = (get!(pool), function) else {
            return -libc::EINVAL;
        };
        let span = ok!(span(seconds));
        // SAFETY: the caller's function and argument, and its place.
        unsafe {
            match foreign::spawn_in(pool, builder, span, function, argument).transpose() {
                Some(spawned) => give_spawned(spawned, out),
                None => -libc::ETIMEDOUT,
            }
        }
    })
}

/// Adds a greenlet, without taking a place; one that has ended is not added. 0. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_pool_add(
    pool: *const gevent_pool_t,
    greenlet: *const gevent_greenlet_t,
) -> c_int {
    call(|| {
        get!(pool).group().add(get!(greenlet).greenlet());
        0
    })
}

/// Takes a greenlet out of the pool and gives its place back; it goes on. 0, also if it is
/// not in it. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_pool_discard(
    pool: *const gevent_pool_t,
    greenlet: *const gevent_greenlet_t,
) -> c_int {
    call(|| {
        get!(pool).group().discard(get!(greenlet).greenlet());
        0
    })
}

/// 1 if the greenlet is in the pool, 0 if not. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_pool_contains(
    pool: *const gevent_pool_t,
    greenlet: *const gevent_greenlet_t,
) -> c_int {
    call(|| get!(pool).group().contains(get!(greenlet).greenlet()) as c_int)
}

/// Puts handles of the greenlets in the pool at `greenlets`, the oldest first and `n` at
/// most, and returns how many there are in the pool. Each is freed with
/// gevent_greenlet_free; none has a result for gevent_result. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_pool_greenlets(
    pool: *const gevent_pool_t,
    greenlets: *mut *mut gevent_greenlet_t,
    n: usize,
) -> c_int {
    call(|| {
        let all = get!(pool).group().greenlets();
        if n > 0 && greenlets.is_null() {
            return -libc::EINVAL;
        }
        let there = count(all.len());
        for (i, greenlet) in all.into_iter().take(n).enumerate() {
            // SAFETY: the caller's array of that size.
            unsafe { give(greenlets.add(i), gevent_greenlet_t(Handle::Found(greenlet))) };
        }
        there
    })
}

/// How many greenlets at most; INT_MAX for a group. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_pool_size(pool: *const gevent_pool_t) -> c_int {
    call(|| get!(pool).size().map_or(c_int::MAX, count))
}

/// Greenlets in the pool. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_pool_len(pool: *const gevent_pool_t) -> c_int {
    call(|| count(get!(pool).group().len()))
}

/// Places that nobody has; INT_MAX in a group. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_pool_free_count(pool: *const gevent_pool_t) -> c_int {
    call(|| get!(pool).free_count().map_or(c_int::MAX, count))
}

/// Waits until there is a place, `seconds` at most, and takes none. Places that nobody has
/// then, INT_MAX in a group. A wait. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_pool_wait_available(
    pool: *const gevent_pool_t,
    seconds: c_double,
) -> c_int {
    wait(|| {
        let free = get!(pool).wait_available(ok!(span(seconds)));
        free.map_or(c_int::MAX, count)
    })
}

/// Waits until no greenlet is left in the pool, `seconds` at most. 0 or -ETIMEDOUT. A wait.
/// Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_pool_join(
    pool: *const gevent_pool_t,
    seconds: c_double,
) -> c_int {
    wait(|| match ok!(span(seconds)) {
        None => {
            get!(pool).join();
            0
        }
        Some(span) if get!(pool).join_timeout(span) => 0,
        Some(_) => -libc::ETIMEDOUT,
    })
}

/// Kills the greenlets in the pool and waits until none is left, `seconds` at most. 0 or
/// -ETIMEDOUT. A wait. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_pool_kill(
    pool: *const gevent_pool_t,
    seconds: c_double,
) -> c_int {
    wait(|| {
        let limit = ok!(span(seconds)).map_or(Wait::Forever, Wait::For);
        if get!(pool).kill_with(limit) {
            0
        } else {
            -libc::ETIMEDOUT
        }
    })
}
