//! What can be waited for in C, where no type parameter says which kind it is.

use super::super::async_result::AsyncResult;
use super::super::event::Event;
use super::super::greenlet::AnyGreenlet;
use super::super::many::{Waitable, sealed};
use super::super::sync::Arc;
use super::super::waiters::Waiter;

/// A greenlet, an event, or a result.
#[derive(Debug, Clone)]
pub enum AnyObject<T> {
    /// Ready when it has ended.
    Greenlet(AnyGreenlet),
    /// Ready when it is set.
    Event(Event),
    /// Ready when there is a value or an error.
    Result(AsyncResult<T>),
}

impl<T> sealed::Sealed for AnyObject<T> {
    fn enlist(&self, waiter: &Arc<Waiter>) -> bool {
        match self {
            AnyObject::Greenlet(greenlet) => greenlet.enlist(waiter),
            AnyObject::Event(event) => event.enlist(waiter),
            AnyObject::Result(result) => result.enlist(waiter),
        }
    }

    fn withdraw(&self, waiter: &Arc<Waiter>) {
        match self {
            AnyObject::Greenlet(greenlet) => greenlet.withdraw(waiter),
            AnyObject::Event(event) => event.withdraw(waiter),
            AnyObject::Result(result) => result.withdraw(waiter),
        }
    }
}

impl<T> Waitable for AnyObject<T> {
    fn is_ready(&self) -> bool {
        match self {
            AnyObject::Greenlet(greenlet) => greenlet.is_ready(),
            AnyObject::Event(event) => event.is_ready(),
            AnyObject::Result(result) => result.is_ready(),
        }
    }
}
