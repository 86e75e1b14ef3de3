//! Greenlets of C that end before their spawner goes on, and so may use what is on its stack.

use std::ffi::{c_int, c_void};

use gevent_runtime::api::Builder;
use gevent_runtime::api::foreign::ForeignScope;

use super::callers::callers;
use super::greenlet::{gevent_function_t, gevent_greenlet_t, give_spawned};
use super::{call, get, give, wait};

/// What greenlets may borrow from.
pub struct gevent_scope_t(ForeignScope);

/// Begins a scope: what its greenlets use must stay until gevent_scope_end has returned. A
/// function that may be killed meanwhile ends it in a cleanup handler too, which calls
/// gevent_scope_kill before. 0 or -EINVAL. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_scope_new(out: *mut *mut gevent_scope_t) -> c_int {
    // SAFETY: the caller's place.
    call(|| unsafe { give(out, gevent_scope_t(ForeignScope::default())) })
}

/// As gevent_spawn, in the scope. Any thread, also greenlets of the scope.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_scope_spawn(
    scope: *const gevent_scope_t,
    function: gevent_function_t,
    argument: *mut c_void,
    out: *mut *mut gevent_greenlet_t,
) -> c_int {
    let builder = Builder::new().callers(callers());
    call(|| {
        let (scope, Some(function)) = (get!(scope), function) else {
            return -libc::EINVAL;
        };
        // SAFETY: the caller's function and argument, and its place.
        unsafe { give_spawned(scope.spawn(builder, function, argument), out) }
    })
}

/// Kills the greenlets of the scope, and does not wait until they have ended. 0 or -EINVAL.
/// For one of them a wait that does not wait. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_scope_kill(scope: *const gevent_scope_t) -> c_int {
    wait(|| {
        get!(scope).kill();
        0
    })
}

/// Frees a scope when its end is over, also if that unwinds.
struct Ending(*mut gevent_scope_t);

impl Drop for Ending {
    fn drop(&mut self) {
        // SAFETY: the caller's handle, whom nobody else uses: all its greenlets have ended.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

/// Waits until all greenlets of the scope have ended, also those that they spawn in it, and
/// frees it. If the caller is killed or its gevent_timeout_t fires meanwhile, they are
/// killed, and the wait goes on until they have ended: nothing ends that. So it is also with
/// -ECANCELED or -ETIME as the result. 0, or -EDEADLK if the caller is one of them; then the
/// scope is not freed. A wait. Any thread, the last that uses the handle.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_scope_end(scope: *mut gevent_scope_t) -> c_int {
    wait(|| {
        let ended = get!(scope);
        if ended.has_current() {
            return -libc::EDEADLK;
        }
        let _ending = Ending(scope);
        ended.end();
        0
    })
}
