//! Who waits for an object, first come first served.
//!
//! # Synchronization
//! A queue lies behind the lock of its object. A waiter's state goes from `WAITING` to
//! `NOTIFIED` under that lock, by whoever lets it go, or to `GONE` under it, by the
//! waiter itself. So a waiter that gave up (its time was up, it was killed) knows for
//! certain whether it was let go before: then it has what it waited for, and keeps it.
//! The state is read without the lock by its own thread alone; what was written before
//! `NOTIFIED` is published with it.

use std::collections::VecDeque;

use super::sync::{Arc, AtomicU32, Lock, Ordering, Parker, now};

const WAITING: u32 = 0;
const NOTIFIED: u32 = 1;
const GONE: u32 = 2;

/// Entries that may be `GONE` before the queue is swept.
const SWEEP: usize = 32;

/// Where a waiter for several objects learns which of them let it go.
pub(super) type Ready = Arc<Lock<VecDeque<usize>>>;

/// One wait of one thread for one object.
#[derive(Debug)]
pub struct Waiter {
    state: AtomicU32,
    parker: Arc<Parker>,
    /// The process it was made in: a forked child has the caller's waiters alone.
    process: u32,
    /// For who waits for several: where to tell, and what.
    tag: Option<(Ready, usize)>,
}

impl Waiter {
    pub(super) fn new(parker: &Arc<Parker>, process: u32) -> Arc<Self> {
        Arc::new(Waiter {
            state: AtomicU32::new(WAITING),
            parker: Arc::clone(parker),
            process,
            tag: None,
        })
    }

    pub(super) fn tagged(
        parker: &Arc<Parker>,
        process: u32,
        ready: &Ready,
        tag: usize,
    ) -> Arc<Self> {
        Arc::new(Waiter {
            state: AtomicU32::new(WAITING),
            parker: Arc::clone(parker),
            process,
            tag: Some((Arc::clone(ready), tag)),
        })
    }

    /// Whether it was let go.
    pub(super) fn is_notified(&self) -> bool {
        self.state.load(Ordering::Acquire) == NOTIFIED
    }

    /// Whether it was made in this process.
    pub(super) fn is_of(&self, process: u32) -> bool {
        self.process == process
    }

    /// Lets it go. Under the lock of its queue, which it was taken out of.
    pub(super) fn notify(&self) {
        self.state.store(NOTIFIED, Ordering::Release);
        if let Some((ready, tag)) = &self.tag {
            ready.lock().push_back(*tag);
        }
        self.parker.unpark();
    }
}

/// Has the owner of `parker` sleep until `done`; whoever brings that about unparks it.
/// `stop` says for the time that it is, in nanoseconds of CLOCK_MONOTONIC, that the sleep
/// must end, or else until when it may last.
pub(super) fn sleep_until<S>(
    parker: &Parker,
    done: impl Fn() -> bool,
    mut stop: impl FnMut(u64) -> Result<Option<u64>, S>,
) -> Result<(), S> {
    while !done() {
        let deadline = stop(now())?;
        parker.park(deadline);
    }
    Ok(())
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    queue: VecDeque<Arc<Waiter>>,
    gone: usize,
}

impl Waiters {
    pub(super) const fn new() -> Self {
        Waiters {
            queue: VecDeque::new(),
            gone: 0,
        }
    }

    /// Puts a waiter at the end.
    pub(super) fn add(&mut self, waiter: &Arc<Waiter>) {
        self.queue.push_back(Arc::clone(waiter));
    }

    /// Lets the first one of this process go. False: nobody waits.
    pub(super) fn notify_one(&mut self, process: u32) -> bool {
        while let Some(waiter) = self.queue.pop_front() {
            if waiter.state.load(Ordering::Relaxed) == GONE {
                self.gone -= 1;
            } else if waiter.process == process {
                waiter.notify();
                return true;
            }
        }
        false
    }

    /// Lets all go, in their order.
    pub(super) fn notify_all(&mut self, process: u32) {
        while self.notify_one(process) {}
    }

    /// Takes a waiter out that gave up. False: it was let go before.
    pub(super) fn give_up(&mut self, waiter: &Waiter) -> bool {
        if waiter.is_notified() {
            return false;
        }
        waiter.state.store(GONE, Ordering::Relaxed);
        self.gone += 1;
        if self.gone >= SWEEP && self.gone * 2 > self.queue.len() {
            self.queue
                .retain(|waiter| waiter.state.load(Ordering::Relaxed) != GONE);
            self.gone = 0;
        }
        true
    }

    /// How many wait.
    pub(super) fn len(&self, process: u32) -> usize {
        self.queue
            .iter()
            .filter(|w| w.process == process && w.state.load(Ordering::Relaxed) == WAITING)
            .count()
    }
}
