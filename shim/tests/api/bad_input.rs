//! What can't be meant, or comes at a bad moment: a defined result each time.

use std::cell::Cell;
use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use gevent_shim::*;

crate::tests! {
    joins_and_kills_of_the_dead
    sizes_of_zero
    deadlines_in_the_past
    deadlines_that_never_come
    a_greenlet_joins_itself_and_is_killed
    a_handler_during_a_change
    a_handler_that_waits
    code_called_during_a_change
    every_object_between_guests_and_kernel_threads
}

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(3600);
const NOW: Duration = Duration::ZERO;

fn joins_and_kills_of_the_dead() {
    let dead = spawn(|| 1);
    let any = [dead.as_any(), dead.as_any()];
    for _ in 0..2 {
        dead.join();
        assert!(dead.join_timeout(NOW));
        dead.kill();
        for wait in [Wait::No, Wait::Forever, Wait::For(NOW)] {
            assert!(dead.kill_with("nothing", wait));
        }
        assert_eq!((joinall(&any, None).len(), killall(&any, None)), (2, true));
    }
    assert_eq!(dead.get().unwrap(), 1);
    assert_eq!(dead.take().unwrap(), 1);
    assert!(matches!(dead.take(), Err(GetError::Taken)));
    assert!(matches!(dead.get(), Err(GetError::Taken)));
    assert!(dead.successful() && dead.exception().is_none());
    // One that was killed before it ran is as dead as any.
    let never = spawn_later(LONG, || unreachable!());
    never.kill();
    never.kill();
    never.join();
    let exit: Result<(), _> = never.get();
    assert!(matches!(exit, Err(GetError::Exit)));
    let linked = AsyncResult::new();
    let tell = linked.clone();
    never.link(move |dead| tell.set(dead.is_dead()));
    assert!(linked.get().unwrap());
    let group = Group::new();
    group.add(&never);
    group.discard(&never);
    group.kill();
    assert!(group.is_empty());
}

fn sizes_of_zero() {
    assert_eq!(Queue::<u8>::bounded(0).unwrap_err(), InvalidSize);
    assert_eq!(LifoQueue::<u8>::bounded(0).unwrap_err(), InvalidSize);
    assert_eq!(PriorityQueue::<u8>::bounded(0).unwrap_err(), InvalidSize);
    assert_eq!(Pool::new(0).unwrap_err(), InvalidSize);
    assert_eq!(ThreadPool::new(0).unwrap_err(), InvalidSize);
    assert!(!Semaphore::new(0).try_acquire());
    assert_eq!(BoundedSemaphore::new(0).release(), Err(OverReleased));
    // As small as stacks are made.
    let small = Builder::new().stack_size(0).name("").spawn(|| 1).unwrap();
    assert_eq!((small.get().unwrap(), small.name()), (1, ""));
    assert!(Builder::new().stack_size(usize::MAX).spawn(|| 1).is_err());
    assert!(wait(std::slice::from_ref(&small), None, Some(0)).is_empty());
    assert!(joinall::<Event>(&[], None).is_empty() && killall(&[], None));
    let none = Pool::unbounded().map(Vec::<u8>::new(), |n| n).unwrap();
    assert!(none.is_empty());
    assert!(iwait::<Event>(&[], None, None).next().is_none());
    // One at least is accepted at a time.
    let server = StreamServer::bind("127.0.0.1:0", |_, _| ()).unwrap();
    let server = server.max_accept(0);
    server.start().unwrap();
    let address = server.local_addr().unwrap();
    for _ in 0..3 {
        std::net::TcpStream::connect(address).unwrap();
    }
    server.stop();
}

