//! A value that arrives later.

use std::time::Duration;

use super::current::{Interrupted, deadline_in, process, raised};
use super::error::{Exception, GetError};
use super::many::{Waitable, sealed};
use super::sync::{Arc, Lock};
use super::waiters::{Waiter, Waiters};
use super::waiting::{wait_in, wait_surely};

#[derive(Debug)]
struct State<T> {
    outcome: Option<Result<T, Exception>>,
    waiters: Waiters,
}

/// A place for one value or exception, which any number of greenlets and threads wait
/// for. Clones are the same place. Any thread.
///
/// ```
/// use gevent_runtime::api::{spawn, AsyncResult};
///
/// let result = AsyncResult::new();
/// spawn({ let result = result.clone(); move || result.set(42) });
/// assert_eq!(result.get().unwrap(), 42);
/// ```
#[derive(Debug)]
pub struct AsyncResult<T> {
    state: Arc<Lock<State<T>>>,
}

impl<T> Clone for AsyncResult<T> {
    fn clone(&self) -> Self {
        AsyncResult {
            state: Arc::clone(&self.state),
        }
    }
}

impl<T> Default for AsyncResult<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> AsyncResult<T> {
    /// An empty place.
    pub fn new() -> Self {
        AsyncResult {
            state: Arc::new(Lock::new(State {
                outcome: None,
                waiters: Waiters::new(),
            })),
        }
    }

    /// Puts a value there and lets everybody go who waits. What was there before is
    /// replaced, as in gevent.
    pub fn set(&self, value: T) {
        self.put(Ok(value));
    }

    /// Puts an exception there.
    pub fn set_exception(&self, exception: Exception) {
        self.put(Err(exception));
    }

    fn put(&self, outcome: Result<T, Exception>) {
        let mut state = self.state.lock();
        let before = state.outcome.replace(outcome);
        state.waiters.notify_all(process());
        drop(state);
        // Its destructor may use this object.
        drop(before);
    }

    /// Whether something is there.
    pub fn ready(&self) -> bool {
        self.state.lock().outcome.is_some()
    }

    /// Whether a value is there.
    pub fn successful(&self) -> bool {
        matches!(self.state.lock().outcome, Some(Ok(_)))
    }

    /// The exception, if one is there.
    pub fn exception(&self) -> Option<Exception> {
        match &self.state.lock().outcome {
            Some(Err(exception)) => Some(exception.clone()),
            _ => None,
        }
    }

    /// Waits until something is there.
    ///
    /// A wait: a kill or a [`Timeout`](super::Timeout) unwinds from here.
    pub fn wait(&self) {
        raised(self.wait_until(None));
    }

    /// Waits until something is there, `span` at most. Whether it is.
    pub fn wait_timeout(&self, span: Duration) -> bool {
        raised(self.wait_until(deadline_in(Some(span))))
    }

    fn wait_until(&self, deadline: Option<u64>) -> Result<bool, Interrupted> {
        wait_in(
            &self.state,
            |s| &mut s.waiters,
            |s| s.outcome.is_some(),
            deadline,
        )
    }

    /// As [`wait`](Self::wait), and nothing interrupts it.
    pub(super) fn wait_surely(&self) {
        wait_surely(&self.state, |s| &mut s.waiters, |s| s.outcome.is_some());
    }

    /// Takes what is there, so that the place is empty again.
    ///
    /// # Errors
    /// [`GetError::NotReady`], [`GetError::Failed`].
    pub fn take(&self) -> Result<T, GetError> {
        match self.state.lock().outcome.take() {
            Some(outcome) => outcome.map_err(GetError::Failed),
            None => Err(GetError::NotReady),
        }
    }
}

impl<T: Clone> AsyncResult<T> {
    /// Waits for the value.
    ///
    /// # Errors
    /// [`GetError::Failed`] if an exception is there.
    pub fn get(&self) -> Result<T, GetError> {
        self.wait();
        self.try_get()
    }

    /// Waits for the value, `span` at most.
    ///
    /// # Errors
    /// [`GetError::TimedOut`], [`GetError::Failed`].
    pub fn get_timeout(&self, span: Duration) -> Result<T, GetError> {
        if self.wait_timeout(span) {
            self.try_get()
        } else {
            Err(GetError::TimedOut)
        }
    }

    /// The value, without a wait.
    ///
    /// # Errors
    /// [`GetError::NotReady`], [`GetError::Failed`].
    pub fn try_get(&self) -> Result<T, GetError> {
        match &self.state.lock().outcome {
            Some(Ok(value)) => Ok(value.clone()),
            Some(Err(exception)) => Err(GetError::Failed(exception.clone())),
            None => Err(GetError::NotReady),
        }
    }

    /// The value, if one is there.
    pub fn value(&self) -> Option<T> {
        self.try_get().ok()
    }
}

impl<T> sealed::Sealed for AsyncResult<T> {
    fn enlist(&self, waiter: &Arc<Waiter>) -> bool {
        let mut state = self.state.lock();
        if state.outcome.is_none() {
            state.waiters.add(waiter);
        }
        state.outcome.is_none()
    }

    fn withdraw(&self, waiter: &Arc<Waiter>) {
        self.state.lock().waiters.give_up(waiter);
    }
}

impl<T> Waitable for AsyncResult<T> {
    fn is_ready(&self) -> bool {
        self.ready()
    }
}
