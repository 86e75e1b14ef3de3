//! Variables of C that each greenlet has of its own, made at run time; `_Thread_local` are
//! each greenlet's own too.

use std::ffi::{c_int, c_void};

use gevent_runtime::api::foreign::Local;

use super::greenlet::gevent_callback_t;
use super::{call, free, get, give};

/// A variable that each greenlet and each other thread has of its own.
pub struct gevent_local_t(Local);

/// Makes a variable that holds null at first on each thread. `destructor`, unless it is null,
/// is called with what a thread has in it when that ends, unless that is null: on that
/// thread, before the greenlet counts as ended, in no order. It may use this interface and
/// set variables, up to four times over, and must return. 0 or -EINVAL. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_local_new(
    destructor: gevent_callback_t,
    out: *mut *mut gevent_local_t,
) -> c_int {
    // SAFETY: the caller's function, and its place.
    call(|| unsafe { give(out, gevent_local_t(Local::new(destructor))) })
}

/// Frees a variable. What threads have in it is forgotten, and not given to the destructor.
/// Any thread, the last that uses the handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_local_free(local: *mut gevent_local_t) {
    // SAFETY: the caller's handle.
    unsafe { free(local) };
}

/// Puts what the caller has in the variable at `value`. 0 or -EINVAL. Any thread, for itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_local_get(
    local: *const gevent_local_t,
    value: *mut *mut c_void,
) -> c_int {
    call(|| {
        let local = get!(local);
        if value.is_null() {
            return -libc::EINVAL;
        }
        // SAFETY: the caller's place.
        unsafe { value.write(local.get()) };
        0
    })
}

/// Changes what the caller has in the variable; what it had before is not given to the
/// destructor. 0 or -EINVAL. Any thread, for itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_local_set(
    local: *const gevent_local_t,
    value: *mut c_void,
) -> c_int {
    call(|| {
        get!(local).set(value);
        0
    })
}
