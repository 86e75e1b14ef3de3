//! A flag that greenlets wait for.

use std::time::Duration;

use super::current::{Interrupted, deadline_in, process, raised};
use super::many::{Waitable, sealed};
use super::sync::{Arc, Lock};
use super::waiters::{Waiter, Waiters};
use super::waiting::wait_in;

#[derive(Debug, Default)]
struct State {
    set: bool,
    waiters: Waiters,
}

/// A flag that is set and cleared, and that any number of greenlets and threads wait for.
/// Clones are the same flag. Any thread.
///
/// ```
/// use gevent_runtime::api::{spawn, Event};
///
/// let event = Event::new();
/// let waiting = spawn({ let event = event.clone(); move || event.wait() });
/// event.set();
/// waiting.join();
/// ```
#[derive(Debug, Clone, Default)]
pub struct Event {
    state: Arc<Lock<State>>,
}

impl Event {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.state.lock().set
    }

    /// Sets it and lets everybody go who waits, in the order in which they came.
    pub fn set(&self) {
        let mut state = self.state.lock();
        state.set = true;
        state.waiters.notify_all(process());
    }

    /// Clears it. Who was let go stays so.
    pub fn clear(&self) {
        self.state.lock().set = false;
    }

    /// Waits until it is set; returns at once if it is.
    ///
    /// A wait: a kill or a [`Timeout`](super::Timeout) unwinds from here.
    pub fn wait(&self) {
        raised(self.wait_until(None));
    }

    /// Waits until it is set, `span` at most. Whether it was set.
    pub fn wait_timeout(&self, span: Duration) -> bool {
        raised(self.wait_until(deadline_in(Some(span))))
    }

    pub(super) fn wait_until(&self, deadline: Option<u64>) -> Result<bool, Interrupted> {
        wait_in(&self.state, |s| &mut s.waiters, |s| s.set, deadline)
    }
}

impl sealed::Sealed for Event {
    fn enlist(&self, waiter: &Arc<Waiter>) -> bool {
        let mut state = self.state.lock();
        if !state.set {
            state.waiters.add(waiter);
        }
        !state.set
    }

    fn withdraw(&self, waiter: &Arc<Waiter>) {
        self.state.lock().waiters.give_up(waiter);
    }
}

impl Waitable for Event {
    fn is_ready(&self) -> bool {
        self.is_set()
    }
}
