//! Events, results, semaphores, locks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gevent_shim::*;

crate::tests! {
    an_event_lets_all_go
    a_cleared_event_keeps_who_was_let_go
    a_result_is_set_and_replaced
    semaphores_are_first_come_first_served
    semaphores_count
    a_bounded_semaphore_is_bounded
    a_lock_is_taken_again
    a_lock_is_first_come_first_served
    many_contend
    objects_serve_kernel_threads_too
    a_hundred_thousand_sleep
}

const SHORT: Duration = Duration::from_millis(5);

fn an_event_lets_all_go() {
    let event = Event::new();
    let waiters: Vec<_> = (0..10)
        .map(|_| {
            let event = event.clone();
            spawn(move || event.wait())
        })
        .collect();
    yield_now();
    assert!(!event.is_set() && !event.wait_timeout(SHORT));
    event.set();
    event.set();
    joinall(&waiters, None);
    event.wait();
    assert!(event.wait_timeout(Duration::ZERO));
}

fn a_cleared_event_keeps_who_was_let_go() {
    let event = Event::new();
    let waiter = spawn({
        let event = event.clone();
        move || event.wait_timeout(Duration::from_secs(3600))
    });
    sleep(Duration::from_millis(20));
    event.set();
    event.clear();
    assert!(waiter.get().unwrap());
    assert!(!event.is_set());
}

fn a_result_is_set_and_replaced() {
    let result = AsyncResult::new();
    assert!(matches!(result.try_get(), Err(GetError::NotReady)));
    assert!(matches!(result.get_timeout(SHORT), Err(GetError::TimedOut)));
    result.set(1);
    result.set(2);
    assert_eq!((result.get().unwrap(), result.value()), (2, Some(2)));
    result.set_exception(Exception::new(Box::new("meant")));
    assert!(result.ready() && !result.successful());
    assert_eq!(result.exception().unwrap().message(), "meant");
    assert!(matches!(result.take(), Err(GetError::Failed(_))));
    assert!(!result.ready());
}

/// Has ten greenlets wait one after the other, and returns the order in which `released`
/// lets them go.
fn order_of(
    wait: impl Fn() + Clone + Send + 'static,
    waiting: impl Fn(usize),
) -> Vec<Greenlet<()>> {
    (0..10)
        .map(|n| {
            let greenlet = spawn(wait.clone());
            waiting(n + 1);
            greenlet
        })
        .collect()
}

fn semaphores_are_first_come_first_served() {
    let semaphore = Semaphore::new(0);
    let order = Arc::new(Mutex::new(Vec::new()));
    let greenlets: Vec<_> = (0..10)
        .map(|n| {
            let greenlet = spawn({
                let (semaphore, order) = (semaphore.clone(), Arc::clone(&order));
                move || {
                    semaphore.acquire();
                    order.lock().unwrap().push(n);
                    semaphore.release();
                }
            });
            while semaphore.waiting() <= n {
                sleep(Duration::from_micros(100));
            }
            greenlet
        })
        .collect();
    semaphore.release();
    joinall(&greenlets, None);
    assert!(order.lock().unwrap().iter().copied().eq(0..10));
    assert_eq!(semaphore.counter(), 1);
}

fn semaphores_count() {
    let semaphore = Semaphore::new(2);
    assert!(semaphore.try_acquire() && semaphore.try_acquire() && !semaphore.try_acquire());
    assert!(semaphore.locked() && !semaphore.acquire_timeout(SHORT));
    let greenlets = order_of(
        {
            let semaphore = semaphore.clone();
            move || semaphore.acquire()
        },
        |n| {
            while semaphore.waiting() < n {
                sleep(Duration::from_micros(100));
            }
        },
    );
    for _ in 0..12 {
        semaphore.release();
    }
    joinall(&greenlets, None);
    assert_eq!(semaphore.counter(), 2);
    {
        let _held = semaphore.hold();
        assert_eq!(semaphore.counter(), 1);
    }
    assert_eq!(semaphore.counter(), 2);
}

