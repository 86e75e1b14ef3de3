//! Queues: first in first out, by priority, last in first out; with or without a bound.
//!
//! Items are handed over: a `put` gives its item to the `get` that waits longest, and a
//! `get` from a full queue lets in the item of the `put` that waits longest. So nobody
//! overtakes, and a wait that is killed or too late has either happened or not.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;
use std::time::Duration;

use super::current::{self, Current, Interrupted, Wake, deadline_in, process, raised, waiter};
use super::error::InvalidSize;
use super::sync::{Arc, Lock};
use super::waiters::{Waiter, Waiters};
use super::waiting::wait_in;

/// How a queue orders its items.
pub trait Store<T>: Default {
    /// Adds an item.
    fn push(&mut self, item: T);
    /// Takes the next item.
    fn pop(&mut self) -> Option<T>;
    /// The next item.
    fn first(&self) -> Option<&T>;
    /// Number of items.
    fn len(&self) -> usize;
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Store<T> for VecDeque<T> {
    fn push(&mut self, item: T) {
        self.push_back(item);
    }
    fn pop(&mut self) -> Option<T> {
        self.pop_front()
    }
    fn first(&self) -> Option<&T> {
        self.front()
    }
    fn len(&self) -> usize {
        self.len()
    }
}

/// The order of a [`LifoQueue`].
#[derive(Debug)]
pub struct Stack<T>(Vec<T>);

impl<T> Default for Stack<T> {
    fn default() -> Self {
        Stack(Vec::new())
    }
}

impl<T> Store<T> for Stack<T> {
    fn push(&mut self, item: T) {
        self.0.push(item);
    }
    fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }
    fn first(&self) -> Option<&T> {
        self.0.last()
    }
    fn len(&self) -> usize {
        self.0.len()
    }
}

/// The order of a [`PriorityQueue`]: the smallest first, equal ones in any order.
#[derive(Debug)]
pub struct Heap<T>(BinaryHeap<Reverse<T>>);

impl<T: Ord> Default for Heap<T> {
    fn default() -> Self {
        Heap(BinaryHeap::new())
    }
}

impl<T: Ord> Store<T> for Heap<T> {
    fn push(&mut self, item: T) {
        self.0.push(Reverse(item));
    }
    fn pop(&mut self) -> Option<T> {
        self.0.pop().map(|Reverse(item)| item)
    }
    fn first(&self) -> Option<&T> {
        self.0.peek().map(|Reverse(item)| item)
    }
    fn len(&self) -> usize {
        self.0.len()
    }
}

/// Why an item was not put, and the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutError<T> {
    /// No room, at once or within the time given.
    Full(T),
    /// The queue was shut down.
    ShutDown(T),
}

impl<T> PutError<T> {
    /// The item.
    pub fn into_inner(self) -> T {
        match self {
            PutError::Full(item) | PutError::ShutDown(item) => item,
        }
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PutError::Full(_) => "the queue is full",
            PutError::ShutDown(_) => "the queue is shut down",
        })
    }
}

impl<T: fmt::Debug> std::error::Error for PutError<T> {}

/// Why there is no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// No item, at once or within the time given.
    Empty,
    /// The queue was shut down, and nothing is left in it.
    ShutDown,
}

impl fmt::Display for Empty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Empty::Empty => "the queue is empty",
            Empty::ShutDown => "the queue is shut down",
        })
    }
}

impl std::error::Error for Empty {}

/// `task_done` was called more often than items were put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyDone;

impl fmt::Display for TooManyDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("task_done was called more often than items were put")
    }
}

impl std::error::Error for TooManyDone {}

/// One `get` or `put` that waits: the place of its item.
struct Party<T> {
    waiter: Arc<Waiter>,
    place: Arc<Lock<Option<T>>>,
}

struct State<T, S> {
    store: S,
    /// Items that the store holds at most.
    bound: usize,
    /// While these wait the store is empty. Their places are empty too.
    getters: VecDeque<Party<T>>,
    /// While these wait the store is full. Their places have their items.
    putters: VecDeque<Party<T>>,
    shut_down: bool,
    /// Items put and not reported as done.
    unfinished: usize,
    joiners: Waiters,
}

