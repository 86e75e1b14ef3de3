//! Waiting for several things at once.

use std::collections::VecDeque;
use std::time::Duration;

use super::backend;
use super::current::{self, Interrupted, Wake, deadline_in, process, raised, tagged_waiter};
use super::error::GreenletExit;
use super::greenlet::{AnyGreenlet, Wait};
use super::sync::{Arc, Lock};
use super::waiters::{Ready, Waiter, Waiters};
use super::waiting::wait_in;

pub(super) mod sealed {
    use super::{Arc, Waiter};

    /// What the library's own objects can do with a waiter.
    pub trait Sealed {
        /// Queues a waiter. False: there is nothing to wait for.
        #[doc(hidden)]
        fn enlist(&self, waiter: &Arc<Waiter>) -> bool;

        /// Takes a waiter out again.
        #[doc(hidden)]
        fn withdraw(&self, waiter: &Arc<Waiter>);
    }
}

/// Something that becomes ready once: a greenlet, an [`Event`](super::Event), an
/// [`AsyncResult`](super::AsyncResult).
pub trait Waitable: sealed::Sealed {
    /// Whether it is ready.
    fn is_ready(&self) -> bool;
}

/// Waits for all of them, `timeout` at most if there is one. Those that are ready, in the
/// order in which they became so.
///
/// ```
/// use std::time::Duration;
/// use gevent_runtime::api::{joinall, spawn};
///
/// let greenlets: Vec<_> = (0..3).map(|n| spawn(move || n)).collect();
/// assert_eq!(joinall(&greenlets, Some(Duration::from_secs(60))).len(), 3);
/// ```
pub fn joinall<W: Waitable + Clone>(objects: &[W], timeout: Option<Duration>) -> Vec<W> {
    wait(objects, timeout, None)
}

/// Waits for `count` of them, or for all of them if there is no count; `timeout` at most if
/// there is one. Those that are ready, in the order in which they became so.
pub fn wait<W: Waitable + Clone>(
    objects: &[W],
    timeout: Option<Duration>,
    count: Option<usize>,
) -> Vec<W> {
    iwait(objects, timeout, count).collect()
}

/// As [`wait`], one after the other as they become ready. What is left when the iterator
/// is dropped is waited for no more.
///
/// ```
/// use std::time::Duration;
/// use gevent_runtime::api::{iwait, spawn_later};
///
/// let slow = spawn_later(Duration::from_secs(60), || 1);
/// let fast = spawn_later(Duration::from_millis(1), || 2);
/// let first = iwait(&[slow, fast], None, Some(1)).next().unwrap();
/// assert_eq!(first.get().unwrap(), 2);
/// ```
pub fn iwait<W: Waitable + Clone>(
    objects: &[W],
    timeout: Option<Duration>,
    count: Option<usize>,
) -> IWait<W> {
    let ready: Ready = Arc::new(Lock::new(VecDeque::new()));
    let pending = current::with(|current| {
        let each = objects.iter().enumerate();
        each.map(|(index, object)| {
            let waiter = tagged_waiter(current, &ready, index);
            if !object.enlist(&waiter) {
                ready.lock().push_back(index);
            }
            Some((object.clone(), waiter))
        })
        .collect()
    });
    IWait {
        pending,
        ready,
        left: count.unwrap_or(objects.len()).min(objects.len()),
        deadline: deadline_in(timeout),
    }
}

/// What [`iwait`] returns.
#[derive(Debug)]
pub struct IWait<W: Waitable> {
    pending: Vec<Option<(W, Arc<Waiter>)>>,
    ready: Ready,
    left: usize,
    deadline: Option<u64>,
}

impl<W: Waitable> IWait<W> {
    /// As [`next`](Iterator::next), the index of the object in what [`iwait`] was given.
    ///
    /// A wait: a kill or a [`Timeout`](super::Timeout) unwinds from here.
    pub fn next_index(&mut self) -> Option<usize> {
        raised(self.advance()).map(|(index, _)| index)
    }

    /// The next one that is ready; `None` at the end, or when the time is up.
    fn advance(&mut self) -> Result<Option<(usize, W)>, Interrupted> {
        if self.left == 0 {
            return Ok(None);
        }
        loop {
            let index = self.ready.lock().pop_front();
            if let Some(index) = index {
                let Some((object, _)) = self.pending[index].take() else {
                    continue;
                };
                self.left -= 1;
                return Ok(Some((index, object)));
            }
            let any = || !self.ready.lock().is_empty();
            let wake = current::with(|current| current.block_until(self.deadline, any))?;
            if wake == Wake::TimedOut {
                self.left = 0;
                return Ok(None);
            }
        }
    }
}

impl<W: Waitable> Iterator for IWait<W> {
    type Item = W;

    fn next(&mut self) -> Option<W> {
        raised(self.advance()).map(|(_, object)| object)
    }
}

impl<W: Waitable> Drop for IWait<W> {
    fn drop(&mut self) {
        for (object, waiter) in self.pending.iter().flatten() {
            object.withdraw(waiter);
        }
    }
}

/// Kills all of them and waits until they have ended, `timeout` at most if there is one.
/// True: all have.
///
/// ```
/// use std::time::Duration;
/// use gevent_runtime::api::{killall, sleep, spawn};
///
/// let sleepers: Vec<_> = (0..3)
///     .map(|_| spawn(|| sleep(Duration::from_secs(60))).as_any())
///     .collect();
/// assert!(killall(&sleepers, None));
/// ```
pub fn killall(greenlets: &[AnyGreenlet], timeout: Option<Duration>) -> bool {
    killall_with(
        greenlets,
        || Box::new(GreenletExit),
        timeout.map_or(Wait::Forever, Wait::For),
    )
}

/// As [`killall`], with the payload that `exception` makes for each, and with a choice of
/// how long to wait. True: all have ended.
pub fn killall_with(
    greenlets: &[AnyGreenlet],
    mut exception: impl FnMut() -> Box<dyn std::any::Any + Send>,
    wait: Wait,
) -> bool {
    let mut own = None;
    for greenlet in greenlets {
        if greenlet.shared.is_current() {
            own = Some(greenlet);
        } else if !greenlet.ready() {
            greenlet.shared.throw(exception());
        }
    }
    if let Some(own) = own {
        // It unwinds from here, and so comes last.
        raised(own.kill_boxed(exception(), Wait::No));
    }
    match wait {
        Wait::No => {}
        Wait::Forever => drop(joinall(greenlets, None)),
        Wait::For(span) => drop(joinall(greenlets, Some(span))),
    }
    greenlets.iter().all(AnyGreenlet::ready)
}

static ALL: Lock<Waiters> = Lock::new(Waiters::new());

/// The last greenlet has ended.
pub(super) fn all_ended() {
    ALL.lock().notify_all(process());
}

/// Waits until no greenlet is left, `timeout` at most if there is one: gevent's `wait`
/// without objects. Called by a greenlet it waits for that one too. Whether none is left.
pub fn wait_all(timeout: Option<Duration>) -> bool {
    raised(wait_all_until(deadline_in(timeout)))
}

pub(super) fn wait_all_until(deadline: Option<u64>) -> Result<bool, Interrupted> {
    loop {
        let woken = wait_in(&ALL, |all| all, |_| backend::live() == 0, deadline)?;
        if !woken || backend::live() == 0 {
            return Ok(woken);
        }
    }
}