fn deadlines_in_the_past() {
    let event = Event::new();
    let result = AsyncResult::<u8>::new();
    let semaphore = Semaphore::new(0);
    let bounded = BoundedSemaphore::new(0);
    let queue = Queue::<u8>::bounded(1).unwrap();
    let never = spawn_later(LONG, || ());
    assert!(!event.wait_timeout(NOW));
    assert!(!result.wait_timeout(NOW));
    assert!(matches!(result.get_timeout(NOW), Err(GetError::TimedOut)));
    assert!(!semaphore.acquire_timeout(NOW) && !bounded.acquire_timeout(NOW));
    assert_eq!(queue.get_timeout(NOW), Err(Empty::Empty));
    queue.put_timeout(1, NOW).unwrap();
    assert_eq!(queue.put_timeout(2, NOW), Err(PutError::Full(2)));
    assert!(!queue.join_timeout(NOW));
    let channel = channel();
    assert_eq!(channel.put_timeout(3, NOW), Err(PutError::Full(3)));
    assert!(!never.join_timeout(NOW));
    assert!(joinall(std::slice::from_ref(&never), Some(NOW)).is_empty());
    assert!(
        iwait(std::slice::from_ref(&never), Some(NOW), None)
            .next()
            .is_none()
    );
    assert!(!wait_all(Some(NOW)));
    let pool = Pool::new(1).unwrap();
    pool.spawn(|| sleep(LONG));
    assert_eq!(pool.wait_available(Some(NOW)), Some(0));
    assert!(!pool.join_timeout(NOW) && !pool.group().join_timeout(NOW));
    let lock = RLock::new();
    let held = lock.hold();
    let refused = spawn({
        let lock = lock.clone();
        move || !lock.acquire_timeout(NOW)
    });
    assert!(refused.get().unwrap());
    drop(held);
    // What is there is taken, however late it is.
    assert_eq!(queue.get_timeout(NOW), Ok(1));
    event.set();
    assert!(event.wait_timeout(NOW));
    assert!(lock.acquire_timeout(NOW));
    assert_eq!(spawn_later(NOW, || 1).get().unwrap(), 1);
    sleep(NOW);
    pool.kill();
    never.kill();
}

fn deadlines_that_never_come() {
    let max = Duration::MAX;
    let event = Event::new();
    let waiting = spawn({
        let event = event.clone();
        move || event.wait_timeout(max)
    });
    let sleeping = spawn(move || sleep(max));
    yield_now();
    event.set();
    assert!(waiting.get_timeout(max).unwrap());
    assert!(!sleeping.join_timeout(SHORT));
    assert!(sleeping.kill_with(GreenletExit, Wait::For(max)));
    assert_eq!(with_timeout(max, || 1), Ok(1));
    assert!(wait_all(Some(max)));
}

fn a_greenlet_joins_itself_and_is_killed() {
    let inside = Event::new();
    let greenlet = spawn({
        let inside = inside.clone();
        move || {
            let own = getcurrent().unwrap();
            assert!(!own.join_timeout(SHORT));
            assert!(wait(std::slice::from_ref(&own), Some(SHORT), None).is_empty());
            inside.set();
            own.join();
            unreachable!()
        }
    });
    inside.wait();
    greenlet.kill();
    assert!(matches!(greenlet.get(), Err::<(), _>(GetError::Exit)));
}

/// Installs a handler.
fn handle(signal: i32, handler: extern "C" fn(i32)) {
    // SAFETY: a zeroed action with a handler; ours does what is tested here.
    #[allow(unsafe_code)]
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
    }
}

static QUEUE: OnceLock<PriorityQueue<Ordered>> = OnceLock::new();

thread_local! {
    /// What comparing does on this thread.
    static DURING: Cell<fn()> = const { Cell::new(|| ()) };
}

/// An item whose comparison is code of the program's that runs during a change.
#[derive(Debug, PartialEq, Eq)]
struct Ordered(u32);

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        DURING.get()();
        self.0.cmp(&other.0)
    }
}

/// What the handler met: items, or -1 if it was told that it can't look.
static MET: AtomicI32 = AtomicI32::new(-2);

