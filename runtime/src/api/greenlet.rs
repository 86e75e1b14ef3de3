//! A greenlet: its state, and what others do with it.
//!
//! # Synchronization
//! `Shared::state` is changed under its lock. The phase goes from `Fresh` to `Running` to
//! `Done`, or from `Fresh` to `Done` if it was killed before it ran; both ways out of
//! `Fresh` are under the lock, so a killed greenlet never begins. The typed value is
//! stored before the phase becomes `Done`.

use std::any::Any;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

use super::backend;
use super::current::{self, Current, Interrupted, Payload, deadline_in, process, raised};
use super::error::{Exception, GetError, GreenletExit};
use super::many::{Waitable, sealed};
use super::report;
use super::spawn::Callers;
use super::sync::{Arc, Lock};
use super::waiters::{Waiter, Waiters};
use super::waiting::{wait_in, wait_surely};

/// What is run after a greenlet has ended.
pub(super) type Link = Box<dyn FnOnce(&AnyGreenlet) + Send>;

/// How a greenlet ended.
#[derive(Debug, Clone)]
pub(super) enum End {
    Value,
    Exit,
    Failed(Exception),
}

#[derive(Debug)]
enum Phase {
    /// Made, and not run yet.
    Fresh,
    Running(Arc<Current>),
    Done(End),
}

struct State {
    phase: Phase,
    waiters: Waiters,
    /// Run at the end, in order. `None` once they have been.
    links: Option<Vec<Link>>,
}

/// What a greenlet's handles and its thread share, whatever its value is.
pub(super) struct Shared {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) spawned_at: &'static Location<'static>,
    callers: Option<Callers>,
    process: u32,
    state: Lock<State>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Greenlet {:?} at {:p}>", self.name, self)
    }
}

impl Shared {
    pub(super) fn new(
        name: Option<String>,
        spawned_at: &'static Location<'static>,
        callers: Option<Callers>,
    ) -> Arc<Self> {
        let id = current::next_id();
        Arc::new(Shared {
            id,
            name: name.unwrap_or_else(|| format!("Greenlet-{id}")),
            spawned_at,
            callers,
            process: process(),
            state: Lock::new(State {
                phase: Phase::Fresh,
                waiters: Waiters::new(),
                links: Some(Vec::new()),
            }),
        })
    }

    /// It begins on the thread of `current`. False: it was killed before.
    pub(super) fn begin(&self, current: &Arc<Current>) -> bool {
        let mut state = self.state.lock();
        let fresh = matches!(state.phase, Phase::Fresh);
        if fresh {
            state.phase = Phase::Running(Arc::clone(current));
        }
        fresh
    }

    /// Notes how it ended; only the first time counts.
    pub(super) fn end(&self, end: End) {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Done(_)) {
            let before = std::mem::replace(&mut state.phase, Phase::Done(end));
            state.waiters.notify_all(process());
            drop(state);
            drop(before);
        }
    }

    /// Whether it belongs to a process before a fork, and this thread is another.
    fn is_lost(&self) -> bool {
        self.process != process()
            && !current::with(|c| {
                c.greenlet
                    .as_ref()
                    .is_some_and(|g| std::ptr::eq(&**g, self))
            })
    }

    fn how_it_ended(&self) -> Option<End> {
        match &self.state.lock().phase {
            Phase::Done(end) => Some(end.clone()),
            _ => None,
        }
    }

    fn is_done(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Done(_))
    }

    pub(super) fn join_until(&self, deadline: Option<u64>) -> Result<bool, Interrupted> {
        if self.is_lost() {
            return Ok(true);
        }
        wait_in(
            &self.state,
            |s| &mut s.waiters,
            |s| matches!(s.phase, Phase::Done(_)),
            deadline,
        )
    }

    /// As [`join_until`](Self::join_until) without a limit, and nothing interrupts it.
    pub(super) fn join_surely(&self) {
        if !self.is_lost() {
            wait_surely(
                &self.state,
                |s| &mut s.waiters,
                |s| matches!(s.phase, Phase::Done(_)),
            );
        }
    }

    /// Throws `payload`: ends it if it has not run yet, interrupts it if it has.
    pub(super) fn throw(&self, payload: Payload) {
        let mut state = self.state.lock();
        let target = match &state.phase {
            Phase::Done(_) => return,
            Phase::Running(current) => Arc::clone(current),
            Phase::Fresh => {
                let end = End::of(payload);
                state.phase = Phase::Done(end.clone());
                state.waiters.notify_all(process());
                drop(state);
                report::failure(self, &end);
                return;
            }
        };
        drop(state);
        target.throw(payload);
    }

    /// Whether it runs on the calling thread.
    pub(super) fn is_current(&self) -> bool {
        current::with(|c| {
            c.greenlet
                .as_ref()
                .is_some_and(|g| std::ptr::eq(&**g, self))
        })
    }
}

impl End {
    /// What a panic's payload means.
    pub(super) fn of(payload: Payload) -> Self {
        if payload.is::<GreenletExit>() {
            End::Exit
        } else {
            End::Failed(Exception::new(payload))
        }
    }
}

