//! Every interleaving of threads that ask and a host context that answers and sleeps, found by
//! loom. The list is compiled a second time here, with loom's atomics.
#![allow(unsafe_code)]

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicPtr as LoomPtr, AtomicUsize, Ordering::SeqCst};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

mod sync {
    pub(super) use loom::sync::atomic::AtomicPtr;
}

#[allow(clippy::duplicate_mod, dead_code)]
#[path = "errand.rs"]
mod errand;

use errand::{List, Node};

/// Loom takes sequentially consistent accesses for acquire and release; only a fence has it
/// keep the one order that they have.
fn total_order() {
    loom::sync::atomic::fence(SeqCst);
}

/// What stays rung until somebody has waited for it.
#[derive(Default)]
struct Bell(Mutex<bool>, Condvar);

impl Bell {
    fn notify(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        let mut rung = self.0.lock().unwrap();
        while !*rung {
            rung = self.1.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// A task: where the answer goes, and whether it is there.
struct Task {
    asked: usize,
    answer: UnsafeCell<usize>,
    done: AtomicBool,
    /// What a wake of the word's address does, which the maker need not be there for.
    wakes: Arc<Bell>,
}

struct Hub {
    errands: List<Task>,
    sleeping: AtomicBool,
    bell: Bell,
    answered: AtomicUsize,
}

impl Hub {
    fn new() -> Self {
        Hub {
            errands: List::new(LoomPtr::new(std::ptr::null_mut())),
            sleeping: AtomicBool::new(false),
            bell: Bell::default(),
            answered: AtomicUsize::new(0),
        }
    }

    /// As `ask`: pushes, rings for one that sleeps, and waits.
    fn ask(&self, asked: usize) -> usize {
        let mut node = Node::new(Task {
            asked,
            answer: UnsafeCell::new(0),
            done: AtomicBool::new(false),
            wakes: Arc::default(),
        });
        let own = &raw mut node;
        // SAFETY: it stays until it is done.
        unsafe { self.errands.push(own) };
        total_order();
        if self.sleeping.swap(false, SeqCst) {
            self.bell.notify();
        }
        // SAFETY: shared with the hub, which writes what is for both.
        let task = unsafe { &(*own).task };
        while !task.done.load(SeqCst) {
            task.wakes.wait();
        }
        // SAFETY: done, so the hub is not there any more.
        task.answer.with(|answer| unsafe { *answer })
    }

    /// As the loop of a host context, until so many were answered.
    fn serve(&self, errands: usize) {
        loop {
            self.errands.take(|node| {
                // SAFETY: its maker waits until it is done.
                let task = unsafe { &(*node).task };
                // SAFETY: only the hub is there before it is done.
                task.answer
                    .with_mut(|answer| unsafe { *answer = task.asked * 10 });
                self.answered.fetch_add(1, SeqCst);
                let wakes = Arc::clone(&task.wakes);
                task.done.store(true, SeqCst);
                wakes.notify();
            });
            if self.answered.load(SeqCst) == errands {
                return;
            }
            self.sleeping.store(true, SeqCst);
            total_order();
            if self.errands.is_empty() {
                self.bell.wait();
            }
            self.sleeping.store(false, SeqCst);
        }
    }
}

#[test]
fn no_sleeper_is_forgotten() {
    loom::model(|| {
        let hub = Arc::new(Hub::new());
        let asks = thread::spawn({
            let hub = Arc::clone(&hub);
            move || assert_eq!(hub.ask(1), 10)
        });
        hub.serve(1);
        asks.join().unwrap();
    });
}

#[test]
fn every_errand_is_run() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(1);
    model.check(|| {
        let hub = Arc::new(Hub::new());
        let others = [1, 2].map(|n| {
            let hub = Arc::clone(&hub);
            thread::spawn(move || assert_eq!(hub.ask(n), n * 10))
        });
        hub.serve(2);
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn what_one_thread_asks_is_answered_in_its_order() {
    loom::model(|| {
        let list: Arc<List<usize>> = Arc::new(List::new(LoomPtr::new(std::ptr::null_mut())));
        let pushes = thread::spawn({
            let list = Arc::clone(&list);
            move || {
                let nodes = [1, 2].map(|n| Box::into_raw(Box::new(Node::new(n))));
                for node in nodes {
                    // SAFETY: it is on the heap, for who takes it.
                    unsafe { list.push(node) };
                }
            }
        });
        let mut seen = Vec::new();
        let mut take = || {
            list.take(|node| {
                // SAFETY: a box that was pushed and is ours now.
                seen.push(unsafe { Box::from_raw(node) }.task);
            });
        };
        take();
        pushes.join().unwrap();
        take();
        assert_eq!(seen, [1, 2]);
    });
}
