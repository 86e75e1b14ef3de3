//! Kernel threads for what would keep the hub from its greenlets: computation, and calls
//! that only the kernel can wait for.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::async_result::AsyncResult;
use super::backend;
use super::current::{process, raised};
use super::error::{Exception, GetError, InvalidSize};
use super::queue::Queue;
use super::sync::{Arc, Lock};
use super::waiters::Waiters;
use super::waiting::wait_in;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Debug, Default)]
struct State {
    threads: usize,
    /// Jobs that were spawned and are not over.
    unfinished: usize,
    joiners: Waiters,
}

struct Inner {
    size: usize,
    /// Where the threads are: a forked child has none of them.
    process: u32,
    jobs: Queue<Job>,
    state: Lock<State>,
}

/// So many kernel threads at most, which are no guests: what runs there may block and
/// compute without stopping greenlets. Threads are made when they are needed, have every
/// signal blocked while there is a hub, and end with the last handle of the pool. Clones
/// are the same pool. Any thread.
///
/// ```
/// use gevent_runtime::api::ThreadPool;
///
/// let pool = ThreadPool::new(2).unwrap();
/// assert_eq!(pool.map(1..=3, |n| n * n).unwrap(), [1, 4, 9]);
/// ```
#[derive(Clone)]
pub struct ThreadPool {
    inner: Arc<Handle>,
}

/// Ends the threads when the last handle goes.
struct Handle(Arc<Inner>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.jobs.shutdown(false);
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<ThreadPool of {} threads>", self.inner.0.size)
    }
}

impl ThreadPool {
    /// A pool of `size` threads at most.
    ///
    /// # Errors
    /// [`InvalidSize`] for 0.
    pub fn new(size: usize) -> Result<Self, InvalidSize> {
        if size == 0 {
            return Err(InvalidSize);
        }
        Ok(ThreadPool {
            inner: Arc::new(Handle(Arc::new(Inner {
                size,
                process: process(),
                jobs: Queue::unbounded(),
                state: Lock::default(),
            }))),
        })
    }

    /// How many threads at most.
    pub fn size(&self) -> usize {
        self.inner.0.size
    }

    /// Runs `f` on a thread of the pool. The result has its value, or its panic; nothing
    /// is printed for that but what the panic hook says. It can't be killed.
    ///
    /// # Errors
    /// No thread can be made and the pool has none; or the process was forked from the one
    /// that made the pool (`NotConnected`).
    pub fn spawn<F, T>(&self, f: F) -> io::Result<AsyncResult<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let inner = &self.inner.0;
        if inner.process != process() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let result = AsyncResult::new();
        let answer = result.clone();
        let mut state = inner.state.lock();
        let needed = state.unfinished >= state.threads && state.threads < inner.size;
        state.unfinished += 1;
        state.threads += needed as usize;
        drop(state);
        if needed && let Err(error) = start(inner) {
            let mut state = inner.state.lock();
            state.threads -= 1;
            if state.threads == 0 {
                state.unfinished -= 1;
                return Err(error);
            }
        }
        let run: Job = Box::new(move || match catch_unwind(AssertUnwindSafe(f)) {
            Ok(value) => answer.set(value),
            Err(payload) => answer.set_exception(Exception::new(payload)),
        });
        // It is shut down with the last handle only.
        let _ = inner.jobs.put(run);
        Ok(result)
    }

    /// Runs `f` on a thread of the pool and waits for its value.
    ///
    /// A wait: a kill of the caller or its [`Timeout`](super::Timeout) unwinds from here,
    /// and `f` goes on.
    ///
    /// # Errors
    /// [`GetError::Failed`], also if no thread can be made.
    pub fn apply<F, T>(&self, f: F) -> Result<T, GetError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let result = self.spawn(f).map_err(failed)?;
        result.wait();
        result.take()
    }

    /// Runs `f` on each item, on as many threads as there are; all values, in the order of
    /// the items.
    ///
    /// # Errors
    /// The panic of the first item that failed; the others have ended too.
    pub fn map<I, F, T>(&self, items: I, f: F) -> Result<Vec<T>, Exception>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> T + Clone + Send + 'static,
        T: Send + 'static,
    {
        let results: Vec<_> = items
            .into_iter()
            .map(|item| {
                let f = f.clone();
                self.spawn(move || f(item))
            })
            .collect();
        let mut values = Vec::new();
        let mut first = None;
        for result in results {
            let outcome = result.map_err(failed).and_then(|result| {
                result.wait();
                result.take()
            });
            match outcome {
                Ok(value) => values.push(value),
                Err(GetError::Failed(exception)) => drop(first.get_or_insert(exception).clone()),
                Err(error) => drop(first.get_or_insert(exception(&error)).clone()),
            }
        }
        first.map_or(Ok(values), Err)
    }

    /// Waits until everything that was spawned is over. In a process that was forked from
    /// the one that made the pool nothing is.
    pub fn join(&self) {
        if self.inner.0.process != process() {
            return;
        }
        let state = &self.inner.0.state;
        let done = |state: &mut State| state.unfinished == 0;
        let _: bool = raised(wait_in(state, |s| &mut s.joiners, done, None));
    }
}

fn exception(error: &dyn fmt::Display) -> Exception {
    Exception::new(Box::new(error.to_string()))
}

fn failed(error: io::Error) -> GetError {
    GetError::Failed(exception(&error))
}

/// Makes a thread of the pool.
fn start(inner: &Arc<Inner>) -> io::Result<()> {
    backend::kernel_thread({
        let inner = Arc::clone(inner);
        move || {
            for job in inner.jobs.iter() {
                job();
                let mut state = inner.state.lock();
                state.unfinished -= 1;
                if state.unfinished == 0 {
                    state.joiners.notify_all(process());
                }
            }
        }
    })
}
