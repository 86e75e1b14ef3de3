//! Several greenlets at once: joinall, wait, iwait, killall, groups, pools.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use gevent_shim::*;

crate::tests! {
    joinall_returns_those_that_are_ready
    wait_stops_at_its_count
    iwait_yields_in_the_order_of_readiness
    wait_takes_events_and_results
    wait_without_objects_waits_for_all
    killall_kills_all
    a_group_loses_its_dead
    a_group_is_killed
    a_full_pool_makes_spawn_wait
    pool_sizes
    map_keeps_order_and_tells_the_first_failure
    imap_keeps_order
    imap_unordered_does_not
    apply_and_apply_async
    a_greenlet_of_a_pool_is_in_it_when_it_begins
    a_dropped_imap_begins_no_more
}

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(5);

fn joinall_returns_those_that_are_ready() {
    let fast = spawn(|| ());
    let slow = spawn(|| sleep(LONG));
    let ready = joinall(
        &[slow.clone(), fast.clone()],
        Some(Duration::from_millis(50)),
    );
    assert_eq!(ready.len(), 1);
    assert!(ready[0].as_any() == fast.as_any());
    assert!(joinall::<Event>(&[], None).is_empty());
    assert_eq!(
        joinall(&[fast.clone(), fast], Some(Duration::ZERO)).len(),
        2
    );
    slow.kill();
}

fn wait_stops_at_its_count() {
    let gates: Vec<_> = (0..3).map(|_| Event::new()).collect();
    gates[1].set();
    let ready = wait(&gates, None, Some(1));
    assert_eq!(ready.len(), 1);
    assert!(wait(&gates, None, Some(0)).is_empty());
    assert_eq!(wait(&gates, Some(SHORT), Some(9)).len(), 1);
}

fn iwait_yields_in_the_order_of_readiness() {
    let gates: Vec<_> = (0..3).map(|_| Event::new()).collect();
    let greenlets: Vec<_> = gates
        .iter()
        .enumerate()
        .map(|(n, gate)| {
            let gate = gate.clone();
            spawn(move || {
                gate.wait();
                n
            })
        })
        .collect();
    let mut ready = iwait(&greenlets, None, None);
    for n in [2, 0, 1] {
        gates[n].set();
        assert_eq!(ready.next().unwrap().get().unwrap(), n);
    }
    assert!(ready.next().is_none());
}

fn wait_takes_events_and_results() {
    let result = AsyncResult::<u8>::new();
    assert!(wait(std::slice::from_ref(&result), Some(SHORT), None).is_empty());
    result.set(1);
    assert_eq!(wait(&[result], None, None).len(), 1);
}

fn wait_without_objects_waits_for_all() {
    let greenlets: Vec<_> = (0..3).map(|_| spawn(|| sleep(SHORT))).collect();
    assert!(wait_all(None));
    assert!(greenlets.iter().all(|greenlet| greenlet.ready()));
    let sleeper = spawn(|| sleep(LONG));
    assert!(!wait_all(Some(SHORT)));
    sleeper.kill();
    assert!(wait_all(Some(LONG)));
}

fn killall_kills_all() {
    let all: Vec<_> = (0..10).map(|_| spawn(|| sleep(LONG)).as_any()).collect();
    yield_now();
    assert!(killall(&all, None));
    assert!(all.iter().all(AnyGreenlet::successful));
    assert!(killall(&all, None), "the dead are dead");
    assert!(killall(&[], Some(Duration::ZERO)));
}

fn a_group_loses_its_dead() {
    let group = Group::new();
    let gate = Event::new();
    let stays = group.spawn({
        let gate = gate.clone();
        move || gate.wait()
    });
    let goes = group.spawn(|| ());
    assert!(group.contains(&stays) && group.len() <= 2);
    while group.contains(&goes) {
        sleep(Duration::from_millis(1));
    }
    assert!(!group.join_timeout(SHORT));
    assert_eq!(group.greenlets(), [stays.as_any()]);
    gate.set();
    group.join();
    assert!(group.is_empty());
    group.add(&stays); // dead: not added
    assert!(group.is_empty());
}

fn a_group_is_killed() {
    let group = Group::new();
    for _ in 0..5 {
        group.spawn(|| sleep(LONG));
    }
    yield_now();
    group.kill();
    assert!(group.is_empty());
    group.spawn(|| sleep(LONG));
    assert!(group.kill_with(Wait::For(LONG)));
}

