//! What a thread has of its own here: its parker, what was thrown at it, its time-outs.
//!
//! # Synchronization
//! A record is made by its thread and shared with who kills it. `thrown` has a lock;
//! `pending` says that `thrown` or a time-out may have something, so that a wait looks
//! at one word. `thread` is emptied, under its lock, before the thread ends: who holds
//! the lock and finds it there may use it.
#![allow(unsafe_code)]

use std::any::Any;
use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64};
use std::time::Duration;

use super::backend;
use super::foreign;
use super::greenlet::{End, Shared};
use super::sync::{Arc, AtomicU32, Lock, Ordering, Parker, now};
use super::timeout::Deadline;
use super::waiters::{Ready, Waiter, sleep_until};

/// A panic's payload.
pub(super) type Payload = Box<dyn Any + Send>;

/// The wait was ended from outside: something was thrown, or a time-out fired. Whoever
/// has this either raises it or reports it; it is still pending.
#[derive(Debug)]
#[must_use]
pub(super) struct Interrupted;

impl Interrupted {
    /// Unwinds with what was thrown.
    pub(super) fn raise(self) -> ! {
        with(|current| current.take_interrupt()).map_or_else(
            // Nothing takes it between the look and here: both are on this thread.
            || unreachable!("an interruption without a cause"),
            |payload| resume_unwind(payload),
        )
    }
}

/// Raises an interruption: the Rust side of every call that waits.
pub(super) fn raised<T>(result: Result<T, Interrupted>) -> T {
    result.unwrap_or_else(|interrupted| interrupted.raise())
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    /// It got what it waited for.
    Ready,
    /// Its own time was up.
    TimedOut,
}

/// The record of a thread.
#[derive(Debug)]
pub(super) struct Current {
    /// Not 0, never used twice in a process.
    pub(super) id: u64,
    pub(super) parker: Arc<Parker>,
    /// The greenlet that it runs; none on a thread that is no greenlet.
    pub(super) greenlet: Option<Arc<Shared>>,
    /// Waits that it is in: more than one where a signal handler waits.
    waits: AtomicU32,
    pending: AtomicBool,
    unwinds: AtomicBool,
    thrown: Lock<VecDeque<Payload>>,
    deadlines: Lock<Vec<Arc<Deadline>>>,
    thread: Lock<Option<libc::pthread_t>>,
    /// Where the result of its C function goes.
    place: Lock<Option<foreign::Place>>,
    /// The payload of the last kill that its C code has seen; null for none.
    seen: AtomicPtr<libc::c_void>,
    /// What it has of the variables of C.
    pub(super) locals: foreign::Locals,
    /// How its greenlet ended, from its return to the thread's end.
    end: Lock<Option<End>>,
}

impl Current {
    pub(super) fn new(id: u64, greenlet: Option<Arc<Shared>>) -> Arc<Self> {
        Arc::new(Current {
            id,
            parker: Arc::default(),
            greenlet,
            waits: AtomicU32::new(0),
            pending: AtomicBool::new(false),
            unwinds: AtomicBool::new(false),
            thrown: Lock::new(VecDeque::new()),
            deadlines: Lock::new(Vec::new()),
            // SAFETY: no preconditions.
            thread: Lock::new(Some(unsafe { libc::pthread_self() })),
            place: Lock::new(None),
            seen: AtomicPtr::default(),
            locals: foreign::Locals::default(),
            end: Lock::new(None),
        })
    }

    /// Throws `payload` at the thread: its present or next wait ends with it. False: the
    /// thread has ended.
    pub(super) fn throw(&self, payload: Payload) -> bool {
        let thread = self.thread.lock();
        let Some(thread) = *thread else {
            return false;
        };
        self.thrown.lock().push_back(payload);
        self.pending.store(true, Ordering::Release);
        if self.unwinds.load(Ordering::Relaxed) {
            foreign::cancel(thread);
        } else {
            // A call of libc's that it is parked in ends with ECANCELED.
            backend::interrupt(thread);
        }
        // Last: who is woken finds everything that was meant for it.
        self.parker.unpark();
        true
    }

    /// Whether a kill cancels the thread, as C code can be unwound; on itself only.
    pub(super) fn set_unwinds(&self, unwinds: bool) {
        self.unwinds.store(unwinds, Ordering::Relaxed);
    }

    /// From here on nobody reaches the thread. Called by it at its end.
    pub(super) fn close(&self) {
        *self.thread.lock() = None;
    }

    /// Keeps the place of a C function's result.
    pub(super) fn keep(&self, place: foreign::Place) {
        *self.place.lock() = Some(place);
    }

    /// Whether its greenlet runs a C function.
    pub(super) fn is_foreign(&self) -> bool {
        self.place.lock().is_some()
    }