fn a_handler_during_a_change() {
    extern "C" fn look(_: i32) {
        let items = catch_unwind(|| QUEUE.get().map_or(-3, |queue| queue.len() as i32));
        let items = items.unwrap_or_else(|payload| {
            assert!(payload.is::<Reentered>());
            -1
        });
        MET.store(items, SeqCst);
    }
    let queue = QUEUE.get_or_init(PriorityQueue::unbounded);
    handle(libc::SIGUSR1, look);
    queue.put(Ordered(1)).unwrap();
    DURING.set(|| {
        if MET.load(SeqCst) == -2 {
            // SAFETY: a signal with a handler.
            #[allow(unsafe_code)]
            unsafe {
                libc::raise(libc::SIGUSR1);
            }
        }
    });
    queue.put(Ordered(2)).unwrap();
    // On a hub it comes when the change is over.
    let met = MET.load(SeqCst);
    assert_eq!(met, if crate::on_hub() { 2 } else { -1 });
    assert_eq!(queue.get(), Ok(Ordered(1)));
    assert_eq!(queue.len(), 1);
}

fn code_called_during_a_change() {
    let queue = QUEUE.get_or_init(PriorityQueue::unbounded);
    queue.put(Ordered(1)).unwrap();
    DURING.set(|| assert!(QUEUE.get().unwrap().len() < 9));
    let outcome = catch_unwind(AssertUnwindSafe(|| queue.put(Ordered(2))));
    let payload = outcome.unwrap_err();
    let reentered = payload.downcast_ref::<Reentered>().unwrap();
    assert!(reentered.to_string().contains("is changing"));
    DURING.set(|| ());
    // The queue goes on.
    queue.put(Ordered(0)).unwrap();
    assert_eq!(queue.get(), Ok(Ordered(0)));
    // In a greenlet it is the greenlet's failure.
    let failed = spawn(|| {
        DURING.set(|| assert!(QUEUE.get().unwrap().len() < 9));
        QUEUE.get().unwrap().put(Ordered(3)).unwrap();
        QUEUE.get().unwrap().put(Ordered(4)).unwrap();
    });
    failed.join();
    let exception = failed.exception().unwrap();
    assert!(exception.message().contains("is changing"), "{exception}");
}

static INNER: OnceLock<Event> = OnceLock::new();
static INSIDE: OnceLock<Event> = OnceLock::new();
static WAITED: AtomicUsize = AtomicUsize::new(0);

/// Until the kernel thread sleeps in a wait of an object: one that is interrupted before may
/// hold the object, or the heap, and a handler that waits keeps what it has.
fn until_parked(tid: i32) {
    let file = format!("/proc/self/task/{tid}/syscall");
    let op = format!("{:#x}", libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG);
    let nr = libc::SYS_futex.to_string();
    loop {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let mut words = text.split(' ');
        if words.next() == Some(&*nr) && words.nth(1) == Some(&*op) {
            return;
        }
        std::thread::yield_now();
    }
}

/// A wait in a handler that interrupted a wait, both of which end.
fn a_handler_that_waits() {
    extern "C" fn wait(_: i32) {
        INSIDE.get().unwrap().set();
        INNER.get().unwrap().wait();
        WAITED.fetch_add(1, SeqCst);
    }
    let (inner, inside) = (
        INNER.get_or_init(Event::new),
        INSIDE.get_or_init(Event::new),
    );
    handle(libc::SIGUSR1, wait);
    for round in 1..=20 {
        let (outer, begun) = (Event::new(), Event::new());
        // SAFETY: no preconditions.
        #[allow(unsafe_code)]
        let (own, tid) = unsafe { (libc::pthread_self() as usize, libc::gettid()) };
        let other = spawn({
            let (outer, begun) = (outer.clone(), begun.clone());
            move || {
                begun.wait();
                if !crate::on_hub() {
                    until_parked(tid);
                }
                // SAFETY: the thread waits for this greenlet.
                #[allow(unsafe_code)]
                unsafe {
                    libc::pthread_kill(own as libc::pthread_t, libc::SIGUSR1);
                }
                inside.wait();
                // The wake of the outer wait comes while the inner one sleeps.
                outer.set();
                inner.set();
            }
        });
        begun.set();
        outer.wait();
        other.join();
        assert_eq!(WAITED.load(SeqCst), round);
        inner.clear();
        inside.clear();
    }
}

