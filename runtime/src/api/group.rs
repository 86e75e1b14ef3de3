//! Greenlets that are waited for and killed together.

use std::collections::HashMap;
use std::panic::Location;
use std::time::Duration;

use super::current::{Interrupted, deadline_in, process, raised};
use super::greenlet::{AnyGreenlet, Greenlet, Wait};
use super::semaphore::Semaphore;
use super::spawn::{Builder, expect};
use super::sync::{Arc, Guard, Lock};
use super::waiters::Waiters;
use super::waiting::wait_in;

#[derive(Debug, Default)]
struct State {
    /// The process whose greenlets the members are.
    process: u32,
    members: HashMap<u64, Member>,
    joiners: Waiters,
}

#[derive(Debug)]
struct Member {
    greenlet: AnyGreenlet,
    /// Its place in a pool, given back with this.
    place: Place,
}

/// A place in a pool, or none if it has no limit.
#[derive(Debug, Default)]
pub(super) struct Place(pub(super) Option<Semaphore>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(places) = &self.0 {
            places.release();
        }
    }
}

/// The group that a new greenlet is to be in, and its place there.
pub(super) struct Membership<'a> {
    pub(super) group: &'a Group,
    pub(super) place: Place,
}

impl<'a> Membership<'a> {
    /// Makes it a member, before it begins.
    pub(super) fn begin(self, greenlet: &AnyGreenlet) -> &'a Group {
        self.group.add_with(greenlet, self.place);
        self.group
    }
}

/// A set of greenlets; each leaves it when it ends. Clones are the same set. Any thread.
///
/// ```
/// use gevent_runtime::api::Group;
///
/// let group = Group::new();
/// group.spawn(|| 1);
/// group.spawn(|| 2);
/// group.join();
/// assert!(group.is_empty());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Group {
    state: Arc<Lock<State>>,
}

impl Group {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a greenlet in the set.
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

    pub(super) fn spawn_at<F, T>(&self, at: &'static Location<'static>, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let member = Membership {
            group: self,
            place: Place::default(),
        };
        expect(Builder::new().spawn_member(at, member, f))
    }

    /// The state, without those whom a fork left behind: they never end here.
    fn state(&self) -> Guard<'_, State> {
        let mut state = self.state.lock();
        if state.process == process() {
            return state;
        }
        state.process = process();
        let (stay, lost) = std::mem::take(&mut state.members)
            .into_iter()
            .partition(|(_, member)| !member.greenlet.ready());
        state.members = stay;
        drop(state);
        // Gives their places back.
        drop::<HashMap<_, _>>(lost);
        self.state.lock()
    }

    /// Adds a greenlet. One that has ended is not added.
    pub fn add(&self, greenlet: &AnyGreenlet) {
        self.add_with(greenlet, Place::default());
    }

    /// As [`add`](Self::add), with a place that is given back when it leaves.
    pub(super) fn add_with(&self, greenlet: &AnyGreenlet, place: Place) {
        let id = greenlet.minimal_ident();
        let member = Member {
            greenlet: greenlet.clone(),
            place,
        };
        let before = self.state().members.insert(id, member);
        drop(before);
        if greenlet.ready() {
            self.discard(greenlet);
        } else {
            let group = self.clone();
            greenlet.link(move |greenlet| group.discard(greenlet));
        }
    }

    /// Takes a greenlet out, which goes on. If it is not in the set nothing happens.
    pub fn discard(&self, greenlet: &AnyGreenlet) {
        let mut state = self.state();
        let member = state.members.remove(&greenlet.minimal_ident());
        let left = member.map(|member| {
            // Who sees that it left finds its place free.
            drop(member.place);
            member.greenlet
        });
        if state.members.is_empty() {
            state.joiners.notify_all(process());
        }
        drop(state);
        drop(left);
    }

    /// Number of greenlets in the set.
    pub fn len(&self) -> usize {
        self.state().members.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether that greenlet is in the set.
    pub fn contains(&self, greenlet: &AnyGreenlet) -> bool {
        let state = self.state();
        state.members.contains_key(&greenlet.minimal_ident())
    }

    /// The greenlets in the set, oldest first.
    pub fn greenlets(&self) -> Vec<AnyGreenlet> {
        let state = self.state();
        let members = state.members.values();
        let mut all: Vec<_> = members.map(|member| member.greenlet.clone()).collect();
        drop(state);
        all.sort_by_key(|greenlet| greenlet.minimal_ident());
        all
    }

    /// Waits until the set is empty.
    pub fn join(&self) {
        raised(self.join_until(None));
    }

    /// As [`join`](Self::join), `span` at most. Whether the set is empty.
    pub fn join_timeout(&self, span: Duration) -> bool {
        raised(self.join_until(deadline_in(Some(span))))
    }

    pub(super) fn join_until(&self, deadline: Option<u64>) -> Result<bool, Interrupted> {
        drop(self.state());
        wait_in(
            &self.state,
            |s| &mut s.joiners,
            |s| s.members.is_empty(),
            deadline,
        )
    }

    /// Kills every greenlet in the set, also those that are spawned in it meanwhile, and
    /// waits until it is empty.
    pub fn kill(&self) {
        while !self.is_empty() {
            super::killall(&self.greenlets(), None);
            raised(self.settle());
        }
    }

    /// As [`kill`](Self::kill), with a choice of how long to wait. Whether it is empty.
    pub fn kill_with(&self, wait: Wait) -> bool {
        match wait {
            Wait::Forever => {
                self.kill();
                true
            }
            Wait::No => {
                super::killall_with(&self.greenlets(), exit, Wait::No);
                self.is_empty()
            }
            Wait::For(span) => {
                super::killall_with(&self.greenlets(), exit, Wait::No);
                self.join_timeout(span)
            }
        }
    }

    /// Waits until the ended ones have left the set, which is the last they do.
    fn settle(&self) -> Result<(), Interrupted> {
        wait_in(
            &self.state,
            |s| &mut s.joiners,
            |s| s.members.is_empty() || s.members.values().any(|m| !m.greenlet.ready()),
            None,
        )
        .map(|_| ())
    }
}

fn exit() -> Box<dyn std::any::Any + Send> {
    Box::new(super::GreenletExit)
}