/// The last act of a greenlet's thread: after the destructors of its thread-local
/// variables, before libc takes the stack back.
pub(super) fn finish(current: Arc<Current>, shared: &Arc<Shared>) {
    current.close();
    // A thread that did not return and did not panic was cancelled, or called
    // pthread_exit.
    let end = current.take_end().unwrap_or_else(|| {
        let end = current.killed_with().map_or(End::Exit, |payload| {
            End::Failed(Exception::new(Box::new(payload)))
        });
        report::failure(shared, &end);
        end
    });
    shared.end(end);
    loop {
        let links = {
            let mut state = shared.state.lock();
            match &mut state.links {
                Some(links) if !links.is_empty() => std::mem::take(links),
                _ => {
                    state.links = None;
                    break;
                }
            }
        };
        let greenlet = AnyGreenlet {
            shared: Arc::clone(shared),
        };
        for link in links {
            report::guard(shared, "a link", || link(&greenlet));
        }
    }
    backend::greenlet_ended();
}

/// A greenlet, whatever its value is: a handle for lists of different ones.
#[derive(Clone)]
pub struct AnyGreenlet {
    pub(super) shared: Arc<Shared>,
}

impl fmt::Debug for AnyGreenlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl PartialEq for AnyGreenlet {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for AnyGreenlet {}

/// How long a kill waits until the greenlet has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: gevent's `block=False`.
    No,
    /// As long as it takes.
    Forever,
    /// So long at most.
    For(Duration),
}

impl AnyGreenlet {
    /// Its name: as the [`Builder`](super::Builder) was told, or `Greenlet-` and a number.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// A small number that no other greenlet of the process has or had.
    pub fn minimal_ident(&self) -> u64 {
        self.shared.id
    }

    /// Where it was spawned.
    pub fn spawning_stack(&self) -> &'static Location<'static> {
        self.shared.spawned_at
    }

    /// Who spawned it, as the [`Builder`](super::Builder) was told; empty if it was not.
    pub fn callers(&self) -> &[usize] {
        self.shared.callers.as_deref().unwrap_or_default()
    }

    /// Whether it has ended: returned, panicked, or was killed.
    pub fn ready(&self) -> bool {
        self.shared.is_done() || self.shared.is_lost()
    }

    /// As [`ready`](Self::ready).
    pub fn is_dead(&self) -> bool {
        self.ready()
    }

    /// Whether it has ended with a value or with [`GreenletExit`].
    pub fn successful(&self) -> bool {
        matches!(self.shared.how_it_ended(), Some(End::Value | End::Exit))
    }

    pub(super) fn has_value(&self) -> bool {
        matches!(self.shared.how_it_ended(), Some(End::Value))
    }

    /// The panic with which it ended; `None` for [`GreenletExit`].
    pub fn exception(&self) -> Option<Exception> {
        match self.shared.how_it_ended() {
            Some(End::Failed(exception)) => Some(exception),
            _ => None,
        }
    }

    /// Waits until it has ended. Its failure is not the caller's. Any number of threads
    /// may join, any number of times.
    ///
    /// A wait: a kill of the caller or its [`Timeout`](super::Timeout) unwinds from here. A
    /// greenlet that joins itself waits until it is killed.
    pub fn join(&self) {
        raised(self.shared.join_until(None));
    }

    /// Waits until it has ended, `span` at most. Whether it has.
    pub fn join_timeout(&self, span: Duration) -> bool {
        raised(self.shared.join_until(deadline_in(Some(span))))
    }

    /// Kills it: [`GreenletExit`] unwinds from the wait that it is in, or the next one.
    /// Waits until it has ended. One that has not run yet never will; for one that has
    /// ended, nothing happens. On itself it unwinds from here.
    pub fn kill(&self) {
        self.kill_with(GreenletExit, Wait::Forever);
    }

    /// As [`kill`](Self::kill), with another payload, and with a limit to the wait.
    /// Whether it has ended when this returns.
    ///
    /// A greenlet that catches the payload (`catch_unwind`) goes on: then the wait goes
    /// on too.
    pub fn kill_with<E: Any + Send>(&self, exception: E, wait: Wait) -> bool {
        raised(self.kill_boxed(Box::new(exception), wait))
    }

    pub(super) fn kill_boxed(&self, payload: Payload, wait: Wait) -> Result<bool, Interrupted> {
        if !self.shared.is_lost() {
            self.shared.throw(payload);
        }
        if self.shared.is_current() {
            current::with(Current::check)?;
        }
        match wait {
            Wait::No => Ok(self.ready()),
            Wait::Forever => self.shared.join_until(None),
            Wait::For(span) => self.shared.join_until(deadline_in(Some(span))),
        }
    }

    /// Has `f` run after it has ended: on its thread, after everybody who waits for it
    /// was let go, in the order of the links. If it has ended already, `f` runs in a new
    /// greenlet. A panic in `f` is reported and goes no further.
    pub fn link(&self, f: impl FnOnce(&AnyGreenlet) + Send + 'static) {
        self.link_boxed(Box::new(f));
    }

