//! A queue without room: who puts waits for who takes.

use super::queue::{Queue, RawQueue};

/// gevent's `Channel`: `put` waits until a `get` has taken the item. Everything else is as
/// with a [`Queue`].
///
/// ```
/// use gevent_runtime::api::{channel, spawn, PutError};
///
/// let channel = channel();
/// assert_eq!(channel.try_put("nobody waits"), Err(PutError::Full("nobody waits")));
/// let sender = spawn({ let channel = channel.clone(); move || channel.put("hello") });
/// assert_eq!(channel.get(), Ok("hello"));
/// assert_eq!(sender.get().unwrap(), Ok(()));
/// ```
pub type Channel<T> = Queue<T>;

/// Makes a [`Channel`].
pub fn channel<T>() -> Channel<T> {
    RawQueue::with_bound(0)
}
