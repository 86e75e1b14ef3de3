//! Semaphores, first come first served.

use std::fmt;
use std::time::Duration;

use super::current::{Interrupted, deadline_in, process, raised};
use super::sync::{Arc, Lock};
use super::units::Units;
use super::waiting::wait_in;

/// A number of units that are taken and given back. A unit that is given back goes to
/// the one that waits longest, so nobody overtakes. Clones are the same semaphore. Any
/// thread; a unit may be given back by another thread than the one that took it.
///
/// ```
/// use gevent_runtime::api::Semaphore;
///
/// let semaphore = Semaphore::new(1);
/// let held = semaphore.hold();
/// assert!(!semaphore.try_acquire());
/// drop(held);
/// assert!(semaphore.try_acquire());
/// ```
#[derive(Debug, Clone)]
pub struct Semaphore {
    units: Arc<Lock<Units>>,
}

impl Default for Semaphore {
    /// With one unit, as gevent's.
    fn default() -> Self {
        Self::new(1)
    }
}

impl Semaphore {
    /// With `units` units at first; 0 is allowed: the first `acquire` then waits for a
    /// `release`.
    pub fn new(units: usize) -> Self {
        Semaphore {
            units: Arc::new(Lock::new(Units::new(units))),
        }
    }

    /// Takes a unit; waits for it if there is none.
    ///
    /// A wait: a kill or a [`Timeout`](super::Timeout) unwinds from here, and takes none.
    pub fn acquire(&self) {
        raised(self.acquire_until(None));
    }

    /// Takes a unit; waits `span` at most. Whether it got one.
    pub fn acquire_timeout(&self, span: Duration) -> bool {
        raised(self.acquire_until(deadline_in(Some(span))))
    }

    /// Takes a unit if there is one.
    pub fn try_acquire(&self) -> bool {
        self.units.lock().take()
    }

    pub(super) fn acquire_until(&self, deadline: Option<u64>) -> Result<bool, Interrupted> {
        wait_in(&self.units, |u| &mut u.waiters, Units::take, deadline)
    }

    /// Gives a unit back, or adds one.
    pub fn release(&self) {
        self.units.lock().give(process());
    }

    /// Takes a unit until the result is dropped.
    #[must_use = "the unit is given back when this is dropped"]
    pub fn hold(&self) -> Held<'_> {
        self.acquire();
        Held { semaphore: self }
    }

    /// Units that nobody has.
    pub fn counter(&self) -> usize {
        self.units.lock().free()
    }

    /// Whether `acquire` would wait.
    pub fn locked(&self) -> bool {
        self.counter() == 0
    }

    /// How many wait for a unit.
    pub fn waiting(&self) -> usize {
        self.units.lock().waiters.len(process())
    }
}

/// A unit of a semaphore, given back when it is dropped.
#[derive(Debug)]
pub struct Held<'a> {
    semaphore: &'a Semaphore,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.semaphore.release();
    }
}

/// A [`Semaphore`] that never has more units than it had at first.
///
/// ```
/// use gevent_runtime::api::{BoundedSemaphore, OverReleased};
///
/// assert_eq!(BoundedSemaphore::new(1).release(), Err(OverReleased));
/// ```
#[derive(Debug, Clone)]
pub struct BoundedSemaphore {
    inner: Semaphore,
    bound: usize,
}

impl Default for BoundedSemaphore {
    fn default() -> Self {
        Self::new(1)
    }
}

impl BoundedSemaphore {
    /// With `units` units at first and at most; with 0 nobody ever gets one.
    pub fn new(units: usize) -> Self {
        BoundedSemaphore {
            inner: Semaphore::new(units),
            bound: units,
        }
    }

    /// As [`Semaphore::acquire`].
    pub fn acquire(&self) {
        self.inner.acquire();
    }

    /// As [`Semaphore::acquire_timeout`].
    pub fn acquire_timeout(&self, span: Duration) -> bool {
        self.inner.acquire_timeout(span)
    }

    /// As [`Semaphore::try_acquire`].
    pub fn try_acquire(&self) -> bool {
        self.inner.try_acquire()
    }

    /// Gives a unit back.
    ///
    /// # Errors
    /// [`OverReleased`] if none is out; nothing happens then.
    pub fn release(&self) -> Result<(), OverReleased> {
        let mut units = self.inner.units.lock();
        if units.free() >= self.bound {
            return Err(OverReleased);
        }
        units.give(process());
        Ok(())
    }

    /// As [`Semaphore::hold`].
    #[must_use = "the unit is given back when this is dropped"]
    pub fn hold(&self) -> Held<'_> {
        self.inner.hold()
    }

    /// As [`Semaphore::counter`].
    pub fn counter(&self) -> usize {
        self.inner.counter()
    }

    /// As [`Semaphore::locked`].
    pub fn locked(&self) -> bool {
        self.inner.locked()
    }

    /// As [`Semaphore::waiting`].
    pub fn waiting(&self) -> usize {
        self.inner.waiting()
    }
}

/// A unit was given back that nobody had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverReleased;

impl fmt::Display for OverReleased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("released too many times")
    }
}

impl std::error::Error for OverReleased {}
