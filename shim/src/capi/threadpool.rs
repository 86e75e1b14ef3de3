//! Kernel threads in C.

use std::ffi::{c_int, c_void};

use gevent_runtime::api::ThreadPool;

use super::greenlet::{Pointer, errno, gevent_callback_t, gevent_function_t};
use super::{call, count, free, get, give, list, ok, wait};

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

/// Runs `function` on each of the `n` items, on as many threads of the pool as there are,
/// and puts what it returns at the same index of `results`, unless that is null. Waits until
/// all is done. 0, or an error of thread creation: then nothing is written to `results`. A
/// wait; if it ends early the function goes on with all items, and nothing is written. The
/// function must return. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_threadpool_map(
    pool: *const gevent_threadpool_t,
    function: gevent_function_t,
    items: *const *mut c_void,
    n: usize,
    results: *mut *mut c_void,
) -> c_int {
    wait(|| {
        let (pool, Some(function)) = (get!(pool), function) else {
            return -libc::EINVAL;
        };
        // SAFETY: the caller's array of that size.
        let items = ok!(unsafe { list(items, n) });
        let items: Vec<_> = items.iter().map(|&item| Pointer(item)).collect();
        // SAFETY: the caller's function and its items.
        let run = move |item: Pointer| Pointer(unsafe { function(item.get()) });
        let Ok(values) = pool.map(items, run) else {
            return -libc::EAGAIN;
        };
        if !results.is_null() {
            for (i, value) in values.iter().enumerate() {
                // SAFETY: the caller's array of that size.
                unsafe { results.add(i).write(value.get()) };
            }
        }
        0
    })
}

/// How many threads the pool has at most. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_threadpool_size(pool: *const gevent_threadpool_t) -> c_int {
    call(|| count(get!(pool).size()))
}
