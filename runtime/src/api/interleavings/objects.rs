//! Each object in every interleaving: who waits is let go, nothing is lost or given twice,
//! also where a wait is late or killed at the same moment.

use super::async_result::AsyncResult;
use super::channel::channel;
use super::current::{HERE, KILLED};
use super::event::Event;
use super::group::Group;
use super::pool::Pool;
use super::queue::{Empty, Heap, LifoQueue, PriorityQueue, PutError, Queue, RawQueue, Store};
use super::rlock::RLock;
use super::semaphore::{BoundedSemaphore, OverReleased, Semaphore};
use super::sync::Arc;
use super::{NOW, explore, other};

#[test]
fn an_event_that_is_set_lets_go() {
    explore(4, || {
        let event = Event::new();
        let waiting = other({
            let event = event.clone();
            move || event.wait()
        });
        event.set();
        // Who was let go stays so; who comes later has it set.
        waiting.join().unwrap();
        assert!(event.is_set());
        event.clear();
        assert!(!event.is_set());
    });
}

#[test]
fn an_event_that_is_set_and_cleared_keeps_who_waited() {
    explore(3, || {
        let event = Event::new();
        let waiting = other({
            let event = event.clone();
            move || event.wait()
        });
        event.set();
        event.clear();
        // Who came in between or afterwards needs another.
        event.set();
        waiting.join().unwrap();
    });
}

#[test]
fn a_result_reaches_who_waits() {
    explore(4, || {
        let result = AsyncResult::new();
        let waiting = other({
            let result = result.clone();
            move || result.get().unwrap()
        });
        result.set(7);
        assert_eq!(waiting.join().unwrap(), 7);
        assert_eq!(result.get().unwrap(), 7);
    });
}

#[test]
fn a_unit_given_back_wakes_the_waiter() {
    explore(4, || {
        let semaphore = Semaphore::new(0);
        let waiting = other({
            let semaphore = semaphore.clone();
            move || semaphore.acquire()
        });
        semaphore.release();
        waiting.join().unwrap();
        assert_eq!(semaphore.counter(), 0);
    });
}

#[test]
fn a_waiter_that_gives_up_loses_no_unit() {
    for deadline in [NOW, KILLED] {
        explore(4, move || {
            let semaphore = Semaphore::new(0);
            let hurried = other({
                let semaphore = semaphore.clone();
                move || semaphore.acquire_until(deadline).unwrap_or(false)
            });
            semaphore.release();
            let got = hurried.join().unwrap();
            assert_eq!(semaphore.counter(), !got as usize);
        });
    }
}

#[test]
fn a_unit_goes_to_one_of_two() {
    explore(3, || {
        let semaphore = Semaphore::new(0);
        let patient = other({
            let semaphore = semaphore.clone();
            move || semaphore.acquire()
        });
        let hurried = other({
            let semaphore = semaphore.clone();
            move || semaphore.acquire_until(NOW).unwrap()
        });
        semaphore.release();
        if hurried.join().unwrap() {
            semaphore.release();
        }
        patient.join().unwrap();
        assert_eq!(semaphore.counter(), 0);
    });
}

#[test]
fn one_of_two_releases_too_many_is_refused() {
    explore(4, || {
        let semaphore = BoundedSemaphore::new(1);
        assert!(semaphore.try_acquire());
        let releasing = other({
            let semaphore = semaphore.clone();
            move || semaphore.release()
        });
        let outcomes = [semaphore.release(), releasing.join().unwrap()];
        assert!(outcomes.contains(&Ok(())) && outcomes.contains(&Err(OverReleased)));
        assert_eq!(semaphore.counter(), 1);
    });
}

/// A number that is changed under a lock of ours.
struct Counter(loom::cell::UnsafeCell<u32>);

// SAFETY: that is what the tests are about: loom checks each access.
#[allow(unsafe_code)]
unsafe impl Send for Counter {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Counter {}

impl Counter {
    fn new() -> Arc<Self> {
        Arc::new(Counter(loom::cell::UnsafeCell::new(0)))
    }

    fn add(&self) {
        // SAFETY: under the lock; loom checks it.
        #[allow(unsafe_code)]
        self.0.with_mut(|at| unsafe { *at += 1 });
    }

    fn get(&self) -> u32 {
        // SAFETY: as above.
        #[allow(unsafe_code)]
        self.0.with(|at| unsafe { *at })
    }
}

#[test]
fn a_lock_has_one_holder() {
    explore(3, || {
        let (lock, counter) = (RLock::new(), Counter::new());
        let work = {
            let (lock, counter) = (lock.clone(), counter.clone());
            move || {
                lock.acquire();
                // Again, by its holder.
                assert!(lock.try_acquire());
                counter.add();
                lock.release().unwrap();
                lock.release().unwrap();
            }
        };
        let working = other(work.clone());
        work();
        working.join().unwrap();
        lock.acquire();
        assert_eq!(counter.get(), 2);
        assert!(lock.release().is_ok() && lock.release().is_err());
    });
}

#[test]
fn a_lock_is_not_lost_with_who_gives_up() {
    for deadline in [NOW, KILLED] {
        explore(3, move || {
            let lock = RLock::new();
            lock.acquire();
            let hurried = other({
                let lock = lock.clone();
                move || {
                    if lock.acquire_until(deadline).unwrap_or(false) {
                        lock.release().unwrap();
                    }
                }
            });
            lock.release().unwrap();
            hurried.join().unwrap();
            assert!(!lock.locked() && lock.try_acquire());
        });
    }
}

/// An item that is put while another thread gets arrives, in whatever order they come.
fn an_item_arrives<S: Store<u32> + Send + 'static>(bound: usize) {
    explore(3, move || {
        let queue = RawQueue::<u32, S>::with_bound(bound);
        let getting = other({
            let queue = queue.clone();
            move || [queue.get().unwrap(), queue.get().unwrap()]
        });
        queue.put(1).unwrap();
        queue.put(2).unwrap();
        let mut got = getting.join().unwrap();
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
        assert!(queue.is_empty() && queue.unfinished() == 2);
    });
}