    /// Stores the result of its C function.
    pub(super) fn store(&self, result: *mut libc::c_void) {
        if let Some(place) = &*self.place.lock() {
            place.store(result, Ordering::Release);
        }
    }

    /// Its C code sees a kill with this payload; null for one without.
    pub(super) fn sees(&self, payload: *mut libc::c_void) {
        self.seen.store(payload, Ordering::Relaxed);
    }

    /// The payload of the kill that its C code unwinds with, or has seen.
    pub(super) fn killed_with(&self) -> Option<foreign::KilledWith> {
        if self.unwinds.load(Ordering::Relaxed)
            && let Some(thrown) = self.thrown.lock().front()
        {
            // It was cancelled outside of a wait, which nobody took.
            return thrown.downcast_ref().copied();
        }
        foreign::KilledWith::new(self.seen.load(Ordering::Relaxed))
    }

    /// The kill that has ended its C code interrupts nothing else.
    fn accept_kill(&self) {
        let killed = self.killed_with();
        self.sees(killed.map_or(std::ptr::null_mut(), foreign::KilledWith::get));
        let thrown = std::mem::take(&mut *self.thrown.lock());
        self.pending.store(false, Ordering::Release);
        drop(thrown);
    }

    /// Notes how its greenlet ended.
    pub(super) fn ending(&self, end: End) {
        *self.end.lock() = Some(end);
    }

    /// What was noted; nothing if its greenlet did not return.
    pub(super) fn take_end(&self) -> Option<End> {
        self.end.lock().take()
    }

    pub(super) fn add_deadline(&self, deadline: &Arc<Deadline>) {
        self.deadlines.lock().push(Arc::clone(deadline));
        self.publish_deadline();
    }

    pub(super) fn remove_deadline(&self, deadline: &Arc<Deadline>) {
        self.deadlines.lock().retain(|d| !Arc::ptr_eq(d, deadline));
        self.publish_deadline();
    }

    fn publish_deadline(&self) {
        backend::set_deadline(self.next_deadline());
    }

    /// When the first of its time-outs fires.
    fn next_deadline(&self) -> Option<u64> {
        self.deadlines.lock().iter().map(|d| d.at).min()
    }

    /// Whether a wait must end now, or when it must at the latest. A thread that unwinds
    /// is left alone: a second panic would abort the process.
    fn limit(&self, now: u64) -> Result<Option<u64>, Interrupted> {
        if std::thread::panicking() {
            return Ok(None);
        }
        if self.pending.load(Ordering::Acquire) {
            return Err(Interrupted);
        }
        match self.next_deadline() {
            Some(at) if at <= now => Err(Interrupted),
            limit => Ok(limit),
        }
    }

    /// What the thread must unwind with now.
    pub(super) fn take_interrupt(&self) -> Option<Payload> {
        let mut thrown = self.thrown.lock();
        let payload = thrown.pop_front();
        self.pending.store(!thrown.is_empty(), Ordering::Release);
        drop(thrown);
        if payload.is_some() {
            backend::settle();
            return payload;
        }
        let now = now();
        let mut deadlines = self.deadlines.lock();
        let first = (0..deadlines.len()).min_by_key(|&i| deadlines[i].at)?;
        if deadlines[first].at > now {
            return None;
        }
        let fired = deadlines.remove(first);
        drop(deadlines);
        self.publish_deadline();
        backend::settle();
        Some(fired.fire())
    }

    /// Whether something waits to be raised.
    pub(super) fn check(&self) -> Result<(), Interrupted> {
        self.limit(now()).map(|_| ())
    }

    /// Sleeps until `waiter` is let go. `deadline` in nanoseconds of CLOCK_MONOTONIC. If
    /// this is not `Ready` the caller takes the waiter out of its queue.
    pub(super) fn block(
        &self,
        waiter: &Waiter,
        deadline: Option<u64>,
    ) -> Result<Wake, Interrupted> {
        self.block_until(deadline, || waiter.is_notified())
    }

    /// As [`block`](Self::block), until `done`; whoever brings that about unparks.
    pub(super) fn block_until(
        &self,
        deadline: Option<u64>,
        done: impl Fn() -> bool,
    ) -> Result<Wake, Interrupted> {
        let mut interrupted = false;
        let outcome = self.sleep_until(done, |now| {
            let limit = self.limit(now).map_err(|Interrupted| interrupted = true)?;
            match deadline {
                Some(deadline) if deadline <= now => Err(()),
                Some(deadline) => Ok(Some(limit.map_or(deadline, |l| l.min(deadline)))),
                None => Ok(limit),
            }
        });
        match outcome {
            Ok(()) => Ok(Wake::Ready),
            Err(()) if interrupted => Err(Interrupted),
            Err(()) => Ok(Wake::TimedOut),
        }
    }