/// A queue of `T` in the order of `S`: see [`Queue`], [`PriorityQueue`], [`LifoQueue`],
/// [`Channel`](super::Channel). Clones are the same queue. Any thread.
pub struct RawQueue<T, S> {
    state: Arc<Lock<State<T, S>>>,
}

/// First in, first out. gevent's `Queue`, and with [`task_done`](RawQueue::task_done) and
/// [`join`](RawQueue::join) its `JoinableQueue`.
///
/// ```
/// use gevent_runtime::api::{spawn, Queue};
///
/// let queue = Queue::unbounded();
/// let consumer = spawn({ let queue = queue.clone(); move || queue.iter().sum::<i32>() });
/// for n in [1, 2, 3] {
///     queue.put(n).unwrap();
/// }
/// queue.shutdown(false); // what is in it is still delivered; then iteration ends
/// assert_eq!(consumer.get().unwrap(), 6);
/// ```
pub type Queue<T> = RawQueue<T, VecDeque<T>>;

/// As [`Queue`]: every queue here counts its unfinished items.
///
/// ```
/// use gevent_runtime::api::{spawn, JoinableQueue, TooManyDone};
///
/// let queue = JoinableQueue::unbounded();
/// queue.put("work").unwrap();
/// let worker = spawn({ let queue = queue.clone(); move || { queue.get().unwrap(); queue.task_done() } });
/// queue.join(); // until as many are done as were put
/// assert_eq!(worker.get().unwrap(), Ok(()));
/// assert_eq!(queue.task_done(), Err(TooManyDone));
/// ```
pub type JoinableQueue<T> = Queue<T>;

/// Smallest first.
///
/// ```
/// use gevent_runtime::api::PriorityQueue;
///
/// let queue = PriorityQueue::unbounded();
/// for n in [3, 1, 2] {
///     queue.put(n).unwrap();
/// }
/// queue.shutdown(false);
/// assert!(queue.iter().eq([1, 2, 3]));
/// ```
pub type PriorityQueue<T> = RawQueue<T, Heap<T>>;

/// Last in, first out.
///
/// ```
/// use gevent_runtime::api::LifoQueue;
///
/// let queue = LifoQueue::unbounded();
/// queue.put(1).unwrap();
/// queue.put(2).unwrap();
/// assert_eq!(queue.get(), Ok(2));
/// ```
pub type LifoQueue<T> = RawQueue<T, Stack<T>>;

impl<T, S> Clone for RawQueue<T, S> {
    fn clone(&self) -> Self {
        RawQueue {
            state: Arc::clone(&self.state),
        }
    }
}

impl<T, S: Store<T>> fmt::Debug for RawQueue<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Queue of {} items>", self.len())
    }
}

impl<T, S: Store<T>> RawQueue<T, S> {
    pub(super) fn with_bound(bound: usize) -> Self {
        RawQueue {
            state: Arc::new(Lock::new(State {
                store: S::default(),
                bound,
                getters: VecDeque::new(),
                putters: VecDeque::new(),
                shut_down: false,
                unfinished: 0,
                joiners: Waiters::new(),
            })),
        }
    }

    /// A queue that always has room.
    pub fn unbounded() -> Self {
        Self::with_bound(usize::MAX)
    }

    /// A queue that holds `bound` items at most.
    ///
    /// # Errors
    /// [`InvalidSize`] for 0: that is a [`Channel`](super::Channel).
    pub fn bounded(bound: usize) -> Result<Self, InvalidSize> {
        if bound == 0 {
            return Err(InvalidSize);
        }
        Ok(Self::with_bound(bound))
    }

    /// Puts an item; waits for room.
    ///
    /// A wait: a kill or a [`Timeout`](super::Timeout) unwinds from here, and the item is
    /// dropped.
    ///
    /// # Errors
    /// [`PutError::ShutDown`], also if that happens during the wait.
    pub fn put(&self, item: T) -> Result<(), PutError<T>> {
        raised(self.put_until(item, None))
    }

