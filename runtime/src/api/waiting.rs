//! Waiting in the queue of an object.

use super::current::{Interrupted, Wake, waiter, with};
use super::sync::Lock;
use super::waiters::Waiters;

/// Waits in a queue that lies behind `lock`.
///
/// `attempt` looks whether there is need to wait, under the lock; if it answers `None`
/// the caller is queued, and the answer is what `Ready` means for it. True: it was let
/// go (or `attempt` was satisfied), false: its time was up.
pub(super) fn wait_in<S>(
    lock: &Lock<S>,
    queue: impl Fn(&mut S) -> &mut Waiters,
    satisfied: impl FnOnce(&mut S) -> bool,
    deadline: Option<u64>,
) -> Result<bool, Interrupted> {
    let mut state = lock.lock();
    if satisfied(&mut state) {
        return Ok(true);
    }
    with(|current| {
        let waiter = waiter(current);
        queue(&mut state).add(&waiter);
        drop(state);
        let outcome = current.block(&waiter, deadline);
        if matches!(outcome, Ok(Wake::Ready)) || !queue(&mut lock.lock()).give_up(&waiter) {
            return Ok(true);
        }
        outcome.map(|_| false)
    })
}

/// As [`wait_in`] without a limit of time, and nothing interrupts it.
pub(super) fn wait_surely<S>(
    lock: &Lock<S>,
    queue: impl Fn(&mut S) -> &mut Waiters,
    satisfied: impl FnOnce(&mut S) -> bool,
) {
    let mut state = lock.lock();
    if satisfied(&mut state) {
        return;
    }
    with(|current| {
        let waiter = waiter(current);
        queue(&mut state).add(&waiter);
        drop(state);
        let never: Result<(), std::convert::Infallible> =
            current.sleep_until(|| waiter.is_notified(), |_| Ok(None));
        let Ok(()) = never;
    });
}