    /// See [`sleep_until`]. A signal handler that interrupted a wait may take the wake that
    /// was meant for it, so it leaves one behind.
    pub(super) fn sleep_until<S>(
        &self,
        done: impl Fn() -> bool,
        stop: impl FnMut(u64) -> Result<Option<u64>, S>,
    ) -> Result<(), S> {
        self.waits.fetch_add(1, Ordering::Relaxed);
        let outcome = sleep_until(&self.parker, done, stop);
        if self.waits.fetch_sub(1, Ordering::Relaxed) > 1 {
            self.parker.unpark();
        }
        outcome
    }
}

/// The deadline of a time span that begins now, in nanoseconds of CLOCK_MONOTONIC; none
/// for one that is longer than 584 years.
pub(super) fn deadline_in(span: Option<Duration>) -> Option<u64> {
    let span = u64::try_from(span?.as_nanos()).ok()?;
    now().checked_add(span)
}

/// A waiter of this thread.
pub(super) fn waiter(current: &Current) -> Arc<Waiter> {
    Waiter::new(&current.parker, process())
}

/// A waiter of this thread for one of several objects.
pub(super) fn tagged_waiter(current: &Current, ready: &Ready, tag: usize) -> Arc<Waiter> {
    Waiter::tagged(&current.parker, process(), ready, tag)
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The next number that nobody had.
pub(super) fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

static PROCESS: AtomicU32 = AtomicU32::new(0);

/// How many forks lie between the process in which this was first called and this one.
pub(super) fn process() -> u32 {
    static HANDLER: OnceLock<()> = OnceLock::new();
    extern "C" fn in_child() {
        PROCESS.fetch_add(1, Ordering::Relaxed);
        backend::forked(is_greenlet());
    }
    HANDLER.get_or_init(|| {
        // SAFETY: a function of ours that is async-signal-safe. Without memory for it a
        // forked child keeps its parent's waiters, who never answer.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
    PROCESS.load(Ordering::Relaxed)
}

static KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();

/// Whether the caller runs a greenlet. Makes no record and takes no lock.
fn is_greenlet() -> bool {
    KEY.get().is_some_and(|&key| {
        // SAFETY: our key; the record of this thread, if it has one.
        let record = unsafe { libc::pthread_getspecific(key).cast::<Current>().as_ref() };
        record.is_some_and(|current| current.greenlet.is_some())
    })
}

/// libc's key of the record: unlike a `thread_local!` it has a destructor in the
/// preloaded library too, and one that comes after those of the thread's own variables.
fn key() -> libc::pthread_key_t {
    *KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: our variable and function.
        let error = unsafe { libc::pthread_key_create(&mut key, Some(at_thread_end)) };
        assert_eq!(
            error, 0,
            "the program uses all of libc's thread-specific keys"
        );
        key
    })
}

/// What is called where a thread with a record ends, behind that.
static BEHIND: OnceLock<fn()> = OnceLock::new();

/// Has `f` called, in the preloaded library, where a thread with a record ends. Once.
pub fn call_behind_records(f: fn()) {
    BEHIND.get_or_init(|| f);
}

/// The destructor of the key of the records.
///
/// # Safety
/// Called by libc alone, with what [`set`] put there.
pub unsafe extern "C" fn at_thread_end(record: *mut libc::c_void) {
    // SAFETY: what `set` put there, taken back once: libc has emptied the place.
    let current = unsafe { Arc::from_raw(record.cast::<Current>()) };
    // What runs from here on has frames of Rust below it.
    foreign::never_cancel();
    if !current.locals.is_empty() {
        // Destructors find it, as those of a `thread_local!` do.
        current.accept_kill();
        // SAFETY: our key; emptied before the record goes.
        unsafe {
            libc::pthread_setspecific(key(), record);
            current.locals.destroy();
            libc::pthread_setspecific(key(), std::ptr::null());
        }
    }
    match current.greenlet.clone() {
        Some(greenlet) => super::greenlet::finish(current, &greenlet),
        None => current.close(),
    }
    if let Some(behind) = BEHIND.get() {
        behind();
    }
}

/// Makes `current` the record of this thread, which has none.
pub(super) fn set(current: Arc<Current>) {
    // SAFETY: our key; the pointer is taken back by `at_thread_end`.
    let error = unsafe { libc::pthread_setspecific(key(), Arc::into_raw(current).cast()) };
    assert_eq!(error, 0, "no memory for a thread's record");
}

/// Runs `f` with the record of this thread.
pub(super) fn with<R>(f: impl FnOnce(&Current) -> R) -> R {
    // SAFETY: our key.
    let mut at = unsafe { libc::pthread_getspecific(key()) }.cast::<Current>();
    if at.is_null() {
        let current = Current::new(next_id(), None);
        at = Arc::as_ptr(&current).cast_mut();
        set(current);
    }
    // SAFETY: the record of this thread, which is there until the thread's end.
    f(unsafe { &*at })
}
