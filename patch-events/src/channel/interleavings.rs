//! Interleavings of two producers and the consumer of a small ring, found by loom, together with the reorderings that the memory model allows.
#![allow(unsafe_code, dead_code)]

use loom::sync::Arc;
use loom::thread;

mod sync {
    pub(super) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    use std::mem::MaybeUninit;

    /// Loom's cell fails the test when two threads use it at once.
    #[derive(Debug)]
    pub(super) struct Value<T>(loom::cell::UnsafeCell<MaybeUninit<T>>);

    impl<T> Default for Value<T> {
        fn default() -> Self {
            Value(loom::cell::UnsafeCell::new(MaybeUninit::uninit()))
        }
    }

    impl<T> Value<T> {
        pub(super) unsafe fn write(&self, value: T) {
            // SAFETY: the caller's contract, which loom checks.
            self.0.with_mut(|at| unsafe { (*at).write(value) });
        }
    }

    impl<T: Copy> Value<T> {
        pub(super) unsafe fn read(&self) -> T {
            // SAFETY: as above.
            self.0.with(|at| unsafe { (*at).assume_init() })
        }
    }
}

#[allow(clippy::duplicate_mod)]
#[path = "ring.rs"]
mod ring;

use ring::{Ring, Slot};

fn ring(slots: usize) -> Arc<Ring<u32>> {
    let slots = (0..slots).map(|_| Slot::default()).collect::<Vec<_>>();
    Arc::new(Ring::new(Box::leak(slots.into_boxed_slice())))
}

fn drain(ring: &Ring<u32>) -> Vec<u32> {
    // SAFETY: the only consumer.
    std::iter::from_fn(|| unsafe { ring.pop() }).collect()
}

/// Tries every schedule with at most so many switches of a thread that could go on:
/// enough for all known bugs of queues of this size, and a second instead of a minute.
fn explore(test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

#[test]
fn what_two_producers_push_arrives_once_and_in_each_ones_order() {
    explore(|| {
        let ring = ring(4);
        let producers: Vec<_> = [10, 20]
            .into_iter()
            .map(|base| {
                let ring = ring.clone();
                thread::spawn(move || {
                    assert!(ring.push(base));
                    assert!(ring.push(base + 1));
                })
            })
            .collect();
        let mut got = drain(&ring);
        for producer in producers {
            producer.join().unwrap();
        }
        got.extend(drain(&ring));
        assert!(ring.is_empty());
        for base in [10, 20] {
            let own: Vec<_> = got
                .iter()
                .copied()
                .filter(|v| v / 10 * 10 == base)
                .collect();
            assert_eq!(own, [base, base + 1]);
        }
        assert_eq!(got.len(), 4);
    });
}

#[test]
fn what_finds_no_room_is_counted_and_nothing_else_is_lost() {
    explore(|| {
        let ring = ring(2);
        let producer = {
            let ring = ring.clone();
            thread::spawn(move || (0..3).filter(|&v| ring.push(v)).count())
        };
        let mut got = drain(&ring);
        let pushed = producer.join().unwrap();
        got.extend(drain(&ring));
        assert_eq!(got.len(), pushed);
        assert!(got.is_sorted());
        assert_eq!(ring.take_dropped() as usize, 3 - pushed);
        assert!(pushed >= 2);
    });
}
