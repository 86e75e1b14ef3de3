//! A group with a limit, and functions over many items in it.

use std::io;
use std::panic::Location;
use std::time::Duration;

use super::current::{Interrupted, deadline_in, raised};
use super::error::{Exception, GetError, InvalidSize};
use super::greenlet::{AnyGreenlet, Greenlet, Wait};
use super::group::{Group, Membership, Place};
use super::semaphore::Semaphore;
use super::spawn::{Body, Builder, expect};
use super::sync::Arc;

/// A [`Group`] of so many greenlets at most. Clones are the same pool. Any thread.
///
/// ```
/// use gevent_runtime::api::Pool;
///
/// let pool = Pool::new(2).unwrap();
/// let squares = pool.map(1..=4, |n| n * n).unwrap();
/// assert_eq!(squares, [1, 4, 9, 16]);
/// ```
#[derive(Debug, Clone)]
pub struct Pool {
    group: Group,
    places: Option<(Semaphore, usize)>,
}

impl Pool {
    /// A pool of `size` greenlets at most.
    ///
    /// # Errors
    /// [`InvalidSize`] for 0: nothing could ever run in it.
    pub fn new(size: usize) -> Result<Self, InvalidSize> {
        if size == 0 {
            return Err(InvalidSize);
        }
        Ok(Pool {
            group: Group::new(),
            places: Some((Semaphore::new(size), size)),
        })
    }

    /// A pool without a limit.
    pub fn unbounded() -> Self {
        Pool {
            group: Group::new(),
            places: None,
        }
    }

    /// Spawns a greenlet in the pool; waits for a place first.
    ///
    /// A wait: a kill or a [`Timeout`](super::Timeout) unwinds from here, and nothing is
    /// spawned.
    ///
    /// # Panics
    /// As [`spawn`](fn@super::spawn).
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_at(Location::caller(), f)
    }

    fn spawn_at<F, T>(&self, at: &'static Location<'static>, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // There is no limit to the wait.
        let place = raised(self.take_place(None)).unwrap_or_default();
        expect(Builder::new().spawn_member(at, self.member(place), f))
    }

    /// As [`spawn`](Self::spawn), of a function of C or of no value; waits for a place
    /// until `deadline`. `None`: there was none.
    pub(super) fn spawn_body(
        &self,
        builder: Builder,
        body: Body,
        deadline: Option<u64>,
    ) -> io::Result<Option<AnyGreenlet>> {
        let Some(place) = raised(self.take_place(deadline)) else {
            return Ok(None);
        };
        let member = Some(self.member(place));
        builder
            .spawn_body(Location::caller(), body, member)
            .map(Some)
    }

    fn member(&self, place: Place) -> Membership<'_> {
        Membership {
            group: &self.group,
            place,
        }
    }

    /// Waits for a place until `deadline`. It is given back when the result is dropped.
    fn take_place(&self, deadline: Option<u64>) -> Result<Option<Place>, Interrupted> {
        let places = self.places().map(|(places, _)| places.clone());
        Ok(match places {
            Some(places) if !places.acquire_until(deadline)? => None,
            places => Some(Place(places)),
        })
    }

    /// The places, if they have a limit, without those that greenlets before a fork had.
    fn places(&self) -> Option<&(Semaphore, usize)> {
        let places = self.places.as_ref()?;
        self.group.len();
        Some(places)
    }

    /// Places that nobody has; `None` without a limit.
    pub fn free_count(&self) -> Option<usize> {
        self.places().map(|(places, _)| places.counter())
    }

    /// Whether `spawn` would wait.
    pub fn full(&self) -> bool {
        self.free_count() == Some(0)
    }

    /// Waits until there is a place, `timeout` at most if there is one. Places that nobody
    /// has then; `None` without a limit.
    pub fn wait_available(&self, timeout: Option<Duration>) -> Option<usize> {
        let (places, _) = self.places()?;
        let got = raised(places.acquire_until(deadline_in(timeout)));
        if got {
            places.release();
        }
        Some(places.counter())
    }

    /// How many greenlets at most; `None` without a limit.
    pub fn size(&self) -> Option<usize> {
        self.places.as_ref().map(|&(_, size)| size)
    }

    /// The group of its greenlets.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Waits until no greenlet is left in the pool.
    pub fn join(&self) {
        self.group.join();
    }

    /// As [`join`](Self::join), `span` at most. Whether none is left.
    pub fn join_timeout(&self, span: Duration) -> bool {
        self.group.join_timeout(span)
    }

    /// Kills every greenlet in the pool and waits until all have ended.
    pub fn kill(&self) {
        self.group.kill();
    }

    /// As [`kill`](Self::kill), with a choice of how long to wait. Whether none is left.
    pub fn kill_with(&self, wait: Wait) -> bool {
        self.group.kill_with(wait)
    }

    /// Runs `f` in the pool and waits for its value. From one of the pool's own greenlets
    /// it runs there, as in gevent, since a full pool would wait for itself.
    ///
    /// # Errors
    /// [`GetError::Failed`], [`GetError::Exit`].
    #[track_caller]
    pub fn apply<F, T>(&self, f: F) -> Result<T, GetError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let inside = super::getcurrent().is_some_and(|own| self.group.contains(&own));
        if inside {
            return Ok(f());
        }
        self.spawn_at(Location::caller(), f).take()
    }

    /// Runs `f` in the pool without waiting, not even for a place: another greenlet does
    /// that. `callback` gets the value, if `f` returns one, after that.
    #[track_caller]
    pub fn apply_async<F, T, C>(&self, f: F, callback: C) -> Greenlet<Option<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Clone + Send + 'static,
        C: FnOnce(T) + Send + 'static,
    {
        let at = Location::caller();
        let pool = self.clone();
        super::spawn(move || {
            let value = pool.spawn_at(at, f).take().ok();
            if let Some(value) = value.clone() {
                callback(value);
            }
            value
        })
    }

    /// Runs `f` on each item in the pool; all values, in the order of the items.
    ///
    /// # Errors
    /// The exception of the first item that failed; the others have ended too. An item
    /// whose greenlet was killed counts as failed with [`GreenletExit`](super::GreenletExit).
    #[track_caller]
    pub fn map<I, F, T>(&self, items: I, f: F) -> Result<Vec<T>, Exception>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> T + Clone + Send + 'static,
        T: Send + 'static,
    {
        let at = Location::caller();
        let greenlets: Vec<_> = items
            .into_iter()
            .map(|item| self.spawn_item(at, &f, item))
            .collect();
        // All of them, before the first failure is told.
        let outcomes: Vec<_> = greenlets.iter().map(outcome).collect();
        outcomes.into_iter().collect()
    }

    fn spawn_item<A, F, T>(&self, at: &'static Location<'static>, f: &F, item: A) -> Greenlet<T>
    where
        A: Send + 'static,
        F: Fn(A) -> T + Clone + Send + 'static,
        T: Send + 'static,
    {
        let f = f.clone();
        self.spawn_at(at, move || f(item))
    }

    /// As [`map`](Self::map), one value after the other, in the order of the items. Items
    /// are taken as places become free, and the values are there as soon as they are next.
    #[track_caller]
    pub fn imap<I, F, T>(&self, items: I, f: F) -> IMap<T>
    where
        I: IntoIterator,
        I::IntoIter: Send + 'static,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> T + Clone + Send + 'static,
        T: Send + 'static,
    {
        IMap {
            made: self.spawn_all(Location::caller(), items, f),
        }
    }

    /// As [`imap`](Self::imap), in the order in which the values come.
    #[track_caller]
    pub fn imap_unordered<I, F, T>(&self, items: I, f: F) -> IMapUnordered<T>
    where
        I: IntoIterator,
        I::IntoIter: Send + 'static,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> T + Clone + Send + 'static,
        T: Send + 'static,
    {
        let at = Location::caller();
        let done = super::Queue::unbounded();
        let feed = Arc::new(Feed(done.clone()));
        let (pool, items) = (self.clone(), items.into_iter());
        super::spawn(move || {
            for item in items {
                if feed.0.is_shut_down() {
                    // Nobody wants the rest.
                    break;
                }
                let greenlet = pool.spawn_item(at, &f, item);
                let (feed, ended) = (Arc::clone(&feed), greenlet.clone());
                greenlet.link(move |_| drop(feed.0.put(outcome(&ended))));
            }
        });
        IMapUnordered { done }
    }

    /// Spawns a greenlet for each item, as places become free.
    fn spawn_all<I, F, T>(
        &self,
        at: &'static Location<'static>,
        items: I,
        f: F,
    ) -> super::Queue<Greenlet<T>>
    where
        I: IntoIterator,
        I::IntoIter: Send + 'static,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> T + Clone + Send + 'static,
        T: Send + 'static,
    {
        let made = super::Queue::unbounded();
        let (pool, queue, items) = (self.clone(), made.clone(), items.into_iter());
        super::spawn(move || {
            let feed = Feed(queue);
            for item in items {
                if feed.0.put(pool.spawn_item(at, &f, item)).is_err() {
                    // Nobody wants the rest.
                    break;
                }
            }
        });
        made
    }
}