fn a_bounded_semaphore_is_bounded() {
    let semaphore = BoundedSemaphore::new(1);
    assert_eq!(semaphore.release(), Err(OverReleased));
    semaphore.acquire();
    assert!(semaphore.locked());
    assert_eq!(semaphore.release(), Ok(()));
    assert_eq!(semaphore.release(), Err(OverReleased));
    drop(semaphore.hold());
    let none = BoundedSemaphore::new(0);
    assert!(!none.acquire_timeout(SHORT) && none.release().is_err());
}

fn a_lock_is_taken_again() {
    let lock = RLock::new();
    lock.acquire();
    assert!(lock.acquire_timeout(Duration::ZERO) && lock.try_acquire());
    let other = spawn({
        let lock = lock.clone();
        move || {
            assert_eq!(lock.release(), Err(NotOwner));
            !lock.try_acquire() && !lock.acquire_timeout(SHORT)
        }
    });
    assert!(other.get().unwrap());
    for _ in 0..3 {
        assert_eq!(lock.release(), Ok(()));
    }
    assert_eq!(lock.release(), Err(NotOwner));
    assert!(!lock.locked());
}

fn a_lock_is_first_come_first_served() {
    let lock = RLock::new();
    let order = Arc::new(Mutex::new(Vec::new()));
    let held = lock.hold();
    let mut greenlets = Vec::new();
    for n in 0..5 {
        let (lock, order) = (lock.clone(), Arc::clone(&order));
        greenlets.push(spawn(move || {
            let _held = lock.hold();
            order.lock().unwrap().push(n);
        }));
        sleep(SHORT);
    }
    drop(held);
    // It was handed over: who comes now comes last, after the others if they were quick.
    if lock.try_acquire() {
        assert!(!crate::on_hub() || order.lock().unwrap().len() == 5);
        lock.release().unwrap();
    }
    joinall(&greenlets, None);
    assert_eq!(order.lock().unwrap().len(), 5);
    if crate::on_hub() {
        assert!(order.lock().unwrap().iter().copied().eq(0..5));
    }
}

fn many_contend() {
    let lock = RLock::new();
    let count = Arc::new(Mutex::new(0));
    let greenlets: Vec<_> = (0..100)
        .map(|_| {
            let (lock, count) = (lock.clone(), Arc::clone(&count));
            spawn(move || {
                for _ in 0..20 {
                    let _held = lock.hold();
                    let before = *count.lock().unwrap();
                    yield_now();
                    *count.lock().unwrap() = before + 1;
                }
            })
        })
        .collect();
    joinall(&greenlets, None);
    assert_eq!(*count.lock().unwrap(), 2000);
}

fn objects_serve_kernel_threads_too() {
    let pool = ThreadPool::new(2).unwrap();
    let (to, from) = (Queue::unbounded(), Queue::unbounded());
    let echo = pool
        .spawn({
            let (to, from) = (to.clone(), from.clone());
            move || {
                for item in to.iter() {
                    from.put(item).unwrap();
                }
            }
        })
        .unwrap();
    for n in 0..1000 {
        to.put(n).unwrap();
        assert_eq!(from.get(), Ok(n));
    }
    to.shutdown(false);
    echo.get().unwrap();
    pool.join();
    assert!(matches!(
        pool.apply(|| panic!("meant")),
        Err::<(), _>(GetError::Failed(_))
    ));
    assert_eq!(pool.map(0..9, |n| n + 1).unwrap().len(), 9);
    assert!(ThreadPool::new(0).is_err());
}

fn a_hundred_thousand_sleep() {
    if !crate::on_hub() {
        return; // the kernel has not as many threads
    }
    let begin = std::time::Instant::now();
    let all: Vec<_> = (0..100_000)
        .map(|_| spawn(|| sleep(Duration::from_millis(100))))
        .collect();
    let spawned = begin.elapsed();
    assert_eq!(joinall(&all, None).len(), 100_000);
    eprintln!(
        "spawned in {spawned:?}, slept and joined in {:?}",
        begin.elapsed()
    );
}
