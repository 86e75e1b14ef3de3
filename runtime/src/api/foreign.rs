//! Greenlets of other languages: what the C interface is made of.
//!
//! A C function is unwound by glibc's thread cancellation: its cleanup handlers run, C++
//! destructors too, and the thread ends. That is how a greenlet spawned here is killed,
//! unless it asks to see `ECANCELED` instead ([`unwinds`]). Frames of Rust cannot be
//! cancelled: `catch_unwind` and functions that may not unwind abort the process. So
//! greenlets of Rust are never cancelled, and the C interface disables cancellation while
//! it runs.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use super::backend;
use super::current::{self, deadline_in};
use super::greenlet::AnyGreenlet;
use super::pool::Pool;
use super::spawn::{Body, Builder};
use super::sync::Arc;

mod kill;
mod local;
mod many;
mod object;
mod scope;
pub mod server;

pub use kill::{KilledWith, killed_with, sees};
pub(super) use local::Locals;
pub use local::{Destructor, Local};
pub use many::{ForeignMap, Next, apply_async, imap};
pub use object::AnyObject;
pub use scope::ForeignScope;

/// A function of C that a greenlet runs.
pub type Function = unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void;

/// A function and its argument.
#[derive(Debug, Clone, Copy)]
pub(super) struct Foreign {
    function: Function,
    argument: *mut c_void,
}

// SAFETY: who spawns it promises that.
unsafe impl Send for Foreign {}

impl Foreign {
    /// # Safety
    /// As promised to [`spawn`]; once.
    pub(super) unsafe fn call(self) -> *mut c_void {
        // SAFETY: the caller's contract.
        unsafe { (self.function)(self.argument) }
    }
}

/// Where the result goes. A thread that may be cancelled keeps it in its record, since a
/// cancellation drops nothing of ours.
pub(super) type Place = Arc<AtomicPtr<c_void>>;

/// A greenlet that runs a function of C, and its result once it has returned: null before,
/// and if it was killed.
#[derive(Debug, Clone)]
pub struct ForeignGreenlet {
    /// The greenlet.
    pub greenlet: AnyGreenlet,
    result: Place,
}

impl ForeignGreenlet {
    /// Whether the function has returned: not if it was killed.
    pub fn returned(&self) -> bool {
        self.greenlet.has_value()
    }

    /// The function's result.
    pub fn result(&self) -> *mut c_void {
        self.result.load(Ordering::Acquire)
    }
}

/// Spawns a greenlet that runs a function of C.
///
/// # Errors
/// As [`Builder::spawn`].
///
/// # Safety
/// The function must take the argument, on another thread, and must leave in no other way
/// than by returning, `pthread_exit` or a cancellation.
#[track_caller]
pub unsafe fn spawn(
    builder: Builder,
    function: Function,
    argument: *mut c_void,
) -> io::Result<ForeignGreenlet> {
    let result = Place::default();
    let foreign = Foreign { function, argument };
    let greenlet = builder.spawn_foreign(foreign, Arc::clone(&result))?;
    Ok(ForeignGreenlet { greenlet, result })
}

/// As [`spawn`], in a pool, whose place is waited for until the time is up if there is one;
/// `None` if it is.
///
/// A wait: a kill or a [`Timeout`](super::Timeout) unwinds from here, and nothing is spawned.
///
/// # Errors
/// As [`Builder::spawn`].
///
/// # Safety
/// As for [`spawn`].
pub unsafe fn spawn_in(
    pool: &Pool,
    builder: Builder,
    timeout: Option<Duration>,
    function: Function,
    argument: *mut c_void,
) -> io::Result<Option<ForeignGreenlet>> {
    let result = Place::default();
    let body = Body::Foreign(Foreign { function, argument }, Arc::clone(&result));
    let greenlet = pool.spawn_body(builder, body, deadline_in(timeout))?;
    Ok(greenlet.map(|greenlet| ForeignGreenlet { greenlet, result }))
}

/// Whether the caller is a greenlet that was spawned by [`spawn`].
pub fn is_current() -> bool {
    current::with(|current| current.is_foreign())
}

/// Whether a kill of the calling greenlet cancels its thread (true at first where it was
/// spawned by [`spawn`]), or ends its calls with `ECANCELED`.
///
/// # Safety
/// With `true`, no frame of Rust may be on the caller's stack but the caller's own, when a
/// kill arrives.
pub unsafe fn unwinds(yes: bool) {
    current::with(|current| current.set_unwinds(yes));
}

unsafe extern "C" {
    /// pthread_setcancelstate(3).
    fn pthread_setcancelstate(state: libc::c_int, old: *mut libc::c_int) -> libc::c_int;
}

/// From here on the calling thread is not cancelled any more.
pub(super) fn never_cancel() {
    /// PTHREAD_CANCEL_DISABLE.
    const DISABLE: libc::c_int = 1;
    let mut before = 0;
    // SAFETY: our variable.
    unsafe { pthread_setcancelstate(DISABLE, &mut before) };
}

/// Cancels a thread, which must not end meanwhile.
pub(super) fn cancel(thread: libc::pthread_t) {
    if !backend::running() || backend::is_guest() {
        // SAFETY: the caller keeps the thread.
        unsafe { libc::pthread_cancel(thread) };
        return;
    }
    // A guest's cancellation is a signal between guests. The caller waits, and so keeps the
    // thread; without a servant no guest has been spawned here.
    // SAFETY: as above.
    let _ = backend::on_hub(move || unsafe { libc::pthread_cancel(thread) });
}