/// Ends a queue when nobody can put into it any more, also if that was a panic.
pub(super) struct Feed<T>(pub(super) super::Queue<T>);

impl<T> Drop for Feed<T> {
    fn drop(&mut self) {
        self.0.shutdown(false);
    }
}

/// The value of an item, or why there is none.
fn outcome<T>(greenlet: &Greenlet<T>) -> Result<T, Exception> {
    greenlet.take().map_err(|error| match error {
        GetError::Failed(exception) => exception,
        GetError::Exit => Exception::new(Box::new(super::GreenletExit)),
        other => Exception::new(Box::new(other.to_string())),
    })
}

/// See [`Pool::imap`]. When it is dropped, no further items are begun.
#[derive(Debug)]
pub struct IMap<T> {
    made: super::Queue<Greenlet<T>>,
}

impl<T> Iterator for IMap<T> {
    type Item = Result<T, Exception>;

    fn next(&mut self) -> Option<Self::Item> {
        self.made.get().ok().map(|greenlet| outcome(&greenlet))
    }
}

impl<T> Drop for IMap<T> {
    fn drop(&mut self) {
        self.made.shutdown(true);
    }
}

/// See [`Pool::imap_unordered`]. When it is dropped, no further items are begun.
#[derive(Debug)]
pub struct IMapUnordered<T> {
    done: super::Queue<Result<T, Exception>>,
}

impl<T> Iterator for IMapUnordered<T> {
    type Item = Result<T, Exception>;

    fn next(&mut self) -> Option<Self::Item> {
        self.done.get().ok()
    }
}

impl<T> Drop for IMapUnordered<T> {
    fn drop(&mut self) {
        self.done.shutdown(true);
    }
}
