//! How greenlets are made.
//!
//! A greenlet is a detached thread that libc's `pthread_create` makes: where the hub
//! runs, a guest; anywhere else, a kernel thread. std's threads would do, but for the
//! alternate signal stack that each of them maps, two mappings of the 65,530 that a
//! process may have.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::time::Duration;

use super::backend;
use super::current::{self, Current, deadline_in};
use super::error::GreenletExit;
use super::foreign::{Foreign, Place};
use super::greenlet::{AnyGreenlet, End, Greenlet, Shared};
use super::group::Membership;
use super::report;
use super::sync::{Arc, Lock};

/// Bytes of address space of a greenlet's stack: what std gives a thread. Pages that are
/// not used cost no memory.
pub const STACK_SIZE: usize = 2 << 20;

/// Smallest stack in bytes (`PTHREAD_STACK_MIN`).
const STACK_MIN: usize = 16 << 10;

/// How a greenlet is to be made.
///
/// ```
/// use gevent_runtime::api::Builder;
///
/// let greenlet = Builder::new().name("answer").spawn(|| 42).unwrap();
/// assert_eq!(greenlet.name(), "answer");
/// assert_eq!(greenlet.get().unwrap(), 42);
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "nothing is spawned until `spawn`"]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
    delay: Option<Duration>,
    callers: Option<Callers>,
}

/// Addresses of code that calls, innermost first.
pub type Callers = Arc<[usize]>;

impl Builder {
    /// A greenlet as [`spawn`] makes it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Its name, in reports and for the kernel (15 bytes of it).
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Bytes of its stack instead of [`STACK_SIZE`]; at least 16 KiB are made, in whole
    /// pages. An overflow ends the process with SIGSEGV.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// It begins so much later. Until then a kill means that it never runs.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Who spawns it, for languages in which [`Location`] says nothing:
    /// [`AnyGreenlet::callers`].
    pub fn callers(mut self, callers: Callers) -> Self {
        self.callers = Some(callers);
        self
    }

    /// Makes it. It runs when the caller waits, or is preempted.
    ///
    /// # Errors
    /// `pthread_create`'s: no memory, or no more threads allowed.
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<Greenlet<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_at(Location::caller(), f)
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
        self.spawn_typed(at, None, f)
    }

    /// As [`spawn`](Self::spawn), in a group.
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
        self.spawn_typed(at, Some(member), f)
    }

    fn spawn_typed<F, T>(
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
        let run = {
            let value = Arc::clone(&value);
            move || *value.lock() = Some(f())
        };
        let body = Body::Rust(Box::new(run));
        let any = self.spawn_body(at, body, member)?;
        Ok(Greenlet { any, value })
    }

    pub(super) fn spawn_boxed(
        self,
        at: &'static Location<'static>,
        run: Box<dyn FnOnce() + Send>,
    ) -> io::Result<AnyGreenlet> {
        self.spawn_body(at, Body::Rust(run), None)
    }

    /// As [`spawn`](Self::spawn), for a function of C.
    #[track_caller]
    pub(super) fn spawn_foreign(self, run: Foreign, to: Place) -> io::Result<AnyGreenlet> {
        self.spawn_body(Location::caller(), Body::Foreign(run, to), None)
    }

    /// As [`spawn`](Self::spawn), of whatever it runs. It is a member before it begins.
    pub(super) fn spawn_body(
        self,
        at: &'static Location<'static>,
        run: Body,
        member: Option<Membership<'_>>,
    ) -> io::Result<AnyGreenlet> {
        let named = self.name.is_some();
        let shared = Shared::new(self.name, at, self.callers);
        let start = Box::new(Start {
            shared: Arc::clone(&shared),
            begin_at: self.delay.and_then(|delay| deadline_in(Some(delay))),
            never: self.delay.is_some_and(|d| deadline_in(Some(d)).is_none()),
            named,
            run,
        });
        let greenlet = AnyGreenlet { shared };
        let group = member.map(|member| member.begin(&greenlet));
        if let Err(error) = create(start, self.stack_size) {
            if let Some(group) = group {
                group.discard(&greenlet);
            }
            return Err(error);
        }
        Ok(greenlet)
    }
}

/// Makes a greenlet that runs `f`. It runs when the caller waits, or is preempted.
///
/// # Panics
/// If libc can make no thread; [`Builder::spawn`] returns the error.
///
/// ```
/// let greenlet = gevent_runtime::api::spawn(|| "hello");
/// assert_eq!(greenlet.get().unwrap(), "hello");
/// ```
#[track_caller]
pub fn spawn<F, T>(f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    expect(Builder::new().spawn_at(Location::caller(), f))
}

/// Makes a greenlet that runs `f` after `delay`.
///
/// # Panics
/// As [`spawn`].
///
/// ```
/// use std::time::Duration;
/// use gevent_runtime::api::spawn_later;
///
/// assert_eq!(spawn_later(Duration::from_millis(5), || 1).get().unwrap(), 1);
/// ```
#[track_caller]
pub fn spawn_later<F, T>(delay: Duration, f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    expect(Builder::new().delay(delay).spawn_at(Location::caller(), f))
}

