//! Kills and time-outs.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use gevent_shim::*;

crate::tests! {
    a_killed_sleeper_unwinds
    an_unstarted_greenlet_never_runs
    a_kill_that_is_caught
    a_kill_with_a_time_limit
    the_dead_are_not_killed
    a_greenlet_kills_itself
    a_kill_with_another_exception
    a_kill_without_waiting
    a_kill_interrupts_every_wait
    a_kill_ends_a_call_of_libc
    a_kill_ends_a_std_sleep
    a_kill_does_not_end_a_lock
    a_kill_from_a_kernel_thread
    a_kill_while_unwinding_waits
    a_time_out_fires_and_is_caught
    time_outs_nest
    a_cancelled_time_out_never_fires
    a_time_out_raises_its_own_error
    a_time_out_in_the_past_fires_at_once
    a_time_out_ends_a_call_of_libc
    a_time_out_that_escapes_fails_the_greenlet
}

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(5);

/// Sets a flag when it is dropped.
struct Guard(Arc<AtomicBool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

fn a_killed_sleeper_unwinds() {
    let dropped = Arc::new(AtomicBool::new(false));
    let inside = Event::new();
    let greenlet = spawn({
        let (guard, inside) = (Guard(Arc::clone(&dropped)), inside.clone());
        move || {
            let _guard = guard;
            inside.set();
            sleep(LONG);
            unreachable!()
        }
    });
    inside.wait();
    greenlet.kill();
    assert!(dropped.load(SeqCst));
    assert!(greenlet.successful() && greenlet.exception().is_none());
    assert!(matches!(greenlet.get(), Err::<(), _>(GetError::Exit)));
}

fn an_unstarted_greenlet_never_runs() {
    let ran = Arc::new(AtomicBool::new(false));
    let set = |ran: &Arc<AtomicBool>| {
        let ran = Arc::clone(ran);
        move || ran.store(true, SeqCst)
    };
    let later = spawn_later(LONG, set(&ran));
    later.kill();
    assert!(later.is_dead() && later.successful());
    assert!(!ran.load(SeqCst));
    // One that would begin as soon as the hub comes to it has begun by the time of its kill
    // only if the spawner had to give way in between, or there is another hub.
    let begins = |_: &i32| {
        let begun = Arc::new(AtomicBool::new(false));
        let now = spawn(set(&begun));
        now.kill();
        assert!(now.is_dead());
        begun.load(SeqCst)
    };
    let begun = (0..100).filter(begins).count();
    let several = std::env::var_os("GEVENT_SHIM_HUBS").is_some();
    assert!(begun < 100 || several || !crate::on_hub());
}

fn a_kill_that_is_caught() {
    let gate = Event::new();
    let inside = Event::new();
    let greenlet = spawn({
        let (gate, inside) = (gate.clone(), inside.clone());
        move || {
            inside.set();
            let caught = catch_unwind(AssertUnwindSafe(|| sleep(LONG))).unwrap_err();
            assert!(caught.is::<GreenletExit>());
            gate.wait(); // goes on, and is not killed again
            "went on"
        }
    });
    inside.wait();
    assert!(!greenlet.kill_with(GreenletExit, Wait::For(SHORT)));
    gate.set();
    assert_eq!(greenlet.get().unwrap(), "went on");
}

fn a_kill_with_a_time_limit() {
    let greenlet = spawn(|| sleep(LONG));
    assert!(greenlet.kill_with(GreenletExit, Wait::For(LONG)));
    assert!(greenlet.kill_with(GreenletExit, Wait::For(Duration::ZERO)));
}

fn the_dead_are_not_killed() {
    let greenlet = spawn(|| 1);
    greenlet.join();
    greenlet.kill();
    greenlet.kill();
    assert_eq!(greenlet.get().unwrap(), 1);
}

fn a_greenlet_kills_itself() {
    let greenlet = spawn(|| {
        getcurrent().unwrap().kill();
        unreachable!()
    });
    assert!(matches!(greenlet.get(), Err::<(), _>(GetError::Exit)));
}

fn a_kill_with_another_exception() {
    let greenlet = spawn(|| sleep(LONG));
    yield_now();
    assert!(greenlet.kill_with("meant", Wait::Forever));
    assert_eq!(greenlet.exception().unwrap().message(), "meant");
    assert!(!greenlet.successful());
}

fn a_kill_without_waiting() {
    let greenlet = spawn(|| sleep(LONG));
    yield_now();
    let dead = greenlet.kill_with(GreenletExit, Wait::No);
    // Another hub may have run it since.
    assert!(!dead || crate::hubs::several());
    greenlet.join();
}

fn a_kill_interrupts_every_wait() {
    let event = Event::new();
    let result = AsyncResult::<u8>::new();
    let semaphore = Semaphore::new(0);
    let lock = RLock::new();
    lock.acquire();
    let empty = Queue::<u8>::unbounded();
    let full = Queue::bounded(1).unwrap();
    full.put(1).unwrap();
    let rendezvous = channel::<u8>();
    let unfinished = JoinableQueue::unbounded();
    unfinished.put(1).unwrap();
    let other = spawn(|| sleep(LONG));
    let pool = Pool::new(1).unwrap();
    pool.spawn(|| sleep(LONG));
    let waits: Vec<Box<dyn FnOnce() + Send>> = vec![
        Box::new({
            let event = event.clone();
            move || event.wait()
        }),
        Box::new({
            let event = event.clone();
            move || drop(wait(&[event], None, None))
        }),
        Box::new({
            let result = result.clone();
            move || drop(result.get())
        }),
        Box::new({
            let semaphore = semaphore.clone();
            move || semaphore.acquire()
        }),
        Box::new({
            let lock = lock.clone();
            move || lock.acquire()
        }),
        Box::new({
            let empty = empty.clone();
            move || assert!(empty.get().is_ok())
        }),
        Box::new({
            let full = full.clone();
            move || assert!(full.put(2).is_ok())
        }),
        Box::new({
            let c = rendezvous.clone();
            move || assert!(c.put(2).is_ok())
        }),
        Box::new({
            let unfinished = unfinished.clone();
            move || unfinished.join()
        }),
        Box::new({
            let other = other.clone();
            move || other.join()
        }),
        Box::new({
            let pool = pool.clone();
            move || drop(pool.spawn(|| ()))
        }),
        Box::new({
            let pool = pool.clone();
            move || pool.join()
        }),
        Box::new(|| sleep(LONG)),
        Box::new(|| {
            loop {
                yield_now()
            }
        }),
        Box::new(|| {
            loop {
                check()
            }
        }),
        Box::new(|| {
            drop(
                ThreadPool::new(1)
                    .unwrap()
                    .apply(|| std::thread::sleep(Duration::from_millis(50))),
            )
        }),
    ];
    for (n, wait) in waits.into_iter().enumerate() {
        let greenlet = spawn(wait);
        sleep(Duration::from_millis(1));
        greenlet.kill();
        assert!(
            matches!(greenlet.try_get(), Err(GetError::Exit)),
            "wait {n}"
        );
    }
    // Nobody is left in a queue: what is given now is not lost.
    semaphore.release();
    assert!(semaphore.try_acquire());
    empty.put(7).unwrap();
    assert_eq!(empty.try_get(), Ok(7));
    assert_eq!(full.try_get(), Ok(1));
    assert_eq!(full.try_get(), Err(Empty::Empty));
    assert!(lock.release().is_ok());
    other.kill();
    pool.kill();
}

/// A pair of connected sockets.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn a_kill_ends_a_call_of_libc() {
    if !crate::on_hub() {
        return; // the kernel's calls go on
    }
    let (client, server) = pair();
    let greenlet = spawn(move || {
        let error = (&client).read(&mut [0]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
        // Once: the next call waits again, and a wait of the library raises the kill.
        client.set_read_timeout(Some(SHORT)).unwrap();
        let late = (&client).read(&mut [0]).unwrap_err();
        assert_eq!(late.raw_os_error(), Some(libc::EAGAIN));
        check();
        unreachable!()
    });
    yield_now();
    greenlet.kill();
    assert!(matches!(greenlet.try_get(), Err::<(), _>(GetError::Exit)));
    drop(server);
    // With a time-out on the socket, and accept, connect and poll's kin.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let accepting = spawn(move || listener.accept().map(drop));
    yield_now();
    accepting.kill();
    assert_eq!(
        accepting.take().unwrap().unwrap_err().raw_os_error(),
        Some(libc::ECANCELED)
    );
}

fn a_kill_ends_a_std_sleep() {
    if !crate::on_hub() {
        return;
    }
    let greenlet = spawn(|| {
        std::thread::sleep(LONG);
        check();
    });
    yield_now();
    greenlet.kill();
    assert!(matches!(greenlet.try_get(), Err(GetError::Exit)));
}

fn a_kill_does_not_end_a_lock() {
    let lock = Arc::new(std::sync::Mutex::new(()));
    let held = lock.lock().unwrap();
    let inside = Event::new();
    let greenlet = spawn({
        let (lock, inside) = (Arc::clone(&lock), inside.clone());
        move || {
            inside.set();
            drop(lock.lock().unwrap());
            check();
        }
    });
    inside.wait();
    assert!(!greenlet.kill_with(GreenletExit, Wait::For(SHORT)));
    drop(held);
    greenlet.join();
    assert!(matches!(greenlet.try_get(), Err(GetError::Exit)));
}

fn a_kill_from_a_kernel_thread() {
    let (client, _server) = pair();
    let sleeper = spawn(|| sleep(LONG));
    let reader = spawn(move || {
        if crate::on_hub() {
            drop((&client).read(&mut [0]));
        }
        sleep(LONG);
    });
    yield_now();
    let pool = ThreadPool::new(1).unwrap();
    pool.apply({
        let (sleeper, reader) = (sleeper.clone(), reader.clone());
        move || {
            sleeper.kill();
            reader.kill();
        }
    })
    .unwrap();
    assert!(sleeper.is_dead() && reader.is_dead());
}

fn a_kill_while_unwinding_waits() {
    struct Waits(Event, Arc<AtomicUsize>);
    impl Drop for Waits {
        fn drop(&mut self) {
            self.1.fetch_add(1, SeqCst);
            self.0.wait(); // a second panic here would abort the process
            self.1.fetch_add(1, SeqCst);
        }
    }
    let gate = Event::new();
    let steps = Arc::new(AtomicUsize::new(0));
    let inside = Event::new();
    let greenlet = spawn({
        let (waits, inside) = (Waits(gate.clone(), Arc::clone(&steps)), inside.clone());
        move || {
            let _waits = waits;
            inside.set();
            sleep(LONG);
        }
    });
    inside.wait();
    assert!(!greenlet.kill_with(GreenletExit, Wait::For(SHORT)));
    assert!(!greenlet.kill_with(GreenletExit, Wait::For(SHORT)));
    gate.set();
    greenlet.join();
    assert_eq!(steps.load(SeqCst), 2);
}

fn a_time_out_fires_and_is_caught() {
    let begin = Instant::now();
    let error = with_timeout(Duration::from_millis(20), || sleep(LONG)).unwrap_err();
    assert!(begin.elapsed() >= Duration::from_millis(20));
    assert_eq!(error.after(), Duration::from_millis(20));
    assert_eq!(with_timeout(LONG, || 1), Ok(1));
    assert_eq!(
        with_timeout_value(SHORT, 2, || {
            sleep(LONG);
            1
        }),
        2
    );
    assert_eq!(with_timeout_or(SHORT, || "own", || sleep(LONG)), Err("own"));
}

fn time_outs_nest() {
    let inner = with_timeout(LONG, || with_timeout(SHORT, || sleep(LONG)));
    assert!(inner.unwrap().is_err());
    let outer = with_timeout(SHORT, || with_timeout(LONG, || sleep(LONG)));
    assert!(outer.is_err());
    let outer = Timeout::new(SHORT);
    let inner = Timeout::new(LONG);
    let caught = catch_unwind(AssertUnwindSafe(|| inner.run(|| sleep(LONG))));
    let error = caught.unwrap_err().downcast::<TimedOut>().unwrap();
    assert!(error.is_of(&outer) && !outer.is_pending());
}

fn a_cancelled_time_out_never_fires() {
    let timeout = Timeout::new(SHORT);
    assert!(timeout.is_pending() && timeout.span() == SHORT);
    timeout.cancel();
    timeout.cancel();
    assert!(!timeout.is_pending());
    sleep(Duration::from_millis(20));
    drop(Timeout::new(SHORT));
    sleep(Duration::from_millis(20));
}

fn a_time_out_raises_its_own_error() {
    let caught = catch_unwind(|| {
        let _timeout = Timeout::with_error(SHORT, 42u8);
        sleep(LONG);
    });
    assert_eq!(*caught.unwrap_err().downcast::<u8>().unwrap(), 42);
}

fn a_time_out_in_the_past_fires_at_once() {
    assert!(with_timeout(Duration::ZERO, || sleep(LONG)).is_err());
    // What needs no wait is done.
    assert_eq!(with_timeout(Duration::ZERO, || 1), Ok(1));
    assert!(!Event::new().wait_timeout(Duration::ZERO));
    let set = Event::new();
    set.set();
    assert!(with_timeout(Duration::ZERO, || set.wait()).is_ok());
    assert!(with_timeout(Duration::MAX, || sleep(SHORT)).is_ok());
}

fn a_time_out_ends_a_call_of_libc() {
    if !crate::on_hub() {
        return;
    }
    let (client, _server) = pair();
    let begin = Instant::now();
    let outcome = with_timeout(Duration::from_millis(20), || {
        (&client).read(&mut [0]).unwrap_err().raw_os_error()
    });
    assert!(outcome.is_err(), "{outcome:?}");
    assert!(begin.elapsed() >= Duration::from_millis(20));
    // Afterwards calls wait as before.
    client
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let error = (&client).read(&mut [0]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
    assert!(with_timeout(SHORT, || std::thread::sleep(LONG)).is_err());
}

fn a_time_out_that_escapes_fails_the_greenlet() {
    let greenlet = spawn(|| {
        let _timeout = Timeout::new(SHORT);
        sleep(LONG);
    });
    greenlet.join();
    let exception = greenlet.exception().unwrap();
    assert_eq!(exception.message(), "timed out after 5ms");
    assert!(exception.is::<TimedOut>());
}
