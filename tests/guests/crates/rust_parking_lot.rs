//! The crate parking_lot: its own lock words and queues, and futex calls made through libc's syscall.
//! guest: limit=60

use parking_lot::{
    Condvar, FairMutex, Mutex, MutexGuard, Once, ReentrantMutex, RwLock, RwLockUpgradableReadGuard,
};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const THREADS: usize = 16;
const ROUNDS: usize = 2_000;

/// Many threads, one counter, and a holder that sleeps with the lock held now and then.
fn mutex() {
    let counter = Mutex::new(0_usize);
    thread::scope(|scope| {
        for own in 0..THREADS {
            let counter = &counter;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let mut value = counter.lock();
                    *value += 1;
                    if (round + own) % 500 == 0 {
                        thread::sleep(Duration::from_micros(100));
                    }
                }
            });
        }
    });
    println!("mutex: {}", counter.into_inner());
}

/// A bounded queue with two conditions.
fn condition() {
    let queue = Mutex::new(VecDeque::new());
    let (filled, drained) = (Condvar::new(), Condvar::new());
    let sum = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let mut queue = queue.lock();
                    while queue.is_empty() {
                        filled.wait(&mut queue);
                    }
                    sum.fetch_add(queue.pop_front().unwrap(), Ordering::Relaxed);
                    drained.notify_one();
                }
            });
            scope.spawn(|| {
                for number in 0..ROUNDS {
                    let mut queue = queue.lock();
                    drained.wait_while(&mut queue, |queue| queue.len() >= 3);
                    queue.push_back(number);
                    filled.notify_one();
                }
            });
        }
    });
    println!("condition: {}", sum.into_inner());
}

/// Everybody waits, one call wakes all, and each has the mutex again when it is back.
fn notify_all() {
    let (state, condition) = (Mutex::new((0, false)), Condvar::new());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut state = state.lock();
                state.0 += 1;
                while !state.1 {
                    condition.wait(&mut state);
                }
                state.0 -= 1;
            });
        }
        while state.lock().0 < THREADS {
            thread::yield_now();
        }
        let mut state = state.lock();
        state.1 = true;
        println!("woken: {}", condition.notify_all());
    });
    println!("left: {}", state.lock().0);
}

fn time_outs() {
    let (mutex, condition) = (Mutex::new(()), Condvar::new());
    thread::scope(|scope| {
        let held = mutex.lock();
        let waiter = scope.spawn(|| {
            let begin = Instant::now();
            let got = mutex.try_lock_for(Duration::from_millis(30)).is_some();
            (got, begin.elapsed() >= Duration::from_millis(30))
        });
        println!("lock in time, waited: {:?}", waiter.join().unwrap());
        drop(held);
        let mut guard = mutex.lock();
        let begin = Instant::now();
        let end = condition.wait_for(&mut guard, Duration::from_millis(30));
        println!(
            "condition timed out, waited: {:?}",
            (
                end.timed_out(),
                begin.elapsed() >= Duration::from_millis(30)
            )
        );
    });
}

/// Readers see both halves of a pair equal, and an upgrade lets nobody in between.
fn rwlock() {
    let pair = RwLock::new((0_usize, 0_usize));
    let upgraded = AtomicUsize::new(0);
    thread::scope(|scope| {
        for own in 0..THREADS {
            let (pair, upgraded) = (&pair, &upgraded);
            scope.spawn(move || {
                for round in 0..ROUNDS / 4 {
                    match (round + own) % 8 {
                        0 => {
                            let mut pair = pair.write();
                            pair.0 += 1;
                            thread::yield_now();
                            pair.1 += 1;
                        }
                        1 => {
                            let read = pair.upgradable_read();
                            let before = read.0;
                            let mut pair = RwLockUpgradableReadGuard::upgrade(read);
                            assert_eq!(pair.0, before);
                            *pair = (before + 1, before + 1);
                            upgraded.fetch_add(1, Ordering::Relaxed);
                        }
                        _ => {
                            let pair = pair.read();
                            assert_eq!(pair.0, pair.1);
                        }
                    }
                }
            });
        }
    });
    println!("rwlock: {:?}, {upgraded:?}", *pair.read());
}

/// A thread that takes the lock again as soon as it let it go starves nobody: the lock is handed
/// over from time to time, or each time where that is asked for.
fn fairness() {
    let (mutex, fair) = (Mutex::new(()), FairMutex::new(()));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let held = mutex.lock();
                std::hint::black_box(&held);
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                drop(fair.lock());
            }
        });
        for _ in 0..50 {
            drop(mutex.lock());
            drop(fair.lock());
        }
        done.store(true, Ordering::Relaxed);
    });
    let turn = Mutex::new(0_usize);
    thread::scope(|scope| {
        for own in 0..2 {
            let turn = &turn;
            scope.spawn(move || {
                for _ in 0..200 {
                    loop {
                        let mut now = turn.lock();
                        if *now % 2 == own {
                            *now += 1;
                            MutexGuard::unlock_fair(now);
                            break;
                        }
                        MutexGuard::bump(&mut now);
                        MutexGuard::unlock_fair(now);
                        thread::yield_now();
                    }
                }
            });
        }
    });
    println!("fair: {}", turn.into_inner());
}

fn reentrant_and_once() {
    let lock = ReentrantMutex::new(Cell::new(0_usize));
    let (once, ran) = (Once::new(), AtomicUsize::new(0));
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                once.call_once(|| {
                    thread::sleep(Duration::from_millis(5));
                    ran.fetch_add(1, Ordering::Relaxed);
                });
                assert_eq!(ran.load(Ordering::Relaxed), 1);
                let outer = lock.lock();
                let inner = lock.lock();
                inner.set(outer.get() + 1);
            });
        }
    });
    println!("reentrant: {}, once: {ran:?}", lock.lock().get());
}

fn main() {
    mutex();
    condition();
    notify_all();
    time_outs();
    rwlock();
    fairness();
    reentrant_and_once();
}
