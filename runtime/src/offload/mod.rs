//! Kernel threads that do for a guest what would stop the hub.
//!
//! A blocking call that neither try nor readiness nor io_uring can carry: a futex
//! that another process wakes, a lock of a file, a file whose server is slow. And
//! work of ours that takes locks of libc's, which a guest may hold that cannot run
//! while the hub waits: patching an object that is being opened. That is brief, and the
//! [`monitor`] does it.
//!
//! The pool's threads are for what may take long. They are made when first needed, block
//! every signal but the one that ends a call of theirs, and are never guests.
//!
//! # Credentials
//! A kernel thread has credentials of its own. When the program changes the hub's, the
//! threads that have the old ones end, and new ones inherit what the hub has.
//!
//! # Synchronization
//! `Pool::state` is a lock between the hub's host context, the monitor and the pool's
//! threads; no guest ever holds or waits for it. It makes its own system calls, as
//! everything on a thread of the pool must. A request belongs to the pool from `start`
//! until its guest's wake.
#![allow(unsafe_code)]

mod thread;

use std::collections::VecDeque;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering};

use patch_events::events;
use rustix_futex_sync::{Condvar, Mutex, MutexGuard};

use crate::arch::rare::{self, Rare};
use crate::arch::{self, syscall0, syscall4};
use crate::config;
use crate::guest::{Guest, Reason};
use crate::hub::hub;
use crate::monitor::{self, PREEMPT};
use crate::raw;
use crate::signal;
use crate::wanted::{self, ExecMapping};
use thread::Place;

/// What a thread of the pool is to do.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// A system call.
    Call(u64, [u64; 6]),
    /// A system call that the guest's signals end.
    Interruptible(u64, [u64; 6], *const Ticket),
    /// The engine's [`on_exec_mapping`](wanted::on_exec_mapping).
    Patch(ExecMapping),
}

/// How a guest ends a call it has handed over. On the stack of the guest, which is
/// parked until the request is complete.
///
/// # Synchronization
/// `thread` is written and read under the pool's lock. `ended` is set under it too,
/// and looked at by the thread that makes the call and by its signal handler.
#[derive(Default, Debug)]
struct Ticket {
    /// Kernel thread that makes the call; 0 before one does and afterwards.
    thread: AtomicI32,
    /// Not zero: the call is to end.
    ended: AtomicU32,
}

struct Request {
    work: Work,
    guest: *const Guest,
    /// The guest's, with which its call accesses memory.
    rare: Rare,
}

// SAFETY: the guest waits for the request, so its record stays; the pool's thread
// writes `result` and then wakes it.
unsafe impl Send for Request {}

impl Request {
    fn perform(&self) {
        self.rare.restore();
        let result = match self.work {
            // SAFETY: the guest's own call; its buffers stay while it is parked.
            Work::Call(nr, args) => unsafe { arch::syscall(nr, args) },
            // SAFETY: as above; the ticket is on the guest's stack.
            Work::Interruptible(nr, args, ticket) => unsafe { interruptible(&*ticket, nr, &args) },
            Work::Patch(ref mapping) => {
                wanted::on_exec_mapping(mapping);
                0
            }
        };
        rare::open_all();
        self.complete(result);
    }

    fn is_of(&self, guest: &Guest) -> bool {
        ptr::eq(self.guest, guest)
    }

    fn complete(&self, result: i64) {
        // SAFETY: the guest waits for exactly this.
        unsafe {
            (*self.guest).result.set(result);
            hub().wake_from_anywhere(self.guest);
        }
    }
}

/// Makes a call until it is done or its ticket says that it is to end.
///
/// # Safety
/// As the call itself; on a thread of the pool.
unsafe fn interruptible(ticket: &Ticket, nr: u64, args: &[u64; 6]) -> i64 {
    let Some(pool) = pool() else {
        return raw::err(libc::EINTR);
    };
    // SAFETY: no arguments.
    let tid = unsafe { syscall0(libc::SYS_gettid) } as i32;
    {
        let _state = pool.lock();
        ticket.thread.store(tid, Ordering::Relaxed);
    }
    mask(libc::SIG_UNBLOCK);
    let result = loop {
        // SAFETY: the caller's contract.
        let ret = unsafe { arch::interruptible_syscall(&ticket.ended, nr, args) };
        // A signal meant for this thread's last call is none of this one's.
        if ret != raw::err(libc::EINTR) || ticket.ended.load(Ordering::Relaxed) != 0 {
            break ret;
        }
    };
    mask(libc::SIG_BLOCK);
    let _state = pool.lock();
    ticket.thread.store(0, Ordering::Relaxed);
    result
}

