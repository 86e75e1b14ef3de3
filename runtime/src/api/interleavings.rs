//! Every interleaving of two or three threads in the objects that are waited for, found by
//! loom, together with the reorderings that the memory model allows.
//!
//! The same sources are compiled a second time here, with loom's lock and a parker on
//! loom's atomics in the place of `sync`. A thread's record and a greenlet have stand-ins
//! ([`current`], [`greenlet`]): a guest and a kernel thread differ in nothing but what their
//! parker sleeps on, so one thread of loom's is either.
#![allow(dead_code, unused_imports, unreachable_pub, private_interfaces)]

use loom::thread;

mod sync {
    pub(super) use loom::sync::Arc;
    pub(super) use loom::sync::atomic::{AtomicU32, Ordering};

    /// `Lock` without the look for a signal handler.
    #[derive(Debug)]
    pub(super) struct Lock<T>(loom::sync::Mutex<T>);

    impl<T> Lock<T> {
        pub(super) fn new(value: T) -> Self {
            Lock(loom::sync::Mutex::new(value))
        }

        pub(super) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }

    impl<T: Default> Default for Lock<T> {
        fn default() -> Self {
            Self::new(T::default())
        }
    }

    pub(super) type Guard<'a, T> = loom::sync::MutexGuard<'a, T>;

    /// Time stands still.
    pub(super) fn now() -> u64 {
        0
    }

    /// `Parker` whose futex is a loop: loom has none.
    #[derive(Debug)]
    pub(super) struct Parker {
        token: AtomicU32,
    }

    impl Default for Parker {
        fn default() -> Self {
            Parker {
                token: AtomicU32::new(0),
            }
        }
    }

    impl Parker {
        pub(super) fn park(&self, _deadline: Option<u64>) {
            while self.token.swap(0, Ordering::Acquire) == 0 {
                loom::thread::yield_now();
            }
        }

        pub(super) fn unpark(&self) {
            self.token.swap(1, Ordering::Release);
        }
    }
}

mod current;
mod greenlet;
/// What a waiter for several objects asks of each.
mod many {
    use super::sync::Arc;
    use super::waiters::Waiter;

    pub(super) mod sealed {
        use super::{Arc, Waiter};

        pub trait Sealed {
            fn enlist(&self, waiter: &Arc<Waiter>) -> bool;
            fn withdraw(&self, waiter: &Arc<Waiter>);
        }
    }

    pub trait Waitable: sealed::Sealed {
        fn is_ready(&self) -> bool;
    }
}
/// What makes greenlets.
mod spawn {
    pub(super) use super::greenlet::{Body, Builder, expect};
}

macro_rules! again {
    ($($name:ident $path:literal)*) => {$(
        #[allow(clippy::duplicate_mod)]
        #[path = $path]
        mod $name;
    )*};
}

again! {
    async_result "async_result.rs"
    channel "channel.rs"
    event "event.rs"
    group "group.rs"
    pool "pool.rs"
    queue "queue.rs"
    rlock "rlock.rs"
    semaphore "semaphore.rs"
    units "units.rs"
    waiters "waiters.rs"
    waiting "waiting.rs"
}

use super::error::{self, GreenletExit};
use current::{HERE, KILLED};
use greenlet::{getcurrent, killall, killall_with, spawn};
use queue::Queue;
use sync::{Arc, Lock, Parker};
use waiters::{Waiter, Waiters};

/// Another thread.
fn other<T: 'static>(f: impl FnOnce() -> T + 'static) -> thread::JoinHandle<T> {
    thread::spawn(f)
}

/// A deadline that is over.
const NOW: Option<u64> = Some(0);

/// Runs `test` in every interleaving with at most so many switches away from a thread
/// that could have gone on.
fn explore(preemptions: usize, test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(test);
}

#[test]
fn what_was_written_before_a_notification_is_seen() {
    explore(4, || {
        let queue = Arc::new(Lock::new(Waiters::new()));
        let place = Arc::new(loom::cell::UnsafeCell::new(0));
        let parker = Arc::new(Parker::default());
        let waiter = Waiter::new(&parker, HERE);
        queue.lock().add(&waiter);
        let giving = thread::spawn({
            let (queue, place) = (queue.clone(), Place(place.clone()));
            move || {
                let place = place;
                // SAFETY: by the rules of the hand-off; checked by loom.
                #[allow(unsafe_code)]
                place.0.with_mut(|at| unsafe { *at = 7 });
                queue.lock().notify_one(HERE);
            }
        });
        let never: Result<(), ()> =
            waiters::sleep_until(&parker, || waiter.is_notified(), |_| Ok(None));
        never.unwrap();
        // SAFETY: as above.
        #[allow(unsafe_code)]
        let seen = place.with(|at| unsafe { *at });
        assert_eq!(seen, 7);
        giving.join().unwrap();
    });
}

/// A cell that two threads share by the rules of the hand-off.
struct Place(Arc<loom::cell::UnsafeCell<i32>>);

// SAFETY: that is what the test is about: loom checks each access.
#[allow(unsafe_code)]
unsafe impl Send for Place {}

#[test]
fn a_waiter_for_several_hears_of_each() {
    explore(3, || {
        let queues = [(); 2].map(|()| Arc::new(Lock::new(Waiters::new())));
        let ready = Arc::new(Lock::new(std::collections::VecDeque::new()));
        let parker = Arc::new(Parker::default());
        for (tag, queue) in queues.iter().enumerate() {
            queue
                .lock()
                .add(&Waiter::tagged(&parker, HERE, &ready, tag));
        }
        let other = thread::spawn({
            let queue = queues[0].clone();
            move || queue.lock().notify_all(HERE)
        });
        queues[1].lock().notify_all(HERE);
        let mut heard = Vec::new();
        while heard.len() < 2 {
            let any = || !ready.lock().is_empty();
            let never: Result<(), ()> = waiters::sleep_until(&parker, any, |_| Ok(None));
            never.unwrap();
            heard.extend(ready.lock().drain(..));
        }
        heard.sort_unstable();
        assert_eq!(heard, [0, 1]);
        other.join().unwrap();
    });
}

#[test]
fn waiters_of_another_process_are_passed_over() {
    explore(2, || {
        let mut queue = Waiters::new();
        let parker = Arc::new(Parker::default());
        let (parent, own) = (Waiter::new(&parker, 0), Waiter::new(&parker, 1));
        queue.add(&parent);
        queue.add(&own);
        assert!(queue.notify_one(1));
        assert!(own.is_notified() && !parent.is_notified());
        assert!(!queue.notify_one(1));
    });
}

#[test]
fn those_that_gave_up_are_swept() {
    explore(1, || {
        let mut queue = Waiters::new();
        let parker = Arc::new(Parker::default());
        let last = Waiter::new(&parker, HERE);
        let gone: Vec<_> = (0..40).map(|_| Waiter::new(&parker, HERE)).collect();
        for waiter in &gone {
            queue.add(waiter);
        }
        queue.add(&last);
        assert!(gone.iter().all(|waiter| queue.give_up(waiter)));
        assert_eq!(queue.len(HERE), 1);
        assert!(queue.notify_one(HERE) && last.is_notified());
        assert!(!queue.give_up(&last));
    });
}

mod objects;
