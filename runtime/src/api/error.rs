//! How an operation fails, and with what a greenlet fails.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::owned_lock::Reentered;

/// What a killed greenlet unwinds with. It counts as success, and nothing is printed.
///
/// Raise it in one's own greenlet with [`exit`](super::exit).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GreenletExit;

impl fmt::Display for GreenletExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GreenletExit")
    }
}

impl std::error::Error for GreenletExit {}

/// The panic with which a greenlet ended. Clones share the payload.
#[derive(Clone)]
pub struct Exception {
    message: Arc<str>,
    payload: Arc<Mutex<Option<Box<dyn Any + Send>>>>,
}

impl Exception {
    /// Of a panic's payload.
    pub fn new(payload: Box<dyn Any + Send>) -> Self {
        let message: Arc<str> = if let Some(text) = payload.downcast_ref::<&str>() {
            (*text).into()
        } else if let Some(text) = payload.downcast_ref::<String>() {
            text.as_str().into()
        } else if let Some(error) = payload.downcast_ref::<super::TimedOut>() {
            error.to_string().into()
        } else if let Some(error) = payload.downcast_ref::<Reentered>() {
            error.to_string().into()
        } else if let Some(killed) = payload.downcast_ref::<super::foreign::KilledWith>() {
            killed.to_string().into()
        } else {
            "a value that is no text".into()
        };
        Exception {
            message,
            payload: Arc::new(Mutex::new(Some(payload))),
        }
    }

    /// The panic's message, if its payload is a text, and a phrase otherwise.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Takes the payload. `None` the second time, from whichever clone.
    pub fn take_payload(&self) -> Option<Box<dyn Any + Send>> {
        self.payload
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Whether the payload is still there and an `E`.
    pub fn is<E: Any>(&self) -> bool {
        self.with::<E, ()>(|_| ()).is_some()
    }

    /// Has `f` look at the payload, if it is still there and an `E`.
    pub fn with<E: Any, R>(&self, f: impl FnOnce(&E) -> R) -> Option<R> {
        let payload = self.payload.lock().unwrap_or_else(PoisonError::into_inner);
        payload.as_ref()?.downcast_ref().map(f)
    }
}

impl fmt::Debug for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exception({:?})", self.message)
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Exception {}

/// Why there is no value.
#[derive(Debug, Clone)]
pub enum GetError {
    /// The time given was up.
    TimedOut,
    /// Not yet: the call does not wait.
    NotReady,
    /// It ended with [`GreenletExit`]: it was killed, or left so.
    Exit,
    /// It ended with another panic.
    Failed(Exception),
    /// Somebody took the value before (`take`, or `get` of a value without `Clone`).
    Taken,
    /// It belongs to the process that this one was forked from, and will never end here.
    Lost,
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GetError::TimedOut => f.write_str("no value within the time given"),
            GetError::NotReady => f.write_str("no value yet"),
            GetError::Exit => f.write_str("it ended with GreenletExit"),
            GetError::Failed(exception) => write!(f, "it failed: {exception}"),
            GetError::Taken => f.write_str("its value was taken"),
            GetError::Lost => f.write_str("it belongs to the process before the fork"),
        }
    }
}

impl std::error::Error for GetError {}

/// A size that cannot be meant: a bound of 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidSize;

impl fmt::Display for InvalidSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size must be 1 or more")
    }
}

impl std::error::Error for InvalidSize {}