/// Lets this thread be interrupted, or not.
fn mask(how: i32) {
    let set = 1u64 << (PREEMPT - 1);
    // SAFETY: a set of ours.
    unsafe {
        syscall4(
            libc::SYS_rt_sigprocmask,
            how as u64,
            &raw const set as u64,
            0,
            8,
        )
    };
}

#[derive(Default)]
struct State {
    /// For the monitor.
    brief: VecDeque<Request>,
    /// For the pool's threads.
    queue: VecDeque<Request>,
    /// Threads that carry out a request, and threads, that have the hub's credentials.
    busy: usize,
    threads: usize,
    /// Which credentials those are.
    credentials: u32,
    /// Memory of threads: ended ones too, to be used again.
    places: Vec<Place>,
    /// As `places`, for threads that make one call each under the hub's filters.
    bound: Vec<Place>,
}

impl State {
    /// Threads that take a request as soon as they run: one that was just made is such a thread.
    fn idle(&self) -> usize {
        self.threads - self.busy
    }

    /// Whether no thread is left for another request.
    fn is_full(&self) -> bool {
        self.idle() <= self.queue.len()
    }
}

/// See the file's first lines.
#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    work: Condvar,
}

static POOL: AtomicPtr<Pool> = AtomicPtr::new(ptr::null_mut());

/// In a forked child: the threads are gone, and a lock may be held by one.
pub fn reset_after_fork() {
    MAKING.store(false, Ordering::Relaxed);
    FIXED.store(0, Ordering::Relaxed);
    POOL.store(ptr::null_mut(), Ordering::Relaxed);
}

/// Runs system call `nr` on a thread of the pool while `guest`, the caller, is
/// parked. Not interruptible: the call must end by itself. If there can be no thread the
/// call is made here, and the hub waits for it.
pub fn run(guest: &'static Guest, nr: i64, args: [u64; 6]) -> i64 {
    if start(guest, Work::Call(nr as u64, args), submit) {
        wait_in_flight(guest);
        return guest.result.get();
    }
    // SAFETY: the guest's own call.
    unsafe { arch::syscall(nr as u64, args) }
}

/// As [`run`], for a call that waits for others: a signal for the guest ends it, and
/// the result is then `-EINTR`. `None`: every thread of the pool is busy, perhaps with
/// calls that wait for what the caller is about to do; or there can be none
/// ([`is_missing`]).
pub fn run_interruptible(guest: &'static Guest, nr: i64, args: [u64; 6]) -> Option<i64> {
    let hub = guest.hub();
    let is_full = || {
        let full = pool().is_some_and(Pool::is_full);
        if full {
            tell_full(config::get().pool);
        }
        full
    };
    if hub.call(guest, is_full) {
        return None;
    }
    let ticket = Ticket::default();
    let work = Work::Interruptible(nr as u64, args, &raw const ticket);
    if !start(guest, work, submit) {
        return None;
    }
    Some(wait_interruptible(guest, &ticket))
}

/// How long until a thread that is to end a call is told again, in nanoseconds, if at
/// RLIMIT_SIGPENDING another one may have been told.
const PATIENCE: u64 = 10_000_000;

/// Parks `guest` until its request is complete, which a signal ends.
fn wait_interruptible(guest: &'static Guest, ticket: &Ticket) -> i64 {
    let hub = guest.hub();
    let mut interruptible = true;
    let mut told = true;
    while guest.in_flight.get() {
        let again = (!told).then(|| raw::now() + PATIENCE);
        let reason = hub.park(guest, again, interruptible);
        if matches!(reason, Reason::Signal | Reason::Timeout) && guest.in_flight.get() {
            interruptible = false;
            told = hub.call(guest, || end(guest, ticket));
        }
    }
    guest.result.get()
}

/// As [`run_interruptible`], on a kernel thread that has the filters of system calls that the
/// hub has: one is made for the call. `None`: none can be made.
pub fn run_bound(guest: &'static Guest, nr: i64, args: [u64; 6]) -> Option<i64> {
    let ticket = Ticket::default();
    let request = Request {
        work: Work::Interruptible(nr as u64, args, &raw const ticket),
        guest,
        rare: Rare::current(),
    };
    guest.in_flight.set(true);
    if !guest.hub().call(guest, || start_bound(&request)) {
        guest.in_flight.set(false);
        return None;
    }
    Some(wait_interruptible(guest, &ticket))
}

