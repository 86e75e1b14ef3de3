//! Use after fork: the child has the calling thread alone.

use std::time::Duration;

use gevent_shim::*;

crate::tests! {
    a_forked_child_has_the_caller_alone
    a_forked_child_does_not_wait_for_the_others
    a_forked_child_uses_the_library_anew
    a_greenlet_forks
}

const LONG: Duration = Duration::from_secs(3600);

/// Runs `f` in a forked child, which must find it true.
fn in_child(f: impl FnOnce() -> bool) {
    // SAFETY: the child uses what this library promises there and leaves with _exit.
    #[allow(unsafe_code)]
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let good = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
            libc::_exit(if good.is_ok_and(|good| good) { 0 } else { 1 });
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!(status, 0);
    }
}

fn a_forked_child_has_the_caller_alone() {
    let semaphore = Semaphore::new(0);
    let waiter = spawn({
        let semaphore = semaphore.clone();
        move || semaphore.acquire()
    });
    while semaphore.waiting() == 0 {
        sleep(Duration::from_millis(1));
    }
    in_child(|| {
        let lost = waiter.ready() && matches!(waiter.try_get(), Err(GetError::Lost));
        waiter.join();
        waiter.kill();
        // The waiter is not there, so the unit is not handed over to it.
        semaphore.release();
        let unit = semaphore.try_acquire();
        let new = spawn(|| 7).get().ok();
        lost && unit && new == Some(7)
    });
    semaphore.release();
    waiter.get().unwrap();
}

fn a_forked_child_does_not_wait_for_the_others() {
    if !crate::on_hub() {
        return; // another kernel thread may hold a lock when the child is made
    }
    let group = Group::new();
    group.spawn(|| sleep(LONG));
    let pool = Pool::new(1).unwrap();
    let in_pool = pool.spawn(|| sleep(LONG));
    let threads = ThreadPool::new(1).unwrap();
    let gate = Event::new();
    threads
        .spawn({
            let gate = gate.clone();
            move || gate.wait()
        })
        .unwrap();
    let server = StreamServer::bind("127.0.0.1:0", |_, _| sleep(LONG)).unwrap();
    server.start().unwrap();
    let all = [group.greenlets()[0].clone(), in_pool.as_any()];
    sleep(Duration::from_millis(1));
    in_child(|| {
        group.join();
        group.kill();
        pool.join();
        pool.kill();
        threads.join();
        let joined = joinall(&all, None).len() == 2 && killall(&all, None);
        let refused = threads.spawn(|| ()).is_err();
        let places = (pool.free_count(), pool.wait_available(None));
        // What was the others' is given back.
        let value = pool.spawn(|| 7).get().ok();
        let alone = wait_all(Some(LONG)) && get_hub().statistics().greenlets == 0;
        let stopped = server.stop();
        joined
            && refused
            && places == (Some(1), Some(1))
            && value == Some(7)
            && alone
            && stopped
            && group.is_empty()
    });
    // The parent still has them all.
    assert_eq!((group.len(), pool.free_count()), (1, Some(0)));
    gate.set();
    threads.join();
    server.stop();
    group.kill();
    pool.kill();
    assert!(wait_all(Some(LONG)));
}

fn a_forked_child_uses_the_library_anew() {
    let queue = Queue::unbounded();
    let lock = RLock::new();
    let held = lock.hold();
    let getter = spawn({
        let queue = queue.clone();
        move || queue.get()
    });
    sleep(Duration::from_millis(1));
    in_child(|| {
        // Nobody waits for it here.
        queue.put(1).unwrap();
        let kept = queue.len() == 1 && queue.get() == Ok(1);
        // The lock is still the caller's, and nobody else's.
        let own = lock.try_acquire() && lock.release().is_ok();
        let late = with_timeout(Duration::from_millis(5), || sleep(LONG)).is_err();
        let pool = Pool::new(2).unwrap();
        let mapped = pool.map(0..10, |n| n * 2).unwrap().len() == 10;
        let threads = ThreadPool::new(1).unwrap();
        let native = threads.apply(|| 3).ok() == Some(3);
        kept && own && late && mapped && native
    });
    drop(held);
    queue.put(2).unwrap();
    assert_eq!(getter.get().unwrap(), Ok(2));
}

fn a_greenlet_forks() {
    if !crate::on_hub() {
        return; // as above
    }
    let other = spawn(|| sleep(LONG));
    let forker = spawn(move || {
        let own = getcurrent().unwrap();
        in_child(|| {
            // It is there, and not lost.
            let alive = !own.ready() && !own.successful();
            let counted = get_hub().statistics().greenlets == 1;
            alive && counted && other.ready() && spawn(|| 5).get().ok() == Some(5)
        });
        other.kill();
    });
    forker.get().unwrap();
}