    /// As [`put`](Self::put), waiting `span` at most.
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`PutError::Full`].
    pub fn put_timeout(&self, item: T, span: Duration) -> Result<(), PutError<T>> {
        raised(self.put_until(item, deadline_in(Some(span))))
    }

    /// As [`put`](Self::put), without a wait.
    ///
    /// # Errors
    /// As [`put_timeout`](Self::put_timeout).
    pub fn try_put(&self, item: T) -> Result<(), PutError<T>> {
        self.state.lock().put(item)
    }

    pub(super) fn put_until(
        &self,
        item: T,
        deadline: Option<u64>,
    ) -> Result<Result<(), PutError<T>>, Interrupted> {
        let mut state = self.state.lock();
        let item = match state.put(item) {
            Err(PutError::Full(item)) => item,
            outcome => return Ok(outcome),
        };
        current::with(|current| {
            let party = Party::new(current, Some(item));
            let (waiter, place) = (Arc::clone(&party.waiter), Arc::clone(&party.place));
            state.putters.push_back(party);
            drop(state);
            let outcome = current.block(&waiter, deadline);
            let mut state = self.state.lock();
            if !waiter.is_notified() {
                state.putters.retain(|p| !Arc::ptr_eq(&p.waiter, &waiter));
            }
            // Whoever let it go took the item, or left it because of a shutdown.
            let Some(item) = place.lock().take() else {
                return Ok(Ok(()));
            };
            let shut_down = state.shut_down;
            drop(state);
            match outcome {
                _ if shut_down => Ok(Err(PutError::ShutDown(item))),
                Ok(_) => Ok(Err(PutError::Full(item))),
                Err(interrupted) => Err(interrupted),
            }
        })
    }

    /// Takes an item; waits for one.
    ///
    /// A wait: a kill or a [`Timeout`](super::Timeout) unwinds from here.
    ///
    /// # Errors
    /// [`Empty::ShutDown`], also if that happens during the wait.
    pub fn get(&self) -> Result<T, Empty> {
        raised(self.get_until(None))
    }

    /// As [`get`](Self::get), waiting `span` at most.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`Empty::Empty`].
    pub fn get_timeout(&self, span: Duration) -> Result<T, Empty> {
        raised(self.get_until(deadline_in(Some(span))))
    }

    /// As [`get`](Self::get), without a wait.
    ///
    /// # Errors
    /// As [`get_timeout`](Self::get_timeout).
    pub fn try_get(&self) -> Result<T, Empty> {
        self.state.lock().get()
    }

    pub(super) fn get_until(&self, deadline: Option<u64>) -> Result<Result<T, Empty>, Interrupted> {
        let mut state = self.state.lock();
        match state.get() {
            Err(Empty::Empty) => {}
            outcome => return Ok(outcome),
        }
        current::with(|current| {
            let party = Party::new(current, None);
            let (waiter, place) = (Arc::clone(&party.waiter), Arc::clone(&party.place));
            state.getters.push_back(party);
            drop(state);
            let outcome = current.block(&waiter, deadline);
            let mut state = self.state.lock();
            if !waiter.is_notified() {
                state.getters.retain(|g| !Arc::ptr_eq(&g.waiter, &waiter));
            }
            if let Some(item) = place.lock().take() {
                return Ok(Ok(item));
            }
            match outcome {
                Err(interrupted) => Err(interrupted),
                Ok(Wake::Ready) => Ok(Err(Empty::ShutDown)),
                Ok(Wake::TimedOut) => Ok(Err(Empty::Empty)),
            }
        })
    }

    /// The item that `get` would take, which stays in the queue.
    pub fn peek(&self) -> Option<T>
    where
        T: Clone,
    {
        let state = self.state.lock();
        match state.store.first() {
            Some(item) => Some(item.clone()),
            None => state
                .putters
                .iter()
                .find(|p| p.waiter.is_of(process()))
                .and_then(|p| p.place.lock().clone()),
        }
    }

    /// Items in the queue.
    pub fn len(&self) -> usize {
        self.state.lock().store.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `put` would wait.
    pub fn is_full(&self) -> bool {
        let state = self.state.lock();
        state.store.len() >= state.bound
    }

    /// Ends the queue: each `put` fails from now on, each `get` once nothing is left. With
    /// `immediate` what is in it is dropped and counts as done. Whoever waits is let go.
    /// A second time only `immediate` has an effect.
    pub fn shutdown(&self, immediate: bool) {
        let mut state = self.state.lock();
        state.shut_down = true;
        let mut dropped = Vec::new();
        if immediate {
            while let Some(item) = state.store.pop() {
                dropped.push(item);
            }
            state.unfinished = state.unfinished.saturating_sub(dropped.len());
            if state.unfinished == 0 {
                state.joiners.notify_all(process());
            }
        }
        for party in state.getters.drain(..) {
            party.waiter.notify();
        }
        for party in state.putters.drain(..) {
            party.waiter.notify();
        }
        drop(state);
        // Their destructors may use this queue.
        drop(dropped);
    }

    /// Whether it was shut down.
    pub fn is_shut_down(&self) -> bool {
        self.state.lock().shut_down
    }

    /// An item that was taken has been dealt with.
    ///
    /// # Errors
    /// [`TooManyDone`]; nothing happens then.
    pub fn task_done(&self) -> Result<(), TooManyDone> {
        let mut state = self.state.lock();
        if state.unfinished == 0 {
            return Err(TooManyDone);
        }
        state.unfinished -= 1;
        if state.unfinished == 0 {
            state.joiners.notify_all(process());
        }
        Ok(())
    }

    /// Items that were put and not reported with [`task_done`](Self::task_done).
    pub fn unfinished(&self) -> usize {
        self.state.lock().unfinished
    }

    /// Waits until every item that was put has been reported with `task_done`.
    pub fn join(&self) {
        raised(self.join_until(None));
    }

    /// As [`join`](Self::join), `span` at most. Whether all are done.
    pub fn join_timeout(&self, span: Duration) -> bool {
        raised(self.join_until(deadline_in(Some(span))))
    }

    pub(super) fn join_until(&self, deadline: Option<u64>) -> Result<bool, Interrupted> {
        wait_in(
            &self.state,
            |s| &mut s.joiners,
            |s| s.unfinished == 0,
            deadline,
        )
    }

    /// Items as `get` takes them, until the queue is shut down and empty.
    pub fn iter(&self) -> Iter<'_, T, S> {
        Iter { queue: self }
    }
}

