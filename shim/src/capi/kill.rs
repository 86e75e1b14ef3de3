//! Kills in C.

use std::ffi::{c_double, c_int, c_void};

use gevent_runtime::api::foreign::{self, KilledWith};
use gevent_runtime::api::{GreenletExit, Wait, killall_with};

use super::greenlet::{all, gevent_greenlet_t};
use super::{call, get, ok, span, wait};

/// gevent_kill_mode: a kill unwinds the C frames of the greenlet, and ends it. At first.
pub const GEVENT_KILL_UNWIND: c_int = 0;
/// gevent_kill_mode: a kill ends the wait or the call of libc with ECANCELED.
pub const GEVENT_KILL_ERROR: c_int = 1;

/// What a kill with this payload throws.
fn thrown(payload: *mut c_void) -> Box<dyn std::any::Any + Send> {
    match KilledWith::new(payload) {
        Some(payload) => Box::new(payload),
        None => Box::new(GreenletExit),
    }
}

/// Kills the greenlet and waits until it has ended, `seconds` at most. 0 or -ETIMEDOUT. One
/// that has not begun never will; for one that has ended nothing happens; on itself this
/// does not return, unless it does not unwind. A wait. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_kill(
    greenlet: *const gevent_greenlet_t,
    seconds: c_double,
) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { gevent_kill_with(greenlet, std::ptr::null_mut(), seconds) }
}

/// As gevent_kill, with a payload that the killed one may read with gevent_kill_payload, and
/// others with gevent_exception. It counts as failed then, and one line on standard error
/// says so. With null this is gevent_kill. A wait. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_kill_with(
    greenlet: *const gevent_greenlet_t,
    payload: *mut c_void,
    seconds: c_double,
) -> c_int {
    wait(|| {
        let limit = ok!(span(seconds)).map_or(Wait::Forever, Wait::For);
        let killed = killall_with(
            &[get!(greenlet).greenlet().clone()],
            || thrown(payload),
            limit,
        );
        if killed { 0 } else { -libc::ETIMEDOUT }
    })
}

/// Puts the payload of the kill that the caller unwinds with at `payload`: for its cleanup
/// handlers. Where it does not unwind it is that of the kill for which a wait last returned
/// -ECANCELED (after an ECANCELED of libc's, gevent_check is such a wait). 0; -ENODATA if
/// there was no kill or it had no payload. Any thread, for itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_kill_payload(payload: *mut *mut c_void) -> c_int {
    call(|| {
        if payload.is_null() {
            return -libc::EINVAL;
        }
        let Some(killed) = foreign::killed_with() else {
            return -libc::ENODATA;
        };
        // SAFETY: the caller's place.
        unsafe { payload.write(killed.get()) };
        0
    })
}

/// Puts the payload with which the greenlet was killed, and which ended it, at `payload`,
/// unless that is null. -EAGAIN if it has not ended, -ENODATA if it ended in another way.
/// One that leaves with pthread_exit after gevent_kill_payload had one for it counts as
/// ended by that. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_exception(
    greenlet: *const gevent_greenlet_t,
    payload: *mut *mut c_void,
) -> c_int {
    call(|| {
        let greenlet = get!(greenlet).greenlet();
        if !greenlet.ready() {
            return -libc::EAGAIN;
        }
        let exception = greenlet.exception();
        let killed = exception.and_then(|e| e.with::<KilledWith, _>(|killed| *killed));
        let Some(killed) = killed else {
            return -libc::ENODATA;
        };
        if !payload.is_null() {
            // SAFETY: the caller's place.
            unsafe { payload.write(killed.get()) };
        }
        0
    })
}

/// How a kill of the caller is to be seen: GEVENT_KILL_UNWIND or GEVENT_KILL_ERROR. 0, or
/// -EINVAL for anything else or where the caller is no greenlet of C. Any thread, for itself.
#[unsafe(no_mangle)]
pub extern "C" fn gevent_kill_mode(mode: c_int) -> c_int {
    call(|| {
        if !matches!(mode, GEVENT_KILL_UNWIND | GEVENT_KILL_ERROR) || !foreign::is_current() {
            return -libc::EINVAL;
        }
        // SAFETY: it runs C code, which calls this.
        unsafe { foreign::unwinds(mode == GEVENT_KILL_UNWIND) };
        0
    })
}

/// Kills all greenlets and waits until they have ended, `seconds` at most. 0 or -ETIMEDOUT.
/// A wait. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_killall(
    greenlets: *const *mut gevent_greenlet_t,
    n: usize,
    seconds: c_double,
) -> c_int {
    // SAFETY: the caller's own arguments.
    unsafe { gevent_killall_with(greenlets, n, std::ptr::null_mut(), seconds) }
}

/// As gevent_killall, with a payload for each as in gevent_kill_with. A wait. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_killall_with(
    greenlets: *const *mut gevent_greenlet_t,
    n: usize,
    payload: *mut c_void,
    seconds: c_double,
) -> c_int {
    wait(|| {
        // SAFETY: the caller's own arguments.
        let Some(all) = (unsafe { all(greenlets, n) }) else {
            return -libc::EINVAL;
        };
        let limit = ok!(span(seconds)).map_or(Wait::Forever, Wait::For);
        let killed = killall_with(&all, || thrown(payload), limit);
        if killed { 0 } else { -libc::ETIMEDOUT }
    })
}