    pub(super) fn link_boxed(&self, link: Link) {
        let mut state = self.shared.state.lock();
        match &mut state.links {
            Some(links) => links.push(link),
            None => {
                drop(state);
                let greenlet = self.clone();
                super::spawn(move || link(&greenlet));
            }
        }
    }

    /// As [`link`](Self::link), if it ends with a value or [`GreenletExit`].
    pub fn link_value(&self, f: impl FnOnce(&AnyGreenlet) + Send + 'static) {
        self.link(|greenlet| {
            if greenlet.successful() {
                f(greenlet);
            }
        });
    }

    /// As [`link`](Self::link), if it ends with an exception.
    pub fn link_exception(&self, f: impl FnOnce(&AnyGreenlet) + Send + 'static) {
        self.link(|greenlet| {
            if greenlet.exception().is_some() {
                f(greenlet);
            }
        });
    }
}

impl sealed::Sealed for AnyGreenlet {
    fn enlist(&self, waiter: &Arc<Waiter>) -> bool {
        if self.shared.is_lost() {
            return false;
        }
        let mut state = self.shared.state.lock();
        let waits = !matches!(state.phase, Phase::Done(_));
        if waits {
            state.waiters.add(waiter);
        }
        waits
    }

    fn withdraw(&self, waiter: &Arc<Waiter>) {
        self.shared.state.lock().waiters.give_up(waiter);
    }
}

impl Waitable for AnyGreenlet {
    fn is_ready(&self) -> bool {
        self.ready()
    }
}

/// A greenlet that returns a `T`. Clones are the same greenlet; dropping a handle does not
/// end it.
///
/// Everything of [`AnyGreenlet`] is here too, by `Deref`.
///
/// ```
/// use gevent_runtime::api::spawn;
///
/// let greenlet = spawn(|| 6 * 7);
/// assert_eq!(greenlet.get().unwrap(), 42);
/// greenlet.join(); // as often as one likes
/// assert!(greenlet.successful());
/// ```
pub struct Greenlet<T> {
    pub(super) any: AnyGreenlet,
    pub(super) value: Arc<Lock<Option<T>>>,
}

impl<T> Clone for Greenlet<T> {
    fn clone(&self) -> Self {
        Greenlet {
            any: self.any.clone(),
            value: Arc::clone(&self.value),
        }
    }
}

impl<T> fmt::Debug for Greenlet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.any.fmt(f)
    }
}

impl<T> std::ops::Deref for Greenlet<T> {
    type Target = AnyGreenlet;

    fn deref(&self) -> &AnyGreenlet {
        &self.any
    }
}

impl<T> Greenlet<T> {
    /// A handle without the value's type.
    pub fn as_any(&self) -> AnyGreenlet {
        self.any.clone()
    }

    /// Waits until it has ended, and takes its value, which needs no `Clone`.
    ///
    /// # Errors
    /// [`GetError::Exit`], [`GetError::Failed`], [`GetError::Lost`], and
    /// [`GetError::Taken`] if it was taken before.
    pub fn take(&self) -> Result<T, GetError> {
        self.join();
        self.outcome(|value| value.take())
    }

    fn outcome<R>(&self, of: impl FnOnce(&mut Option<T>) -> Option<R>) -> Result<R, GetError> {
        match self.any.shared.how_it_ended() {
            Some(End::Value) => of(&mut self.value.lock()).ok_or(GetError::Taken),
            Some(End::Exit) => Err(GetError::Exit),
            Some(End::Failed(exception)) => Err(GetError::Failed(exception)),
            None if self.any.shared.is_lost() => Err(GetError::Lost),
            None => Err(GetError::NotReady),
        }
    }
}

impl<T: Clone> Greenlet<T> {
    /// Waits until it has ended, and returns its value.
    ///
    /// # Errors
    /// [`GetError::Exit`], [`GetError::Failed`], [`GetError::Lost`], [`GetError::Taken`].
    pub fn get(&self) -> Result<T, GetError> {
        self.join();
        self.try_get()
    }

    /// As [`get`](Self::get), waiting `span` at most.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`GetError::TimedOut`].
    pub fn get_timeout(&self, span: Duration) -> Result<T, GetError> {
        if self.join_timeout(span) {
            self.try_get()
        } else {
            Err(GetError::TimedOut)
        }
    }

    /// Its value, without a wait.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`GetError::NotReady`].
    pub fn try_get(&self) -> Result<T, GetError> {
        self.outcome(|value| value.clone())
    }

    /// Its value, if it has ended with one.
    pub fn value(&self) -> Option<T> {
        self.try_get().ok()
    }
}

impl<T> sealed::Sealed for Greenlet<T> {
    fn enlist(&self, waiter: &Arc<Waiter>) -> bool {
        self.any.enlist(waiter)
    }

    fn withdraw(&self, waiter: &Arc<Waiter>) {
        self.any.withdraw(waiter);
    }
}

impl<T> Waitable for Greenlet<T> {
    fn is_ready(&self) -> bool {
        self.ready()
    }
}
