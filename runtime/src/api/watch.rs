//! Watching the hub: whether code lets others run, and functions that look regularly.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use super::backend;
use super::event::Event;

/// A stretch of code kept the hub from its other greenlets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidSwitch {
    /// It ended without letting anybody run.
    NoSwitch,
    /// It took longer than allowed without a switch; so long.
    TooLong(Duration),
}

impl fmt::Display for InvalidSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidSwitch::NoSwitch => f.write_str("no switch took place"),
            InvalidSwitch::TooLong(span) => write!(f, "no switch took place for {span:?}"),
        }
    }
}

impl std::error::Error for InvalidSwitch {}

/// Runs `f` and sees whether it let other greenlets run: gevent's `assert_switches`. With
/// `longest` only a stretch without any switch that took longer counts. Without a hub the
/// kernel switches, and all is well. A preemption is a switch.
///
/// # Errors
/// [`InvalidSwitch`]; the value of `f` is lost.
///
/// ```
/// use gevent_runtime::api::assert_switches;
///
/// assert_eq!(assert_switches(None, || 1), Ok(1)); // no hub here
/// ```
pub fn assert_switches<T>(
    longest: Option<Duration>,
    f: impl FnOnce() -> T,
) -> Result<T, InvalidSwitch> {
    let stretch = Stretch::begin();
    let value = f();
    stretch.end(longest).map(|()| value)
}

/// A stretch of code from its beginning, on one thread: what [`assert_switches`] is made
/// of, for languages without closures.
#[derive(Debug, Clone, Copy)]
pub struct Stretch {
    switches: u64,
    begin: Instant,
}

impl Stretch {
    /// Begins one.
    pub fn begin() -> Self {
        Stretch {
            switches: backend::switches(),
            begin: Instant::now(),
        }
    }

    /// Ends it: as [`assert_switches`] judges it.
    ///
    /// # Errors
    /// [`InvalidSwitch`].
    pub fn end(self, longest: Option<Duration>) -> Result<(), InvalidSwitch> {
        let taken = self.begin.elapsed();
        if !backend::is_guest() || backend::switches() != self.switches {
            return Ok(());
        }
        match longest {
            None => Err(InvalidSwitch::NoSwitch),
            Some(longest) if taken > longest => Err(InvalidSwitch::TooLong(taken)),
            Some(_) => Ok(()),
        }
    }
}

/// A function that looks regularly, until this is dropped.
#[derive(Debug)]
#[must_use = "the function is called no more when this is dropped"]
pub struct Monitor {
    stop: Event,
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stop.set();
    }
}

impl super::Hub {
    /// Has a kernel thread call `f` every `period` (a millisecond at least) with the counts
    /// of the moment: gevent's `add_monitoring_function`. It is called also while a
    /// greenlet keeps the hub, and sees that by `switches`, which then stays the same.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn add_monitoring_function(
        self,
        period: Duration,
        mut f: impl FnMut(super::HubStatistics) + Send + 'static,
    ) -> io::Result<Monitor> {
        let stop = Event::new();
        let stopped = stop.clone();
        let period = period.max(Duration::from_millis(1));
        backend::kernel_thread(move || {
            while !stopped.wait_timeout(period) {
                f(self.statistics());
            }
        })?;
        Ok(Monitor { stop })
    }
}