#[test]
fn an_item_arrives_in_a_queue() {
    an_item_arrives::<std::collections::VecDeque<u32>>(usize::MAX);
    an_item_arrives::<std::collections::VecDeque<u32>>(1);
}

#[test]
fn an_item_arrives_by_its_priority_or_last_in_first_out() {
    an_item_arrives::<Heap<u32>>(1);
    an_item_arrives::<super::queue::Stack<u32>>(1);
}

#[test]
fn an_item_arrives_through_a_channel() {
    an_item_arrives::<std::collections::VecDeque<u32>>(0);
}

#[test]
fn an_item_is_got_by_one_of_two() {
    explore(2, || {
        let queue = Queue::unbounded();
        let hurried = other({
            let queue = queue.clone();
            move || queue.get_until(NOW).unwrap()
        });
        let killed = other({
            let queue = queue.clone();
            move || queue.get_until(KILLED)
        });
        queue.put(7).unwrap();
        let hurried = hurried.join().unwrap();
        let killed = killed.join().unwrap();
        let got = [hurried == Ok(7), matches!(killed, Ok(Ok(7)))];
        let left = queue.try_get();
        let copies = got.into_iter().filter(|got| *got).count() + left.is_ok() as usize;
        assert_eq!(copies, 1);
    });
}

#[test]
fn an_item_of_who_gives_up_was_put_or_not() {
    for (bound, deadline) in [(1, NOW), (1, KILLED), (0, NOW), (0, KILLED)] {
        explore(3, move || {
            let queue = Queue::with_bound(bound);
            for n in 0..bound as u32 {
                queue.put(n).unwrap();
            }
            let putting = other({
                let queue = queue.clone();
                move || matches!(queue.put_until(9, deadline), Ok(Ok(())))
            });
            // Makes room, or takes what waits.
            let first = queue.get_until(NOW).unwrap();
            let put = putting.join().unwrap();
            let second = queue.try_get();
            let nines = [&first, &second]
                .iter()
                .filter(|got| ***got == Ok(9))
                .count();
            assert_eq!(nines, put as usize);
            assert_eq!(queue.unfinished(), bound + put as usize);
        });
    }
}

#[test]
fn a_shutdown_lets_getters_go() {
    explore(3, || {
        let queue = Queue::<u32>::unbounded();
        let getting = other({
            let queue = queue.clone();
            move || queue.get()
        });
        queue.shutdown(false);
        assert_eq!(getting.join().unwrap(), Err(Empty::ShutDown));
    });
}

#[test]
fn a_shutdown_lets_putters_go() {
    explore(3, || {
        let queue = Queue::with_bound(1);
        queue.put(1).unwrap();
        let putting = other({
            let queue = queue.clone();
            move || queue.put(2)
        });
        queue.shutdown(false);
        assert_eq!(putting.join().unwrap(), Err(PutError::ShutDown(2)));
        assert_eq!(
            (queue.try_get(), queue.try_get()),
            (Ok(1), Err(Empty::ShutDown))
        );
    });
}

#[test]
fn a_joined_queue_waits_for_the_last() {
    explore(3, || {
        let (queue, counter) = (super::queue::JoinableQueue::unbounded(), Counter::new());
        queue.put(1).unwrap();
        let working = other({
            let (queue, counter) = (queue.clone(), counter.clone());
            move || {
                queue.get().unwrap();
                counter.add();
                queue.task_done().unwrap();
            }
        });
        queue.join();
        assert_eq!(counter.get(), 1);
        working.join().unwrap();
        assert!(queue.task_done().is_err());
    });
}

#[test]
fn a_channel_has_no_room() {
    explore(3, || {
        let channel = channel();
        let putting = other({
            let channel = channel.clone();
            move || channel.try_put(1).is_ok()
        });
        let got = channel.get_until(NOW).unwrap();
        assert_eq!(putting.join().unwrap(), got == Ok(1));
        assert!(channel.is_empty() && channel.try_get().is_err());
    });
}

#[test]
fn a_group_is_joined_when_the_last_has_left() {
    explore(2, || {
        let (group, counter) = (Group::new(), Counter::new());
        let add = {
            let counter = counter.clone();
            move || counter.add()
        };
        group.spawn(add);
        group.join();
        assert!(group.is_empty());
        assert_eq!(counter.get(), 1);
    });
}

#[test]
fn a_group_forgets_whoever_ends_while_it_is_added() {
    explore(3, || {
        let group = Group::new();
        let greenlet = super::greenlet::spawn(|| ());
        group.add(&greenlet);
        group.join();
        assert!(group.is_empty() && greenlet.ready());
    });
}

#[test]
fn a_place_in_a_pool_is_given_back() {
    explore(2, || {
        let (pool, counter) = (Pool::new(1).unwrap(), Counter::new());
        for _ in 0..2 {
            let counter = counter.clone();
            // The second finds a place when the first has left, and nobody else runs then.
            pool.spawn(move || counter.add());
        }
        pool.join();
        assert_eq!((counter.get(), pool.free_count()), (2, Some(1)));
    });
}