fn a_full_pool_makes_spawn_wait() {
    let pool = Pool::new(2).unwrap();
    let gate = Event::new();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for n in 0..2 {
        assert_eq!(pool.free_count(), Some(2 - n));
        let gate = gate.clone();
        pool.spawn(move || gate.wait());
    }
    assert!(pool.full());
    assert_eq!(pool.wait_available(Some(SHORT)), Some(0));
    assert!(with_timeout(SHORT, || pool.spawn(|| ())).is_err());
    gate.set();
    for _ in 0..20 {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        pool.spawn(move || {
            most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
            sleep(Duration::from_millis(1));
            running.fetch_sub(1, SeqCst);
        });
    }
    pool.join();
    assert_eq!(most.load(SeqCst), 2);
}

fn pool_sizes() {
    assert_eq!(Pool::new(0).unwrap_err(), InvalidSize);
    assert_eq!(Pool::new(3).unwrap().size(), Some(3));
    let pool = Pool::unbounded();
    assert_eq!(
        (pool.size(), pool.free_count(), pool.full()),
        (None, None, false)
    );
    assert_eq!(pool.wait_available(None), None);
    assert_eq!(pool.map(0..100, |n| n).unwrap().len(), 100);
}

fn map_keeps_order_and_tells_the_first_failure() {
    let pool = Pool::new(3).unwrap();
    let slow_first = |n: u64| {
        sleep(Duration::from_millis(10 - n));
        n
    };
    assert!(pool.map(0..10, slow_first).unwrap().into_iter().eq(0..10));
    let failing = pool.map(0..10, |n| if n % 4 == 3 { panic!("item {n}") } else { n });
    assert_eq!(failing.unwrap_err().message(), "item 3");
    assert!(pool.map(Vec::<u8>::new(), |n| n).unwrap().is_empty());
}

fn imap_keeps_order() {
    let pool = Pool::new(4).unwrap();
    let values = pool.imap(0..10u64, |n| {
        sleep(Duration::from_millis(10 - n));
        n
    });
    assert!(values.map(Result::unwrap).eq(0..10));
    let mut failing = pool.imap(0..2, |n| if n == 0 { panic!("meant") } else { n });
    assert!(failing.next().unwrap().is_err());
    assert_eq!(failing.next().unwrap().unwrap(), 1);
    assert!(failing.next().is_none());
}

fn imap_unordered_does_not() {
    let pool = Pool::new(4).unwrap();
    let gates: Vec<_> = (0..3).map(|_| Event::new()).collect();
    let mut values = pool.imap_unordered(0..3usize, {
        let gates = gates.clone();
        move |n| {
            gates[n].wait();
            n
        }
    });
    for n in [1, 2, 0] {
        gates[n].set();
        assert_eq!(values.next().unwrap().unwrap(), n);
    }
    assert!(values.next().is_none());
}

fn apply_and_apply_async() {
    let pool = Pool::new(1).unwrap();
    assert_eq!(pool.apply(|| 5).unwrap(), 5);
    let inner = pool.clone();
    assert_eq!(pool.apply(move || inner.apply(|| 6).unwrap()).unwrap(), 6);
    let seen = AsyncResult::new();
    let callback = seen.clone();
    let job = pool.apply_async(|| 7, move |value| callback.set(value));
    assert_eq!(seen.get().unwrap(), 7);
    assert_eq!(job.get().unwrap(), Some(7));
    assert_eq!(
        pool.apply_async(|| panic!("meant"), |()| ()).get().unwrap(),
        None
    );
}

fn a_greenlet_of_a_pool_is_in_it_when_it_begins() {
    let pool = Pool::new(1).unwrap();
    for _ in 0..200 {
        let inner = pool.clone();
        let own = pool.spawn(move || {
            let own = getcurrent().unwrap();
            inner.group().contains(&own) && inner.apply(|| true).unwrap()
        });
        assert!(own.get().unwrap());
    }
}

fn a_dropped_imap_begins_no_more() {
    let pool = Pool::new(1).unwrap();
    let begun = Arc::new(AtomicUsize::new(0));
    let mut values = pool.imap(0.., {
        let begun = Arc::clone(&begun);
        move |n: u32| {
            begun.fetch_add(1, SeqCst);
            n
        }
    });
    assert_eq!(values.next().unwrap().unwrap(), 0);
    drop(values);
    assert!(wait_all(Some(LONG)), "{} were begun", begun.load(SeqCst));
}
