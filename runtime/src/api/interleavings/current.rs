//! What stands for a thread's record under loom: a parker of loom's, and a wait that is over
//! at once if its deadline says so.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::sync::{Arc, Parker};
use super::waiters::{Waiter, sleep_until};

/// The only process.
pub(super) const HERE: u32 = 0;

/// The deadline of a wait that is killed at once. Another than `None` is over at once too.
pub(super) const KILLED: Option<u64> = Some(u64::MAX);

/// As the real one.
#[derive(Debug)]
pub(super) struct Interrupted;

pub(super) fn raised<T>(result: Result<T, Interrupted>) -> T {
    result.expect("nobody kills a wait without KILLED")
}

/// As the real one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wake {
    Ready,
    TimedOut,
}

/// The record of a thread.
pub(super) struct Current {
    pub(super) id: u64,
    parker: Arc<Parker>,
}

impl Current {
    pub(super) fn block(
        &self,
        waiter: &Waiter,
        deadline: Option<u64>,
    ) -> Result<Wake, Interrupted> {
        let stop = |_| deadline.map_or(Ok(None), Err);
        match sleep_until(&self.parker, || waiter.is_notified(), stop) {
            Ok(()) => Ok(Wake::Ready),
            Err(_) if deadline == KILLED => Err(Interrupted),
            Err(_) => Ok(Wake::TimedOut),
        }
    }

    pub(super) fn sleep_until<S>(
        &self,
        done: impl Fn() -> bool,
        stop: impl FnMut(u64) -> Result<Option<u64>, S>,
    ) -> Result<(), S> {
        sleep_until(&self.parker, done, stop)
    }
}

pub(super) fn process() -> u32 {
    HERE
}

/// Time stands still: a span that is not 0 never ends.
pub(super) fn deadline_in(span: Option<Duration>) -> Option<u64> {
    span.filter(Duration::is_zero).map(|_| 0)
}

pub(super) fn waiter(current: &Current) -> Arc<Waiter> {
    Waiter::new(&current.parker, HERE)
}

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A number that nobody had.
pub(super) fn next_id() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

loom::thread_local! {
    static ID: Cell<u64> = Cell::new(next_id());
}

/// Each wait has a parker of its own: loom's must not outlive an execution.
pub(super) fn with<R>(f: impl FnOnce(&Current) -> R) -> R {
    f(&Current {
        id: ID.with(Cell::get),
        parker: Arc::default(),
    })
}
