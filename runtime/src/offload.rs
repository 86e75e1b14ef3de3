//! Kernel threads that do for a guest what would stop the hub.
//!
//! A blocking call that neither try nor readiness nor io_uring can carry: a futex
//! that another process wakes, a regular file that is not in the page cache. And
//! work of ours that takes locks of libc's, which a guest may hold that cannot run
//! while the hub waits: patching an object that is being opened.
//!
//! What is brief is done by the [`monitor`](crate::monitor), which is always there:
//! the guest may hold the loader's lock, and making a thread takes that lock. The
//! pool's threads are for what may take long. They are started when first needed, by
//! the monitor too, so that the hub never waits for that lock. All of them block
//! every signal and are never guests.
//!
//! # Synchronization
//! `Pool::state` is a mutex between the hub's host context and the pool's
//! threads; no guest ever holds or waits for it. A request belongs to the pool
//! from `run` until its guest's wake.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::arch;
use crate::guest::{Guest, Reason};
use crate::hub::hub;
use crate::libc_threads;
use crate::monitor;
use crate::wanted;

/// Threads the pool may have. A request beyond that waits for one to finish.
const MAX_THREADS: usize = 256;

/// What a thread of the pool is to do.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// A system call.
    Call(u64, [u64; 6]),
    /// The engine's [`on_exec_mapping`](wanted::on_exec_mapping).
    Patch(usize, usize),
}

struct Request {
    work: Work,
    guest: *const Guest,
}

// SAFETY: the guest waits for the request, so its record stays; the pool's thread
// writes `result` and then wakes it.
unsafe impl Send for Request {}

impl Request {
    fn perform(&self) {
        let result = match self.work {
            // SAFETY: the guest's own call; its buffers stay while it is parked.
            Work::Call(nr, args) => unsafe { arch::syscall(nr, args) },
            Work::Patch(addr, len) => {
                wanted::on_exec_mapping(addr, len);
                0
            }
        };
        self.complete(result);
    }

    fn complete(&self, result: i64) {
        // SAFETY: the guest waits for exactly this.
        unsafe {
            (*self.guest).result.set(result);
            hub().wake_from_anywhere(self.guest);
        }
    }
}

#[derive(Default)]
struct State {
    /// For the monitor.
    brief: VecDeque<Request>,
    /// For the pool's threads.
    queue: VecDeque<Request>,
    idle: usize,
    threads: usize,
    /// The monitor makes a thread now, and may wait for a lock.
    spawning: bool,
}

#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    work: Condvar,
}

static POOL: AtomicPtr<Pool> = AtomicPtr::new(ptr::null_mut());

/// No thread could be made: never a result of the kernel's.
const NO_THREAD: i64 = i64::MIN;

/// In a forked child: the threads are gone, and a lock may be held by one.
pub fn reset_after_fork() {
    POOL.store(ptr::null_mut(), Ordering::Relaxed);
}

/// Runs system call `nr` on a thread of the pool while `guest`, the caller, is
/// parked. Not interruptible: the call must end by itself. The caller must hold no
/// lock that libc takes to make a thread. If there can be no thread the call is made
/// here, and the hub waits for it.
pub fn run(guest: &'static Guest, nr: i64, args: [u64; 6]) -> i64 {
    let result = if monitor::is_present() {
        hand_over(guest, Work::Call(nr as u64, args), submit)
    } else {
        NO_THREAD
    };
    match result {
        // SAFETY: the guest's own call.
        NO_THREAD => unsafe { arch::syscall(nr as u64, args) },
        ret => ret,
    }
}

/// As [`run`], for a call that does not take long, whatever the caller holds.
pub fn run_brief(guest: &'static Guest, nr: i64, args: [u64; 6]) -> i64 {
    if monitor::is_present() {
        return hand_over(guest, Work::Call(nr as u64, args), submit_brief);
    }
    // SAFETY: the guest's own call.
    unsafe { arch::syscall(nr as u64, args) }
}

/// Has the engine patch a file that was just mapped executable, while `guest`, the
/// caller, is parked.
pub fn patch(guest: &'static Guest, addr: usize, len: usize) {
    // Without a monitor the object stays as it is.
    if monitor::is_present() {
        hand_over(guest, Work::Patch(addr, len), submit_brief);
    }
}

fn hand_over(guest: &'static Guest, work: Work, submit: fn(&Pool, Request)) -> i64 {
    guest.in_flight.set(true);
    guest.hub().call(guest, || {
        let pool = pool().unwrap_or_else(|| {
            let pool = Box::leak(Box::<Pool>::default());
            POOL.store(pool, Ordering::Release);
            pool
        });
        submit(pool, Request { work, guest });
    });
    wait_in_flight(guest);
    guest.result.get()
}

/// The pool, if there is one.
fn pool() -> Option<&'static Pool> {
    // SAFETY: pools are never freed.
    unsafe { POOL.load(Ordering::Acquire).as_ref() }
}

/// Host context: queues a request, and asks for a thread if all are busy.
fn submit(pool: &Pool, request: Request) {
    let mut state = pool.lock();
    state.queue.push_back(request);
    if state.idle < state.queue.len() && state.threads < MAX_THREADS {
        state.threads += 1;
        monitor::want_thread();
    }
    pool.work.notify_one();
}

/// Host context: queues a request for the monitor. While that makes a thread it may
/// wait for a lock that the request's guest holds: then the work is done here.
fn submit_brief(pool: &Pool, request: Request) {
    let mut state = pool.lock();
    if state.spawning {
        drop(state);
        request.perform();
        return;
    }
    state.brief.push_back(request);
    drop(state);
    monitor::ring();
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

/// Makes a thread of the pool, as `submit` asked. Called by the monitor.
pub fn start_thread() {
    let Some(pool) = pool() else {
        return;
    };
    loop {
        serve_brief();
        let mut state = pool.lock();
        if state.brief.is_empty() {
            state.spawning = true;
            break;
        }
    }
    let spawned = std::thread::Builder::new()
        .stack_size(64 << 10)
        .spawn(move || pool.serve());
    pool.lock().spawning = false;
    if spawned.is_ok() {
        // A program's last thread is its last, whatever we run beside it.
        libc_threads::discount(1);
        return;
    }
    let mut state = pool.lock();
    state.threads -= 1;
    if state.threads == 0 {
        for request in state.queue.drain(..) {
            request.complete(NO_THREAD);
        }
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        loop {
            let mut state = self.lock();
            let request = loop {
                if let Some(request) = state.queue.pop_front() {
                    break request;
                }
                state.idle += 1;
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            };
            drop(state);
            request.perform();
        }
    }
}

/// Parks `guest` until its operation with the kernel or the pool is complete.
pub fn wait_in_flight(guest: &'static Guest) {
    while guest.in_flight.get() {
        let _: Reason = guest.hub().park(guest, None, false);
    }
}
