//! Groups and pools in C.

use std::ffi::{c_double, c_int, c_void};

use gevent_runtime::api::foreign;
use gevent_runtime::api::{Builder, Group, Semaphore, Wait};

use super::greenlet::{Handle, errno, gevent_function_t, gevent_greenlet_t};
use super::{call, free, get, give, ok, span, wait};

struct Members {
    group: Group,
    /// Places of a pool; none for a group.
    places: Option<Semaphore>,
}

/// Greenlets that are waited for and killed together.
pub struct gevent_pool_t(Members);

/// Makes a pool of `size` greenlets at most. 0, or -EINVAL for a size of 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_pool_new(size: usize, out: *mut *mut gevent_pool_t) -> c_int {
    call(|| {
        if size == 0 {
            return -libc::EINVAL;
        }
        let members = Members {
            group: Group::new(),
            places: Some(Semaphore::new(size)),
        };
        // SAFETY: the caller's place.
        unsafe { give(out, gevent_pool_t(members)) }
    })
}

/// Makes a group: a pool without a limit. 0 or -EINVAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_group_new(out: *mut *mut gevent_pool_t) -> c_int {
    call(|| {
        let members = Members {
            group: Group::new(),
            places: None,
        };
        // SAFETY: the caller's place.
        unsafe { give(out, gevent_pool_t(members)) }
    })
}

/// Frees a pool; its greenlets go on. Any thread.
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
    wait(|| {
        let pool = get!(pool);
        let Some(function) = function else {
            return -libc::EINVAL;
        };
        match (&pool.places, ok!(span(seconds))) {
            (None, _) => {}
            (Some(places), None) => places.acquire(),
            (Some(places), Some(span)) if places.acquire_timeout(span) => {}
            _ => return -libc::ETIMEDOUT,
        }
        // SAFETY: the caller's function and argument.
        match unsafe { foreign::spawn(Builder::new(), function, argument) } {
            Ok(spawned) => {
                pool.group.add(&spawned.greenlet);
                if let Some(places) = pool.places.clone() {
                    spawned.greenlet.link(move |_| places.release());
                }
                if out.is_null() {
                    return 0;
                }
                // SAFETY: the caller's place.
                unsafe { give(out, gevent_greenlet_t(Handle::Spawned(spawned))) }
            }
            Err(error) => {
                if let Some(places) = &pool.places {
                    places.release();
                }
                errno(&error)
            }
        }
    })
}

/// Greenlets in the pool. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_pool_len(pool: *const gevent_pool_t) -> c_int {
    call(|| get!(pool).group.len() as c_int)
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
            get!(pool).group.join();
            0
        }
        Some(span) if get!(pool).group.join_timeout(span) => 0,
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
        if get!(pool).group.kill_with(limit) {
            0
        } else {
            -libc::ETIMEDOUT
        }
    })
}