pub(super) fn expect<T>(made: io::Result<T>) -> T {
    match made {
        Ok(made) => made,
        Err(error) => panic!("no greenlet could be made: {error}"),
    }
}

/// Ends the calling greenlet with [`GreenletExit`]: destructors run, nothing is printed.
/// On a thread that is no greenlet it unwinds the thread.
pub fn exit() -> ! {
    std::panic::resume_unwind(Box::new(GreenletExit))
}

/// The greenlet that runs the caller; `None` on another thread.
pub fn getcurrent() -> Option<AnyGreenlet> {
    current::with(|current| {
        current.greenlet.as_ref().map(|shared| AnyGreenlet {
            shared: Arc::clone(shared),
        })
    })
}

/// What a greenlet runs.
pub(super) enum Body {
    Rust(Box<dyn FnOnce() + Send>),
    Foreign(Foreign, Place),
}

struct Start {
    shared: Arc<Shared>,
    begin_at: Option<u64>,
    never: bool,
    named: bool,
    run: Body,
}

/// Makes the thread: here, or on the hub if this is another thread while there is one.
fn create(start: Box<Start>, stack_size: Option<usize>) -> io::Result<()> {
    let size = stack_size
        .unwrap_or(STACK_SIZE)
        .clamp(STACK_MIN, 1 << 40)
        .next_multiple_of(4096);
    backend::on_hub(move || pthread_create(start, size)).and_then(|made| made)
}

fn pthread_create(start: Box<Start>, stack_size: usize) -> io::Result<()> {
    let start = Box::into_raw(start);
    backend::greenlet_started();
    let mut attributes = MaybeUninit::uninit();
    let mut thread = MaybeUninit::uninit();
    // SAFETY: attributes of ours, initialised first; `begin` takes the box, unless there
    // is no thread.
    unsafe {
        libc::pthread_attr_init(attributes.as_mut_ptr());
        libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), stack_size);
        libc::pthread_attr_setdetachstate(attributes.as_mut_ptr(), libc::PTHREAD_CREATE_DETACHED);
        let entry = std::mem::transmute::<
            extern "C-unwind" fn(*mut libc::c_void) -> *mut libc::c_void,
            extern "C" fn(*mut libc::c_void) -> *mut libc::c_void,
        >(begin);
        let error = libc::pthread_create(
            thread.as_mut_ptr(),
            attributes.as_ptr(),
            entry,
            start.cast(),
        );
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        if error != 0 {
            drop(Box::from_raw(start));
            backend::greenlet_ended();
            return Err(io::Error::from_raw_os_error(error));
        }
    }
    Ok(())
}

/// First function of a greenlet's thread. Its end is [`finish`](super::greenlet::finish),
/// the destructor of the record that is set here. A cancellation unwinds through this
/// frame and the next one alone, which hold nothing that has a destructor then.
extern "C-unwind" fn begin(start: *mut libc::c_void) -> *mut libc::c_void {
    if let Some(foreign) = prepare(start) {
        // SAFETY: who spawned it answers for the function and its argument.
        let result = unsafe { foreign.call() };
        returned(result);
    }
    std::ptr::null_mut()
}

/// Runs a greenlet of Rust, or makes everything ready for one of C.
#[inline(never)]
fn prepare(start: *mut libc::c_void) -> Option<Foreign> {
    // SAFETY: the box that `create` passed.
    let start = unsafe { Box::from_raw(start.cast::<Start>()) };
    let shared = start.shared;
    let current = Current::new(shared.id, Some(Arc::clone(&shared)));
    current::set(Arc::clone(&current));
    if start.named {
        let mut name = shared.name.as_bytes().to_vec();
        name.truncate(15);
        name.push(0);
        // SAFETY: a string with its end.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    }
    if start.begin_at.is_some() || start.never {
        // A kill meanwhile ends it, which ends this.
        let killed = shared.join_until(start.begin_at);
        if killed.is_err() {
            unreachable!("a greenlet that has not begun has no time-outs");
        }
    }
    if !shared.begin(&current) {
        return None;
    }
    drop(current);
    match start.run {
        Body::Rust(run) => {
            let end = match catch_unwind(AssertUnwindSafe(run)) {
                Ok(()) => End::Value,
                Err(payload) => End::of(payload),
            };
            report::failure(&shared, &end);
            current::with(|current| current.ending(end));
            None
        }
        Body::Foreign(foreign, place) => {
            current::with(|current| {
                current.keep(place);
                current.set_unwinds(true);
            });
            Some(foreign)
        }
    }
}

/// A function of C has returned.
#[inline(never)]
fn returned(result: *mut libc::c_void) {
    current::with(|current| {
        current.store(result);
        current.ending(End::Value);
    });
}
