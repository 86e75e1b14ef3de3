//! Limits of time on a stretch of code, whatever it waits for.
//!
//! A [`Timeout`] is like gevent's: it starts when it is made, and when its time is up, the
//! wait that the greenlet is in, or the next one, unwinds. [`Timeout::run`] and
//! [`with_timeout`] catch it again. They may be nested; each catches its own.
//!
//! What it ends is a wait of this library. A call of libc's (a `recv` inside libpq, a
//! `connect` of `std::net`) is ended too if the calling thread is a guest: it fails with
//! `ECANCELED`, the code around it returns its own error, and the `Timeout` is raised by the
//! next wait or by the end of `run`. On other threads such a call goes on to its end.
//! `std::thread::sleep` returns early instead of failing. A thread that is unwinding is
//! never interrupted.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use super::current::{self, Payload, deadline_in, next_id};
use super::sync::{Arc, Lock, now};

/// The time was up: what a [`Timeout`] unwinds with, and what [`with_timeout`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut {
    id: u64,
    after: Duration,
}

impl TimedOut {
    /// The time that was given.
    pub fn after(&self) -> Duration {
        self.after
    }

    /// Whether it is of this `Timeout`.
    pub fn is_of(&self, timeout: &Timeout) -> bool {
        self.id == timeout.deadline.id
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timed out after {:?}", self.after)
    }
}

impl std::error::Error for TimedOut {}

/// What the waiting thread sees of a `Timeout`.
#[derive(Debug)]
pub(super) struct Deadline {
    id: u64,
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub(super) at: u64,
    after: Duration,
    /// What it raises instead of `TimedOut`.
    own: Lock<Option<Payload>>,
}

impl Deadline {
    /// The payload to unwind with.
    pub(super) fn fire(&self) -> Payload {
        let own = self.own.lock().take();
        own.unwrap_or_else(|| Box::new(self.error()))
    }

    fn error(&self) -> TimedOut {
        TimedOut {
            id: self.id,
            after: self.after,
        }
    }
}

/// A limit of time on the greenlet that made it, until it is dropped or cancelled.
///
/// ```
/// use std::time::Duration;
/// use gevent_runtime::api::{Event, Timeout, TimedOut};
///
/// let timeout = Timeout::new(Duration::from_millis(10));
/// let outcome: Result<(), TimedOut> = timeout.run(|| Event::new().wait());
/// assert!(outcome.is_err());
/// ```
#[derive(Debug)]
pub struct Timeout {
    deadline: Arc<Deadline>,
    /// It belongs to its thread.
    _here: PhantomData<*const ()>,
}

impl Timeout {
    /// Starts a limit of `span` from now. Zero fires at the next wait; more than 584 years
    /// never does.
    pub fn new(span: Duration) -> Self {
        Self::start(span, None)
    }

    /// As [`new`](Self::new), but unwinds with `error` instead of a [`TimedOut`]: gevent's
    /// second argument. Only [`std::panic::catch_unwind`] catches it.
    pub fn with_error<E: Any + Send>(span: Duration, error: E) -> Self {
        Self::start(span, Some(Box::new(error)))
    }

    fn start(span: Duration, own: Option<Payload>) -> Self {
        let deadline = Arc::new(Deadline {
            id: next_id(),
            at: deadline_in(Some(span)).unwrap_or(u64::MAX),
            after: span,
            own: Lock::new(own),
        });
        current::with(|current| current.add_deadline(&deadline));
        Timeout {
            deadline,
            _here: PhantomData,
        }
    }

    /// Whether it can still fire, or its time is up and nothing has been raised yet.
    pub fn is_pending(&self) -> bool {
        Arc::strong_count(&self.deadline) > 1
    }

    /// Whether its time is up, whether or not anything was raised.
    pub fn is_over(&self) -> bool {
        self.deadline.at <= now()
    }

    /// The time it was given.
    pub fn span(&self) -> Duration {
        self.deadline.after
    }

    /// Stops it. Once it fired, or a second time, nothing happens.
    pub fn cancel(&self) {
        current::with(|current| current.remove_deadline(&self.deadline));
    }

    /// Runs `f`, and catches this `Timeout` if it fires meanwhile. It is cancelled at the
    /// end. If a call of libc's was ended by it, the outcome is its error even where `f`
    /// returned: what `f` returns then is what became of the failed call.
    ///
    /// # Errors
    /// [`TimedOut`]. Other panics, also those of other time-outs, go on.
    pub fn run<T>(self, f: impl FnOnce() -> T) -> Result<T, TimedOut> {
        let outcome = catch_unwind(AssertUnwindSafe(f));
        let due = self.is_pending() && self.deadline.at <= now();
        let ended_a_call = due && super::backend::take_delivered();
        self.cancel();
        match outcome {
            Ok(_) if ended_a_call => Err(self.deadline.error()),
            Ok(value) => Ok(value),
            Err(payload) => match payload.downcast::<TimedOut>() {
                Ok(error) if error.is_of(&self) => Err(*error),
                Ok(error) => resume_unwind(error),
                Err(payload) => resume_unwind(payload),
            },
        }
    }
}

impl Drop for Timeout {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Runs `f` for `span` at most.
///
/// # Errors
/// [`TimedOut`] if it took longer; see [`Timeout::run`].
///
/// ```
/// use std::time::Duration;
/// use gevent_runtime::api::{sleep, with_timeout};
///
/// assert_eq!(with_timeout(Duration::from_secs(60), || 1), Ok(1));
/// let late = with_timeout(Duration::from_millis(5), || sleep(Duration::from_secs(60)));
/// assert_eq!(late.unwrap_err().after(), Duration::from_millis(5));
/// ```
pub fn with_timeout<T>(span: Duration, f: impl FnOnce() -> T) -> Result<T, TimedOut> {
    Timeout::new(span).run(f)
}

/// Runs `f` for `span` at most; its value, or `value` if it took longer. gevent's
/// `with_timeout(…, timeout_value=…)`.
///
/// ```
/// use std::time::Duration;
/// use gevent_runtime::api::{sleep, with_timeout_value};
///
/// let slow = || { sleep(Duration::from_secs(60)); "done" };
/// assert_eq!(with_timeout_value(Duration::ZERO, "late", slow), "late");
/// ```
pub fn with_timeout_value<T>(span: Duration, value: T, f: impl FnOnce() -> T) -> T {
    with_timeout(span, f).unwrap_or(value)
}

/// Runs `f` for `span` at most.
///
/// # Errors
/// What `error` makes, if it took longer.
///
/// ```
/// use std::time::Duration;
/// use gevent_runtime::api::{sleep, with_timeout_or};
///
/// let error = with_timeout_or(Duration::ZERO, || "too slow", || sleep(Duration::from_secs(60)));
/// assert_eq!(error, Err("too slow"));
/// ```
pub fn with_timeout_or<T, E>(
    span: Duration,
    error: impl FnOnce() -> E,
    f: impl FnOnce() -> T,
) -> Result<T, E> {
    with_timeout(span, f).map_err(|_| error())
}
