//! Greenlets: their life, value, failure, links.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gevent_shim::*;

crate::tests! {
    a_value_is_returned_as_often_as_asked
    a_greenlet_begins_when_its_spawner_waits
    greenlets_begin_in_the_order_of_their_spawning
    join_swallows_its_own_time_limit
    a_panic_stays_in_its_greenlet
    exit_counts_as_success
    links_run_after_the_end_in_order
    a_link_to_a_dead_greenlet_runs
    a_panic_in_a_link_goes_no_further
    names_and_numbers
    spawn_later_waits
    scopes_borrow
    a_scope_waits_for_a_closure_that_never_runs
    locals_are_dropped_with_their_greenlet
    a_greenlet_is_known_to_itself
    sleeps_overlap
    yield_takes_turns
    idle_lets_all_run
    callbacks_run_from_any_thread
    greenlets_are_spawned_from_any_thread
}

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(5);

fn a_value_is_returned_as_often_as_asked() {
    let greenlet = spawn(|| String::from("value"));
    assert!(!greenlet.successful() || greenlet.ready());
    assert_eq!(greenlet.get().unwrap(), "value");
    assert_eq!(greenlet.get().unwrap(), "value");
    assert_eq!(greenlet.try_get().unwrap(), "value");
    greenlet.join();
    greenlet.join();
    assert!(greenlet.ready() && greenlet.is_dead() && greenlet.successful());
    assert!(greenlet.exception().is_none());
    assert_eq!(greenlet.take().unwrap(), "value");
    assert!(matches!(greenlet.try_get(), Err(GetError::Taken)));
}

fn a_greenlet_begins_when_its_spawner_waits() {
    if !crate::on_hub() {
        return; // a kernel thread begins at once
    }
    let began = Arc::new(AtomicBool::new(false));
    let greenlet = spawn({
        let began = Arc::clone(&began);
        move || began.store(true, SeqCst)
    });
    assert!(!began.load(SeqCst));
    assert!(matches!(greenlet.try_get(), Err(GetError::NotReady)));
    yield_now();
    assert!(began.load(SeqCst));
}

fn greenlets_begin_in_the_order_of_their_spawning() {
    if !crate::on_hub() {
        return; // the kernel has no order
    }
    let order = Arc::new(Mutex::new(Vec::new()));
    let greenlets: Vec<_> = (0..10)
        .map(|n| {
            let order = Arc::clone(&order);
            spawn(move || order.lock().unwrap().push(n))
        })
        .collect();
    joinall(&greenlets, None);
    assert!(order.lock().unwrap().iter().copied().eq(0..10));
}

fn join_swallows_its_own_time_limit() {
    let greenlet = spawn(|| sleep(LONG));
    assert!(!greenlet.join_timeout(SHORT));
    assert!(!greenlet.join_timeout(Duration::ZERO));
    assert!(matches!(
        greenlet.get_timeout(SHORT),
        Err(GetError::TimedOut)
    ));
    // Another's limit goes through.
    assert!(with_timeout(SHORT, || greenlet.join()).is_err());
    greenlet.kill();
}

fn a_panic_stays_in_its_greenlet() {
    let greenlet = spawn(|| -> u8 { std::panic::panic_any(String::from("as meant")) });
    let Err(GetError::Failed(exception)) = greenlet.get() else {
        panic!("no failure");
    };
    assert_eq!(exception.message(), "as meant");
    assert!(greenlet.ready() && !greenlet.successful());
    assert_eq!(greenlet.exception().unwrap().message(), "as meant");
    assert_eq!(greenlet.value(), None);
    let payload = exception.take_payload().unwrap();
    assert_eq!(*payload.downcast::<String>().unwrap(), "as meant");
    assert!(greenlet.exception().unwrap().take_payload().is_none());
}

fn exit_counts_as_success() {
    let greenlet = spawn(|| -> u8 { exit() });
    assert!(matches!(greenlet.get(), Err(GetError::Exit)));
    assert!(greenlet.successful() && greenlet.exception().is_none());
}

fn links_run_after_the_end_in_order() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let order = Arc::clone(&order);
        move |greenlet: &AnyGreenlet| {
            assert!(greenlet.ready());
            order.lock().unwrap().push(what);
        }
    };
    let done = Event::new();
    let begin = Event::new();
    let greenlet = spawn({
        let (order, begin) = (Arc::clone(&order), begin.clone());
        move || {
            begin.wait();
            order.lock().unwrap().push("body");
        }
    });
    greenlet.link(note("first"));
    greenlet.link_value(note("value"));
    greenlet.link_exception(note("exception"));
    greenlet.link({
        let done = done.clone();
        move |_| done.set()
    });
    begin.set();
    done.wait();
    assert_eq!(*order.lock().unwrap(), ["body", "first", "value"]);
}

fn a_link_to_a_dead_greenlet_runs() {
    let greenlet = spawn(|| panic!("meant"));
    greenlet.join();
    let done = AsyncResult::new();
    greenlet.link_exception({
        let done = done.clone();
        move |greenlet| done.set(greenlet.exception().unwrap().message().to_owned())
    });
    assert_eq!(done.get().unwrap(), "meant");
}

fn a_panic_in_a_link_goes_no_further() {
    let done = Event::new();
    let greenlet = spawn(|| sleep(SHORT));
    greenlet.link(|_| panic!("meant"));
    greenlet.link({
        let done = done.clone();
        move |_| done.set()
    });
    done.wait();
    assert!(greenlet.successful());
}