/// Host context.
fn start_bound(request: &Request) -> bool {
    let mut state = made().lock();
    if !state.bound.iter().any(Place::is_free) {
        state.bound.extend(Place::new());
    }
    let Some(place) = state.bound.iter().find(|place| place.is_free()) else {
        return false;
    };
    let mask = signal::block_all();
    // SAFETY: on the stack of the request's guest, which waits for it.
    let started = unsafe { place.start_once(request) };
    signal::restore_kernel_mask(mask);
    started
}

/// The pool has no thread, and the kernel made none when one was last wanted.
static MISSING: AtomicBool = AtomicBool::new(false);

/// Whether that is so: a call that nothing but the kernel can carry out stops the hub.
pub fn is_missing() -> bool {
    MISSING.load(Ordering::Relaxed)
}

/// Host context: ends the call that `guest` has handed over. False: the thread that makes it may
/// not know.
fn end(guest: &'static Guest, ticket: &Ticket) -> bool {
    let Some(pool) = pool() else {
        return true;
    };
    let mut state = pool.lock();
    ticket.ended.store(1, Ordering::Relaxed);
    if let Some(at) = state.queue.iter().position(|request| request.is_of(guest)) {
        let request = state.queue.remove(at);
        drop(state);
        if let Some(request) = request {
            request.complete(raw::err(libc::EINTR));
        }
        return true;
    }
    let thread = ticket.thread.load(Ordering::Relaxed);
    // One that has yet to begin looks at the ticket.
    // SAFETY: no pointers; a thread of ours, which cannot end meanwhile.
    thread == 0 || unsafe { monitor::signal(syscall0(libc::SYS_getpid) as u64, thread as u64) }
}

/// As [`run`], for a call that does not take long: the monitor makes it.
pub fn run_brief(guest: &'static Guest, nr: i64, args: [u64; 6]) -> i64 {
    if monitor::is_present() && start(guest, Work::Call(nr as u64, args), submit_brief) {
        wait_in_flight(guest);
        return guest.result.get();
    }
    // SAFETY: the guest's own call.
    unsafe { arch::syscall(nr as u64, args) }
}

/// Has the engine patch a file that was just mapped executable, while `guest`, the
/// caller, is parked.
pub fn patch(guest: &'static Guest, mapping: ExecMapping) {
    // Without a monitor the object stays as it is.
    if monitor::is_present() && start(guest, Work::Patch(mapping), submit_brief) {
        wait_in_flight(guest);
    }
}

/// The hub's kernel thread has other credentials, or another view of the system, than
/// before: calls that are handed over from now on have the same. `guest` is the caller.
pub fn credentials_changed(guest: &'static Guest) {
    guest.hub().call(guest, || {
        let Some(pool) = pool() else {
            return;
        };
        let mut state = pool.lock();
        state.credentials = state.credentials.wrapping_add(1);
        (state.threads, state.busy) = (0, 0);
        pool.work.notify_all();
        let most = config::get().pool;
        let wanted = if is_fixed() {
            WHEN_FIXED
        } else {
            state.queue.len()
        };
        while state.threads < wanted.min(most) && add_thread(&mut state) {}
    });
}

/// Why no thread is made any more as long as there are some.
static FIXED: AtomicU32 = AtomicU32::new(0);

/// It would have the filters of system calls that the hub has, which may not even let it be
/// made.
pub const BY_FILTER: u32 = 1;
/// The children of the hub's kernel thread are in another pid namespace, where no thread of this
/// process can be.
pub const BY_NAMESPACE: u32 = 2;

fn is_fixed() -> bool {
    FIXED.load(Ordering::Relaxed) != 0
}

/// Threads that are made before there can be no more.
const WHEN_FIXED: usize = 32;

/// Host context: for this reason there are about to be no new threads. The pool gets those that
/// it is to have from here on.
pub fn fix(reason: u32) {
    if FIXED.fetch_or(reason, Ordering::Relaxed) != 0 {
        return;
    }
    let pool = made();
    let mut state = pool.lock();
    let most = config::get().pool.min(WHEN_FIXED);
    while state.threads < most && add_thread(&mut state) {}
}

/// That reason is none after all, or no more.
pub fn release(reason: u32) {
    FIXED.fetch_and(!reason, Ordering::Relaxed);
}

/// Host context: the pool, new if there is none.
fn made() -> &'static Pool {
    pool().unwrap_or_else(|| {
        let pool = Box::leak(Box::<Pool>::default());
        POOL.store(pool, Ordering::Release);
        pool
    })
}

