//! Kernel threads that run one blocking system call for a guest.
//!
//! For calls that neither try nor readiness nor io_uring can carry: a futex that
//! another process wakes, waiting for any child, a regular file with the epoll
//! reactor. The threads are started when first needed, block every signal, and
//! are never guests.
//!
//! # Synchronization
//! `Pool::state` is a mutex between the hub's host context and the pool's
//! threads; no guest ever holds or waits for it. A request belongs to the pool
//! from `run` until its guest's wake.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::arch;
use crate::guest::{Guest, Reason};
use crate::hub::hub;
use crate::libc_threads;
use crate::raw::err;
use crate::signal;

/// Threads the pool may have. A request beyond that waits for one to finish.
const MAX_THREADS: usize = 256;

struct Request {
    nr: u64,
    args: [u64; 6],
    guest: *const Guest,
}

// SAFETY: the guest waits for the request, so its record stays; the pool's thread
// writes `result` and then wakes it.
unsafe impl Send for Request {}

#[derive(Default)]
struct State {
    queue: VecDeque<Request>,
    idle: usize,
    threads: usize,
}

#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    work: Condvar,
}

static POOL: AtomicPtr<Pool> = AtomicPtr::new(ptr::null_mut());

/// In a forked child: the threads are gone, and a lock may be held by one.
pub fn reset_after_fork() {
    POOL.store(ptr::null_mut(), Ordering::Relaxed);
}

/// Runs system call `nr` on a thread of the pool while `guest`, the caller, is
/// parked. Not interruptible: the call itself must end, so it is given only calls
/// that do not wait for ever or that `abandonable` ones replace. Returns the
/// call's result, or -EAGAIN if there is no thread to run it.
pub fn run(guest: &'static Guest, nr: i64, args: [u64; 6]) -> i64 {
    let request = Request {
        nr: nr as u64,
        args,
        guest,
    };
    guest.in_flight.set(true);
    let accepted = guest.hub().call(guest, || submit(request));
    if !accepted {
        guest.in_flight.set(false);
        return err(libc::EAGAIN);
    }
    while guest.in_flight.get() {
        guest.hub().park(guest, None, false);
    }
    guest.result.get()
}

/// Host context: queues a request. False if no thread can take it.
fn submit(request: Request) -> bool {
    let mut pool = POOL.load(Ordering::Relaxed);
    if pool.is_null() {
        pool = Box::into_raw(Box::default());
        POOL.store(pool, Ordering::Relaxed);
    }
    // SAFETY: pools are never freed.
    let pool: &'static Pool = unsafe { &*pool };
    let mut state = pool.state.lock().unwrap_or_else(PoisonError::into_inner);
    if state.idle <= state.queue.len() && state.threads < MAX_THREADS {
        let mask = signal::block_all();
        let spawned = std::thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(move || pool.serve())
            .is_ok();
        signal::restore_kernel_mask(mask);
        if spawned {
            state.threads += 1;
            // A program's last thread is its last, whatever we run beside it.
            libc_threads::discount(1);
        } else if state.threads == 0 {
            return false;
        }
    }
    state.queue.push_back(request);
    pool.work.notify_one();
    true
}

impl Pool {
    fn serve(&self) {
        loop {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
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
            // SAFETY: the guest's own call; its buffers stay while it is parked.
            let result = unsafe { arch::syscall(request.nr, request.args) };
            // SAFETY: the guest waits for exactly this.
            unsafe {
                (*request.guest).result.set(result);
                hub().wake_from_anywhere(request.guest);
            }
        }
    }
}

/// Parks `guest` until its operation with the kernel or the pool is complete.
pub fn wait_in_flight(guest: &'static Guest) {
    while guest.in_flight.get() {
        let _: Reason = guest.hub().park(guest, None, false);
    }
}