fn names_and_numbers() {
    let (one, two) = (spawn(|| ()), spawn(|| ()));
    assert_ne!(one.minimal_ident(), two.minimal_ident());
    assert_eq!(one.name(), format!("Greenlet-{}", one.minimal_ident()));
    assert!(one.spawning_stack().file().ends_with("basics.rs"));
    let named = Builder::new().name("a name").spawn(|| ()).unwrap();
    assert!(format!("{named:?}").starts_with("<Greenlet \"a name\" at 0x"));
    joinall(&[one, two, named], None);
}

fn spawn_later_waits() {
    let begin = Instant::now();
    let greenlet = spawn_later(Duration::from_millis(20), Instant::now);
    assert!(greenlet.get().unwrap() - begin >= Duration::from_millis(20));
    let never = spawn_later(Duration::MAX, || unreachable!());
    assert!(!never.join_timeout(SHORT));
    never.kill();
    assert!(never.successful());
}

fn scopes_borrow() {
    let counter = AtomicUsize::new(0);
    let mut own = vec![1, 2, 3];
    scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                yield_now();
                counter.fetch_add(1, SeqCst);
            });
        }
        let pushed = scope.spawn(|| own.push(4));
        pushed.join();
    });
    assert_eq!((counter.load(SeqCst), own.len()), (10, 4));
    // A scope that unwinds kills.
    let killed = std::panic::catch_unwind(|| {
        scope(|scope| {
            scope.spawn(|| sleep(LONG));
            std::panic::resume_unwind(Box::new("left"));
        })
    });
    assert!(killed.is_err());
}

fn a_scope_waits_for_a_closure_that_never_runs() {
    struct Noted<'a>(&'a AtomicBool);
    impl Drop for Noted<'_> {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }
    let dropped = AtomicBool::new(false);
    scope(|scope| {
        let noted = Noted(&dropped);
        let greenlet = scope.spawn(move || {
            let _noted = &noted;
            sleep(LONG);
        });
        greenlet.kill();
    });
    assert!(dropped.load(SeqCst));
}

local! {
    static LAST: Noted = const { Noted(std::cell::Cell::new(None)) };
}

struct Noted(std::cell::Cell<Option<&'static AtomicBool>>);

impl Drop for Noted {
    fn drop(&mut self) {
        if let Some(flag) = self.0.get() {
            flag.store(true, SeqCst);
        }
    }
}

fn locals_are_dropped_with_their_greenlet() {
    static DROPPED: AtomicBool = AtomicBool::new(false);
    let greenlet = spawn(|| LAST.with(|last| last.0.set(Some(&DROPPED))));
    greenlet.join();
    assert!(DROPPED.load(SeqCst));
    LAST.with(|last| assert!(last.0.get().is_none()));
}

fn a_greenlet_is_known_to_itself() {
    assert!(getcurrent().is_none());
    let greenlet = spawn(|| getcurrent().unwrap().minimal_ident());
    assert_eq!(greenlet.get().unwrap(), greenlet.minimal_ident());
}

fn sleeps_overlap() {
    let begin = Instant::now();
    let sleepers: Vec<_> = (0..50)
        .map(|_| spawn(|| sleep(Duration::from_millis(100))))
        .collect();
    assert_eq!(joinall(&sleepers, None).len(), 50);
    let taken = begin.elapsed();
    assert!(taken >= Duration::from_millis(100) && taken < Duration::from_secs(3));
}

fn yield_takes_turns() {
    if !crate::on_hub() {
        return; // the kernel gives turns as it likes
    }
    let order = Arc::new(Mutex::new(Vec::new()));
    let turns: Vec<_> = ["a", "b"]
        .map(|name| {
            let order = Arc::clone(&order);
            spawn(move || {
                for _ in 0..3 {
                    order.lock().unwrap().push(name);
                    yield_now();
                }
            })
        })
        .into();
    joinall(&turns, None);
    assert_eq!(*order.lock().unwrap(), ["a", "b", "a", "b", "a", "b"]);
}

fn idle_lets_all_run() {
    let count = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..5)
        .map(|_| {
            let count = Arc::clone(&count);
            spawn(move || {
                for _ in 0..10 {
                    count.fetch_add(1, SeqCst);
                    yield_now();
                }
            })
        })
        .collect();
    idle();
    if crate::on_hub() {
        assert_eq!(count.load(SeqCst), 50);
    }
    joinall(&workers, None);
}

fn callbacks_run_from_any_thread() {
    let result = AsyncResult::new();
    let answer = result.clone();
    spawn(|| ()).join();
    get_hub()
        .run_callback(move || answer.set(get_hub().is_guest()))
        .unwrap();
    assert_eq!(result.get().unwrap(), crate::on_hub());
    get_hub().run_callback(|| panic!("meant")).unwrap();
    let again = AsyncResult::new();
    let answer = again.clone();
    get_hub().run_callback(move || answer.set(())).unwrap();
    again.get().unwrap();
    let statistics = get_hub().statistics();
    assert_eq!(statistics.guests > 0, crate::on_hub());
    assert_eq!(statistics.switches > 0, crate::on_hub());
}

fn greenlets_are_spawned_from_any_thread() {
    let pool = ThreadPool::new(1).unwrap();
    let outcome = pool.apply(|| {
        assert!(!get_hub().is_guest());
        let greenlet = spawn(|| get_hub().is_guest());
        let sleeper = spawn(|| sleep(LONG));
        let guest = greenlet.get().unwrap();
        sleeper.kill();
        (guest, sleeper.successful())
    });
    assert_eq!(outcome.unwrap(), (crate::on_hub(), true));
}
