//! Waiting for several objects at once in C: greenlets, events and results.

use std::ffi::{c_double, c_int, c_void};

use gevent_runtime::api::foreign::AnyObject;
use gevent_runtime::api::{AnyGreenlet, IWait, iwait};

use super::greenlet::{all, gevent_greenlet_t};
use super::sync::{Value, gevent_async_result_t, gevent_event_t};
use super::{call, count, free, give, ok, span, wait};

/// The object is a gevent_greenlet_t: ready when it has ended.
pub const GEVENT_OBJECT_GREENLET: c_int = 0;
/// It is a gevent_event_t: ready when it is set.
pub const GEVENT_OBJECT_EVENT: c_int = 1;
/// It is a gevent_async_result_t: ready when it has a value or an error.
pub const GEVENT_OBJECT_RESULT: c_int = 2;

/// Something to wait for among others.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct gevent_object_t {
    /// One of GEVENT_OBJECT_….
    pub kind: c_int,
    /// A handle of that kind.
    pub handle: *const c_void,
}

type Object = AnyObject<Value>;

/// Objects that are taken as they become ready.
pub struct gevent_iwait_t(IWait<Object>);

fn of_greenlets(greenlets: Vec<AnyGreenlet>) -> Vec<Object> {
    greenlets.into_iter().map(AnyObject::Greenlet).collect()
}

/// The objects of an array. `None`: a null, or a kind that there is not.
///
/// # Safety
/// `objects` must be null or an array of `n`, of null or live handles of their kinds.
unsafe fn objects(objects: *const gevent_object_t, n: usize) -> Option<Vec<Object>> {
    if objects.is_null() && n != 0 {
        return None;
    }
    (0..n)
        .map(|i| {
            // SAFETY: the caller's array, and its handles.
            unsafe {
                let gevent_object_t { kind, handle } = *objects.add(i);
                Some(match kind {
                    GEVENT_OBJECT_GREENLET => {
                        let greenlet = handle.cast::<gevent_greenlet_t>().as_ref()?;
                        AnyObject::Greenlet(greenlet.0.greenlet().clone())
                    }
                    GEVENT_OBJECT_EVENT => {
                        AnyObject::Event(handle.cast::<gevent_event_t>().as_ref()?.0.clone())
                    }
                    GEVENT_OBJECT_RESULT => {
                        let result = handle.cast::<gevent_async_result_t>().as_ref()?;
                        AnyObject::Result(result.0.clone())
                    }
                    _ => return None,
                })
            }
        })
        .collect()
}

/// Waits until `wanted` of the objects are ready, `seconds` at most. How many are, of those.
/// -EINVAL also for a kind that there is not. A wait. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_wait_objects(
    objects: *const gevent_object_t,
    n: usize,
    seconds: c_double,
    wanted: usize,
) -> c_int {
    wait(|| {
        // SAFETY: the caller's own arguments.
        let Some(all) = (unsafe { self::objects(objects, n) }) else {
            return -libc::EINVAL;
        };
        count(iwait(&all, ok!(span(seconds)), Some(wanted)).count())
    })
}

/// Begins to wait for `wanted` of the objects one after the other, `seconds` at most in all.
/// 0 or -EINVAL. Any thread, for itself: the other functions are for the same thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_iwait_objects(
    objects: *const gevent_object_t,
    n: usize,
    seconds: c_double,
    wanted: usize,
    out: *mut *mut gevent_iwait_t,
) -> c_int {
    call(|| {
        // SAFETY: the caller's own arguments.
        let Some(all) = (unsafe { self::objects(objects, n) }) else {
            return -libc::EINVAL;
        };
        let timeout = ok!(span(seconds));
        // SAFETY: the caller's place.
        unsafe { give(out, gevent_iwait_t(iwait(&all, timeout, Some(wanted)))) }
    })
}

/// Begins to wait for the greenlets one after the other, `seconds` at most in all. 0 or
/// -EINVAL. Any thread, for itself: the other functions are for the same thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_iwait_new(
    greenlets: *const *mut gevent_greenlet_t,
    n: usize,
    seconds: c_double,
    out: *mut *mut gevent_iwait_t,
) -> c_int {
    call(|| {
        // SAFETY: the caller's own arguments.
        let Some(all) = (unsafe { all(greenlets, n) }) else {
            return -libc::EINVAL;
        };
        let timeout = ok!(span(seconds));
        let iwait = iwait(&of_greenlets(all), timeout, None);
        // SAFETY: the caller's place.
        unsafe { give(out, gevent_iwait_t(iwait)) }
    })
}

/// Waits for the next object that is ready and returns its index, or -ENODATA when there
/// is none left or the time is up. A wait. Any thread; the one that began.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_iwait_next(iwait: *mut gevent_iwait_t) -> c_int {
    // SAFETY: null or the handle of the caller, who alone uses it.
    wait(|| match unsafe { iwait.as_mut() } {
        Some(iwait) => iwait.0.next_index().map_or(-libc::ENODATA, count),
        None => -libc::EINVAL,
    })
}

/// Waits for the rest no more and frees the handle. Any thread; the one that began.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_iwait_free(iwait: *mut gevent_iwait_t) {
    // SAFETY: the caller's handle.
    unsafe { free(iwait) };
}