/// Hands work over. False if nobody takes it.
fn start(guest: &'static Guest, work: Work, submit: fn(&'static Pool, Request) -> bool) -> bool {
    guest.in_flight.set(true);
    // Before the host context, which has others.
    let rare = Rare::current();
    let taken = guest
        .hub()
        .call(guest, || submit(made(), Request { work, guest, rare }));
    if !taken {
        guest.in_flight.set(false);
    }
    taken
}

/// The pool, if there is one.
fn pool() -> Option<&'static Pool> {
    // SAFETY: pools are never freed.
    unsafe { POOL.load(Ordering::Acquire).as_ref() }
}

/// Host context: queues a request, with another thread for it if all are busy. False if
/// there is no thread at all.
fn submit(pool: &'static Pool, request: Request) -> bool {
    let most = config::get().pool;
    let mut state = pool.lock();
    let fixed = is_fixed() && state.threads > 0;
    if !fixed && state.is_full() && state.threads < most {
        add_thread(&mut state);
    }
    MISSING.store(state.threads == 0, Ordering::Relaxed);
    if state.threads == 0 {
        drop(state);
        tell_missing();
        return false;
    }
    state.queue.push_back(request);
    pool.work.notify_one();
    if state.queue.len() > state.idle() && state.threads >= most {
        drop(state);
        tell_full(most);
    }
    true
}

/// Host context.
fn tell_full(threads: usize) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, Ordering::Relaxed) {
        events::PoolFull { threads }.emit();
    }
}

/// Host context.
fn tell_missing() {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, Ordering::Relaxed) {
        events::PoolMissing {}.emit();
    }
}

/// Host context: makes a thread.
fn add_thread(state: &mut State) -> bool {
    if !state.places.iter().any(Place::is_free) {
        state.places.extend(Place::new());
    }
    let Some(place) = state.places.iter().find(|place| place.is_free()) else {
        return false;
    };
    let mask = signal::block_all();
    let started = place.start(state.credentials);
    signal::restore_kernel_mask(mask);
    state.threads += started as usize;
    started
}

/// The monitor makes a thread with libc, and may wait for a lock that a guest holds.
static MAKING: AtomicBool = AtomicBool::new(false);

/// Host context: queues a request for the monitor. While that makes a thread, the work is
/// done here: it may wait for a lock that the request's guest holds.
fn submit_brief(pool: &'static Pool, request: Request) -> bool {
    if MAKING.load(Ordering::SeqCst) {
        request.perform();
        return true;
    }
    let guest = request.guest;
    pool.lock().brief.push_back(request);
    monitor::ring();
    if MAKING.load(Ordering::SeqCst) {
        let mut state = pool.lock();
        let at = state
            .brief
            .iter()
            .position(|request| ptr::eq(request.guest, guest));
        let request = at.and_then(|at| state.brief.remove(at));
        drop(state);
        if let Some(request) = request {
            request.perform();
        }
    }
    true
}

/// The monitor is about to make a thread with libc.
pub fn begin_thread_making() {
    MAKING.store(true, Ordering::SeqCst);
    // What was queued before somebody could see that.
    serve_brief();
}

/// It has made it.
pub fn end_thread_making() {
    MAKING.store(false, Ordering::SeqCst);
}

/// Does what is brief. Called by the monitor when its bell was rung.
pub fn serve_brief() {
    let Some(pool) = pool() else {
        return;
    };
    loop {
        let Some(request) = pool.lock().brief.pop_front() else {
            return;
        };
        request.perform();
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn is_full(&self) -> bool {
        let state = self.lock();
        let most = state.threads >= config::get().pool || is_fixed();
        most && state.threads > 0 && state.is_full()
    }

    /// What a thread of the pool does that was made with these credentials, until they are
    /// the wrong ones.
    fn serve(&self, credentials: u32) {
        let mut state = self.lock();
        while state.credentials == credentials {
            if let Some(request) = state.queue.pop_front() {
                state.busy += 1;
                drop(state);
                request.perform();
                state = self.lock();
                if state.credentials == credentials {
                    state.busy -= 1;
                }
                continue;
            }
            state = self.work.wait(state);
        }
    }
}

/// Parks `guest` until its operation with the kernel or the pool is complete.
pub fn wait_in_flight(guest: &'static Guest) {
    while guest.in_flight.get() {
        let _: Reason = guest.hub().park(guest, None, false);
    }
}
