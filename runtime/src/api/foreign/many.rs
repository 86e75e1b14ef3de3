//! A function of C on many items in a pool, and in the background.

use std::ffi::c_void;
use std::io;
use std::time::Duration;

use super::super::current::{deadline_in, raised};
use super::super::error::GreenletExit;
use super::super::greenlet::AnyGreenlet;
use super::super::pool::Feed;
use super::super::queue::{Empty, Queue};
use super::super::spawn::{exit, expect};
use super::super::sync::Arc;
use super::{Body, Builder, Foreign, ForeignGreenlet, Function, Place, Pool, spawn_in};

/// An item: its index and what runs with it, or why nothing does.
type Item = io::Result<(usize, ForeignGreenlet)>;

/// What [`imap`] returns. When it is dropped, no further items are begun.
#[derive(Debug)]
pub struct ForeignMap {
    feeder: AnyGreenlet,
    items: Queue<Item>,
    /// Taken already by a call that waited for its end in vain.
    next: Option<(usize, ForeignGreenlet)>,
}

/// What [`ForeignMap::next`] found.
#[derive(Debug)]
pub enum Next {
    /// The item of this index, whose greenlet has ended.
    Item(usize, ForeignGreenlet),
    /// There are no more.
    End,
    /// The time given was up.
    TimedOut,
    /// No greenlet could be made for the next item; there are no more.
    Failed(io::Error),
}

/// Runs `function` on each of the arguments, in greenlets of the pool as places become free.
/// They come `ordered` as they are here, or as they end.
///
/// # Errors
/// As [`Builder::spawn`].
///
/// # Safety
/// As for [`spawn_in`], for all arguments.
pub unsafe fn imap(
    pool: &Pool,
    builder: Builder,
    function: Function,
    arguments: &[*mut c_void],
    ordered: bool,
) -> io::Result<ForeignMap> {
    let jobs: Vec<_> = arguments
        .iter()
        .map(|&argument| Foreign { function, argument })
        .collect();
    let items = Queue::unbounded();
    let feed = Arc::new(Feed(items.clone()));
    let pool = pool.clone();
    let feeder = Builder::new().spawn(move || {
        for (index, job) in jobs.into_iter().enumerate() {
            // SAFETY: the caller's contract.
            let spawned =
                unsafe { spawn_in(&pool, builder.clone(), None, job.function, job.argument) };
            match spawned {
                Ok(Some(spawned)) if ordered => drop(feed.0.put(Ok((index, spawned)))),
                Ok(Some(spawned)) => {
                    let (feed, ended) = (Arc::clone(&feed), spawned.clone());
                    let link = move |_: &AnyGreenlet| drop(feed.0.put(Ok((index, ended))));
                    spawned.greenlet.link(link);
                }
                // There is no limit to the wait.
                Ok(None) => {}
                Err(error) => {
                    drop(feed.0.put(Err(error)));
                    break;
                }
            }
        }
    })?;
    Ok(ForeignMap {
        feeder: feeder.as_any(),
        items,
        next: None,
    })
}

impl ForeignMap {
    /// The next item, once its greenlet has ended; waits `timeout` at most if there is one.
    ///
    /// A wait: a kill or a [`Timeout`](super::super::Timeout) unwinds from here, and the
    /// item is the next one still.
    pub fn next(&mut self, timeout: Option<Duration>) -> Next {
        let deadline = deadline_in(timeout);
        let (index, item) = match self.next.take() {
            Some(next) => next,
            None => match raised(self.items.get_until(deadline)) {
                Ok(Ok(next)) => next,
                Ok(Err(error)) => return Next::Failed(error),
                Err(Empty::ShutDown) => return Next::End,
                Err(Empty::Empty) => return Next::TimedOut,
            },
        };
        match item.greenlet.shared.join_until(deadline) {
            Ok(true) => Next::Item(index, item),
            waiting => {
                self.next = Some((index, item));
                raised(waiting);
                Next::TimedOut
            }
        }
    }
}

impl Drop for ForeignMap {
    fn drop(&mut self) {
        self.items.shutdown(true);
        if !self.feeder.ready() {
            // It may wait for a place in the pool.
            self.feeder.shared.throw(Box::new(GreenletExit));
        }
    }
}

/// Runs a function of C in the pool without waiting, not even for a place: another greenlet
/// does that, and is returned. It has the function's result; `callback` gets it after that.
/// If the function's greenlet was killed, so counts the other.
///
/// # Errors
/// As [`Builder::spawn`].
///
/// # Safety
/// As for [`spawn_in`].
pub unsafe fn apply_async(
    pool: &Pool,
    builder: Builder,
    function: Function,
    argument: *mut c_void,
    callback: impl FnOnce(*mut c_void) + Send + 'static,
) -> io::Result<ForeignGreenlet> {
    let result = Place::default();
    let body = Body::Foreign(Foreign { function, argument }, Arc::clone(&result));
    let (pool, place) = (pool.clone(), Arc::clone(&result));
    let outer = Builder::new().spawn(move || {
        // There is no limit to the wait.
        let Some(greenlet) = expect(pool.spawn_body(builder, body, None)) else {
            exit();
        };
        let inner = ForeignGreenlet {
            greenlet,
            result: place,
        };
        inner.greenlet.join();
        if !inner.returned() {
            exit();
        }
        callback(inner.result());
    })?;
    Ok(ForeignGreenlet {
        greenlet: outer.as_any(),
        result,
    })
}