/// See [`RawQueue::iter`].
#[derive(Debug)]
pub struct Iter<'a, T, S: Store<T>> {
    queue: &'a RawQueue<T, S>,
}

impl<T, S: Store<T>> Iterator for Iter<'_, T, S> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.queue.get().ok()
    }
}

impl<'a, T, S: Store<T>> IntoIterator for &'a RawQueue<T, S> {
    type Item = T;
    type IntoIter = Iter<'a, T, S>;

    fn into_iter(self) -> Iter<'a, T, S> {
        self.iter()
    }
}

impl<T> Party<T> {
    fn new(current: &Current, item: Option<T>) -> Self {
        Party {
            waiter: waiter(current),
            place: Arc::new(Lock::new(item)),
        }
    }
}

/// The first of a process's own parties.
fn next<T>(parties: &mut VecDeque<Party<T>>) -> Option<Party<T>> {
    loop {
        let party = parties.pop_front()?;
        if party.waiter.is_of(process()) {
            return Some(party);
        }
    }
}

impl<T, S: Store<T>> State<T, S> {
    /// Puts an item if nobody has to wait for it.
    fn put(&mut self, item: T) -> Result<(), PutError<T>> {
        if self.shut_down {
            return Err(PutError::ShutDown(item));
        }
        if let Some(getter) = next(&mut self.getters) {
            *getter.place.lock() = Some(item);
            getter.waiter.notify();
        } else if self.store.len() < self.bound {
            self.store.push(item);
        } else {
            return Err(PutError::Full(item));
        }
        self.unfinished += 1;
        Ok(())
    }

    /// Takes an item if there is one.
    fn get(&mut self) -> Result<T, Empty> {
        let mut item = self.store.pop();
        // There is room for one more.
        if let Some(putter) = next(&mut self.putters) {
            if let Some(theirs) = putter.place.lock().take() {
                self.unfinished += 1;
                match item {
                    None => item = Some(theirs),
                    Some(_) => self.store.push(theirs),
                }
            }
            putter.waiter.notify();
        }
        item.ok_or(if self.shut_down {
            Empty::ShutDown
        } else {
            Empty::Empty
        })
    }
}