fn every_object_between_guests_and_kernel_threads() {
    const ROUNDS: usize = 200;
    let pool = ThreadPool::new(2).unwrap();
    let events: Vec<_> = (0..ROUNDS).map(|_| (Event::new(), Event::new())).collect();
    let results: Vec<_> = (0..ROUNDS).map(|_| AsyncResult::new()).collect();
    let (there, back) = (Semaphore::new(0), Semaphore::new(0));
    let bounded = BoundedSemaphore::new(2);
    let lock = RLock::new();
    let meet = channel();
    let (full, by_order) = (
        Queue::bounded(3).unwrap(),
        PriorityQueue::bounded(3).unwrap(),
    );
    let jobs = JoinableQueue::unbounded();
    let stack = LifoQueue::unbounded();
    let counter = std::sync::Arc::new(AtomicUsize::new(0));
    // One side of everything: as a greenlet below, and on a kernel thread.
    let side = {
        let (events, results) = (events.clone(), results.clone());
        let (there, back, bounded, lock) =
            (there.clone(), back.clone(), bounded.clone(), lock.clone());
        let (meet, full, by_order) = (meet.clone(), full.clone(), by_order.clone());
        let (jobs, stack, counter) = (jobs.clone(), stack.clone(), counter.clone());
        move |first: bool| {
            for n in 0..ROUNDS {
                let (ours, theirs) = if first {
                    (&events[n].0, &events[n].1)
                } else {
                    (&events[n].1, &events[n].0)
                };
                ours.set();
                theirs.wait();
                if first {
                    results[n].set(n);
                    back.release();
                    there.acquire();
                    meet.put(n).unwrap();
                    full.put(n).unwrap();
                    assert_eq!(by_order.get(), Ok(n));
                    jobs.put(n).unwrap();
                    jobs.join();
                } else {
                    assert_eq!(results[n].get().unwrap(), n);
                    there.release();
                    back.acquire();
                    assert_eq!(meet.get(), Ok(n));
                    assert_eq!(full.get(), Ok(n));
                    by_order.put(n).unwrap();
                    assert_eq!(jobs.get(), Ok(n));
                    jobs.task_done().unwrap();
                }
                bounded.acquire();
                stack.put(n).unwrap();
                stack.get().unwrap();
                bounded.release().unwrap();
                lock.acquire();
                let before = counter.load(SeqCst);
                yield_now();
                counter.store(before + 1, SeqCst);
                lock.release().unwrap();
            }
        }
    };
    let other = pool.spawn({
        let side = side.clone();
        move || {
            assert!(!get_hub().is_guest());
            side(false);
        }
    });
    let other = other.unwrap();
    let here = spawn(move || side(true));
    here.get().unwrap();
    other.get().unwrap();
    assert_eq!(counter.load(SeqCst), 2 * ROUNDS);
    // Groups and pools, spawned into from a kernel thread, joined here; and the reverse.
    let (group, small) = (Group::new(), Pool::new(2).unwrap());
    let count = std::sync::Arc::new(AtomicUsize::new(0));
    let spawner = pool.spawn({
        let (group, small, count) = (group.clone(), small.clone(), count.clone());
        move || {
            for _ in 0..50 {
                for add in [count.clone(), count.clone()] {
                    let add = move || {
                        yield_now();
                        add.fetch_add(1, SeqCst);
                    };
                    group.spawn(add.clone());
                    small.spawn(add);
                }
            }
            small.join();
        }
    });
    spawner.unwrap().get().unwrap();
    group.join();
    assert_eq!(count.load(SeqCst), 200);
    small.spawn(|| sleep(LONG));
    let killer = pool.spawn({
        let small = small.clone();
        move || small.kill()
    });
    killer.unwrap().get().unwrap();
    assert!(small.group().is_empty());
}
