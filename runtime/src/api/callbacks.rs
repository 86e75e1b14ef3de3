//! A guest that does what other threads ask for: the hub's servant.
//!
//! A thread that a kernel thread makes is a kernel thread. So that greenlets can be spawned
//! from anywhere, one guest waits for functions to run. It is made by the first guest
//! that uses this library; libc does not count it, so it does not keep a program alive.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use super::AsyncResult;
use super::backend;
use super::current::process;
use super::sync::{Arc, Lock, Parker};

type Job = Box<dyn FnOnce() + Send>;

struct Servant {
    jobs: Lock<VecDeque<Job>>,
    parker: Lock<Option<Arc<Parker>>>,
    /// The process (plus one) whose servant exists or is being made.
    made: AtomicU32,
}

static SERVANT: Servant = Servant {
    jobs: Lock::new(VecDeque::new()),
    parker: Lock::new(None),
    made: AtomicU32::new(0),
};

/// Makes the servant, unless there is one. On a guest.
pub(super) fn prepare() {
    let process = process() + 1;
    if SERVANT.made.swap(process, Ordering::AcqRel) == process {
        return;
    }
    SERVANT.jobs.lock().clear();
    *SERVANT.parker.lock() = Some(Arc::default());
    if backend::native_thread(serve, std::ptr::null_mut()) == 0 {
        backend::discount_one();
    } else {
        SERVANT.made.store(0, Ordering::Release);
    }
}

extern "C" fn serve(_: *mut libc::c_void) {
    let Some(parker) = SERVANT.parker.lock().clone() else {
        return;
    };
    loop {
        let job = SERVANT.jobs.lock().pop_front();
        match job {
            Some(job) => job(),
            None => parker.park(None),
        }
    }
}

/// Has the servant run `job`. It must not wait and not panic.
///
/// # Errors
/// There is none: no guest has used this library yet.
pub(super) fn post(job: Job) -> io::Result<()> {
    if SERVANT.made.load(Ordering::Acquire) != process() + 1 {
        if !backend::is_guest() {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "no thread of the hub has used this library yet",
            ));
        }
        prepare();
    }
    let parker = SERVANT.parker.lock().clone();
    SERVANT.jobs.lock().push_back(job);
    if let Some(parker) = parker {
        parker.unpark();
    }
    Ok(())
}

/// Has the servant run `f`, and waits for what it returns. A kill of the caller comes
/// after that.
pub(super) fn ask<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> io::Result<R> {
    let result = AsyncResult::new();
    let answer = result.clone();
    post(Box::new(move || answer.set(f())))?;
    result.wait_surely();
    result.take().map_err(io::Error::other)
}
