//! Greenlets that borrow from their spawner.
#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};

use super::current::process;
use super::greenlet::{AnyGreenlet, Greenlet, Wait};
use super::spawn::{Builder, expect};
use super::sync::{Arc, Lock};
use super::waiters::Waiters;
use super::waiting::wait_surely;

/// Counts the greenlets of a scope whose closures still exist.
///
/// That a greenlet counts as ended is not enough: one that was killed before it ran is
/// dead at once, and its thread drops the closure, with what it borrows, later.
#[derive(Debug, Default)]
struct Latch {
    state: Lock<Closures>,
}

#[derive(Debug, Default)]
struct Closures {
    /// The process they are counted in: a forked child has no closures of its parent's.
    process: u32,
    count: usize,
    waiters: Waiters,
}

impl Latch {
    fn token(self: &Arc<Self>) -> Token {
        let process = process();
        let mut state = self.state.lock();
        if state.process != process {
            *state = Closures {
                process,
                ..Closures::default()
            };
        }
        state.count += 1;
        Token {
            latch: Arc::clone(self),
            process,
        }
    }

    /// Waits until none is left, and nothing interrupts that.
    fn wait(&self) {
        let here = process();
        wait_surely(
            &self.state,
            |s| &mut s.waiters,
            |s| s.count == 0 || s.process != here,
        );
    }
}

/// One closure that exists.
struct Token {
    latch: Arc<Latch>,
    process: u32,
}

impl Drop for Token {
    fn drop(&mut self) {
        let mut state = self.latch.state.lock();
        if state.process == self.process {
            state.count -= 1;
            if state.count == 0 {
                state.waiters.notify_all(self.process);
            }
        }
    }
}

/// What a scoped greenlet runs. The fields go in this order: the token is last.
struct Job<F, T> {
    f: Option<F>,
    value: Arc<Lock<Option<T>>>,
    _token: Token,
}

impl<F: FnOnce() -> T, T> Job<F, T> {
    fn run(mut self) {
        if let Some(f) = self.f.take() {
            let value = f();
            *self.value.lock() = Some(value);
        }
    }
}

/// Where greenlets may borrow from; see [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    latch: Arc<Latch>,
    greenlets: Lock<Vec<AnyGreenlet>>,
    /// Invariant, as in std's.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Scope of {} greenlets>", self.greenlets.lock().len())
    }
}

/// Runs `f`, which may spawn greenlets that borrow what outlives the call, and waits until
/// all of them have ended.
///
/// If `f` unwinds, which it does if the caller is killed in it, the greenlets are killed
/// before. The wait at the end is never interrupted, because what they borrow must stay:
/// one that catches its kill and goes on is waited for.
///
/// ```
/// use gevent_runtime::api::scope;
///
/// let words = ["a", "bc"];
/// let lengths = scope(|scope| {
///     let handles: Vec<_> = words.iter().map(|w| scope.spawn(|| w.len())).collect();
///     handles.iter().map(|handle| handle.get().unwrap()).collect::<Vec<_>>()
/// });
/// assert_eq!(lengths, [1, 2]);
/// ```
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope {
        latch: Arc::default(),
        greenlets: Lock::new(Vec::new()),
        scope: PhantomData,
        env: PhantomData,
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    if outcome.is_err() {
        let all = scope.greenlets.lock().clone();
        for greenlet in all {
            greenlet.shared.throw(Box::new(super::GreenletExit));
        }
    }
    scope.latch.wait();
    outcome.unwrap_or_else(|payload| resume_unwind(payload))
}

impl<'scope> Scope<'scope, '_> {
    /// Spawns a greenlet that may borrow what outlives the scope.
    ///
    /// # Panics
    /// As [`spawn`](fn@super::spawn).
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedGreenlet<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let value = Arc::new(Lock::new(None));
        let job = Job {
            f: Some(f),
            value: Arc::clone(&value),
            _token: self.latch.token(),
        };
        let run: Box<dyn FnOnce() + Send + 'scope> = Box::new(move || job.run());
        // SAFETY: `scope` returns only when the closure is gone, run or dropped, and its
        // borrows with it: the token, which it drops last, says so.
        let run = unsafe {
            mem::transmute::<Box<dyn FnOnce() + Send + 'scope>, Box<dyn FnOnce() + Send>>(run)
        };
        let any = expect(Builder::new().spawn_boxed(Location::caller(), run));
        self.greenlets.lock().push(any.clone());
        ScopedGreenlet {
            greenlet: Greenlet { any, value },
            scope: PhantomData,
        }
    }

    /// Kills every greenlet of the scope, without waiting.
    pub fn kill(&self) {
        let all = self.greenlets.lock().clone();
        super::killall_with(&all, || Box::new(super::GreenletExit), Wait::No);
    }
}

/// A greenlet of a [`scope`]: a [`Greenlet`] that does not leave it.
#[derive(Debug)]
pub struct ScopedGreenlet<'scope, T> {
    greenlet: Greenlet<T>,
    scope: PhantomData<&'scope ()>,
}

impl<T> std::ops::Deref for ScopedGreenlet<'_, T> {
    type Target = Greenlet<T>;

    fn deref(&self) -> &Greenlet<T> {
        &self.greenlet
    }
}
