//! What stands for a greenlet under loom: a thread of loom's, with the links of a real one.

use std::any::Any;
use std::io;
use std::panic::Location;

use super::current::{process, raised};
use super::error::GetError;
use super::group::Membership;
use super::sync::{Arc, Lock};
use super::waiters::Waiters;
use super::waiting::wait_in;

type Link = Box<dyn FnOnce(&AnyGreenlet) + Send>;

struct State {
    done: bool,
    waiters: Waiters,
    links: Option<Vec<Link>>,
}

/// As the real one.
#[derive(Clone)]
pub(super) struct AnyGreenlet {
    id: u64,
    state: Arc<Lock<State>>,
}

impl std::fmt::Debug for AnyGreenlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.id)
    }
}

impl AnyGreenlet {
    fn new() -> Self {
        AnyGreenlet {
            // Unlike any other thread's.
            id: super::current::next_id(),
            state: Arc::new(Lock::new(State {
                done: false,
                waiters: Waiters::new(),
                links: Some(Vec::new()),
            })),
        }
    }

    pub(super) fn minimal_ident(&self) -> u64 {
        self.id
    }

    pub(super) fn ready(&self) -> bool {
        self.state.lock().done
    }

    pub(super) fn link(&self, link: impl FnOnce(&AnyGreenlet) + Send + 'static) {
        let mut state = self.state.lock();
        match &mut state.links {
            Some(links) => links.push(Box::new(link)),
            None => {
                drop(state);
                link(self);
            }
        }
    }

    fn join(&self) {
        let done = |s: &mut State| s.done;
        raised(wait_in(&self.state, |s| &mut s.waiters, done, None));
    }

    /// The real one's `end` and `finish`.
    fn end(&self) {
        let mut state = self.state.lock();
        state.done = true;
        state.waiters.notify_all(process());
        drop(state);
        loop {
            let mut state = self.state.lock();
            match &mut state.links {
                Some(links) if !links.is_empty() => {
                    let links = std::mem::take(links);
                    drop(state);
                    links.into_iter().for_each(|link| link(self));
                }
                links => {
                    *links = None;
                    return;
                }
            }
        }
    }
}

/// As the real one.
#[derive(Debug)]
pub(super) struct Greenlet<T> {
    any: AnyGreenlet,
    value: Arc<Lock<Option<T>>>,
}

impl<T> Clone for Greenlet<T> {
    fn clone(&self) -> Self {
        Greenlet {
            any: self.any.clone(),
            value: self.value.clone(),
        }
    }
}

impl<T> std::ops::Deref for Greenlet<T> {
    type Target = AnyGreenlet;

    fn deref(&self) -> &AnyGreenlet {
        &self.any
    }
}

impl<T> Greenlet<T> {
    pub(super) fn take(&self) -> Result<T, GetError> {
        self.join();
        self.value.lock().take().ok_or(GetError::Taken)
    }
}

/// As the real one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wait {
    No,
    Forever,
    For(std::time::Duration),
}

/// As the real one.
pub(super) enum Body {
    Rust(Box<dyn FnOnce() + Send>),
}

/// As the real one.
pub(super) struct Builder;

impl Builder {
    pub(super) fn new() -> Self {
        Builder
    }

    pub(super) fn spawn_at<F, T>(
        self,
        at: &'static Location<'static>,
        f: F,
    ) -> io::Result<Greenlet<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_with(at, None, f)
    }

    pub(super) fn spawn_member<F, T>(
        self,
        at: &'static Location<'static>,
        member: Membership<'_>,
        f: F,
    ) -> io::Result<Greenlet<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_with(at, Some(member), f)
    }

    fn spawn_with<F, T>(
        self,
        at: &'static Location<'static>,
        member: Option<Membership<'_>>,
        f: F,
    ) -> io::Result<Greenlet<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let value = Arc::new(Lock::new(None));
        let place = value.clone();
        let body = Body::Rust(Box::new(move || *place.lock() = Some(f())));
        let any = self.spawn_body(at, body, member)?;
        Ok(Greenlet { any, value })
    }

    pub(super) fn spawn_body(
        self,
        _: &'static Location<'static>,
        Body::Rust(run): Body,
        member: Option<Membership<'_>>,
    ) -> io::Result<AnyGreenlet> {
        let any = AnyGreenlet::new();
        member.map(|member| member.begin(&any));
        let own = any.clone();
        loom::thread::spawn(move || {
            run();
            own.end();
        });
        Ok(any)
    }
}

pub(super) fn expect<T>(made: io::Result<T>) -> T {
    made.expect("loom makes threads")
}

#[track_caller]
pub(super) fn spawn<F, T>(f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    expect(Builder.spawn_at(Location::caller(), f))
}

pub(super) fn getcurrent() -> Option<AnyGreenlet> {
    None
}

/// Nobody is killed here: what a kill does to a wait is tested in the objects.
pub(super) fn killall(_: &[AnyGreenlet], _: Option<std::time::Duration>) -> bool {
    unreachable!("nobody is killed here")
}

pub(super) fn killall_with(
    _: &[AnyGreenlet],
    _: impl FnMut() -> Box<dyn Any + Send>,
    _: Wait,
) -> bool {
    unreachable!("nobody is killed here")
}
