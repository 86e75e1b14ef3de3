//! A lock that its holder may take again.

use std::fmt;
use std::time::Duration;

use super::current::{self, Interrupted, deadline_in, process, raised};
use super::sync::{Arc, Lock};
use super::waiters::Waiters;
use super::waiting::wait_in;

#[derive(Debug, Default)]
struct State {
    /// Who holds it, by the id of its record; 0 if nobody does.
    owner: u64,
    count: usize,
    waiters: Waiters,
}

/// A lock that the greenlet or thread that holds it may take again, and gives back as
/// often. First come first served. Clones are the same lock. Any thread.
///
/// If its holder ends without giving it back it stays taken for ever, as in gevent;
/// [`RLock::hold`] can't forget.
///
/// ```
/// use gevent_runtime::api::{NotOwner, RLock};
///
/// let lock = RLock::new();
/// let held = lock.hold();
/// assert!(lock.try_acquire());
/// lock.release().unwrap();
/// drop(held);
/// assert_eq!(lock.release(), Err(NotOwner));
/// ```
#[derive(Debug, Clone, Default)]
pub struct RLock {
    state: Arc<Lock<State>>,
}

impl RLock {
    /// A lock that nobody has.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the lock; waits for it if another has it.
    ///
    /// A wait: a kill or a [`Timeout`](super::Timeout) unwinds from here.
    pub fn acquire(&self) {
        raised(self.acquire_until(None));
    }

    /// Takes the lock; waits `span` at most. Whether it got it.
    pub fn acquire_timeout(&self, span: Duration) -> bool {
        raised(self.acquire_until(deadline_in(Some(span))))
    }

    /// Takes the lock if nobody else has it.
    pub fn try_acquire(&self) -> bool {
        take(&mut self.state.lock(), current::with(|c| c.id))
    }

    pub(super) fn acquire_until(&self, deadline: Option<u64>) -> Result<bool, Interrupted> {
        let id = current::with(|current| current.id);
        let got = wait_in(
            &self.state,
            |s| &mut s.waiters,
            |state| take(state, id),
            deadline,
        )?;
        if got {
            // Handed over, or taken at once: the same either way.
            self.state.lock().owner = id;
        }
        Ok(got)
    }

    /// Gives the lock back once.
    ///
    /// # Errors
    /// [`NotOwner`] if the caller does not have it; nothing happens then.
    pub fn release(&self) -> Result<(), NotOwner> {
        let id = current::with(|current| current.id);
        let mut state = self.state.lock();
        if state.owner != id || state.count == 0 {
            return Err(NotOwner);
        }
        state.count -= 1;
        if state.count == 0 {
            state.owner = 0;
            if state.waiters.notify_one(process()) {
                // Its new holder's: nobody else may take it meanwhile.
                state.count = 1;
            }
        }
        Ok(())
    }

    /// Takes the lock until the result is dropped.
    #[must_use = "the lock is given back when this is dropped"]
    pub fn hold(&self) -> RLockHeld<'_> {
        self.acquire();
        RLockHeld {
            lock: self,
            _here: std::marker::PhantomData,
        }
    }

    /// Whether anybody has it.
    pub fn locked(&self) -> bool {
        self.state.lock().count > 0
    }
}

fn take(state: &mut State, id: u64) -> bool {
    let may = state.count == 0 || state.owner == id;
    if may {
        state.owner = id;
        state.count += 1;
    }
    may
}

/// The lock, taken once, given back when this is dropped.
#[derive(Debug)]
pub struct RLockHeld<'a> {
    lock: &'a RLock,
    /// The lock is this thread's.
    _here: std::marker::PhantomData<*const ()>,
}

impl Drop for RLockHeld<'_> {
    fn drop(&mut self) {
        // It fails only where the program gave it back more often than it took it.
        let _ = self.lock.release();
    }
}

/// The caller does not hold the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotOwner;

impl fmt::Display for NotOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the lock is not held by the caller")
    }
}

impl std::error::Error for NotOwner {}
