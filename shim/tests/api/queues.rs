//! Queues and channels.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gevent_shim::*;

crate::tests! {
    orders
    bounds
    getters_are_first_come_first_served
    putters_are_first_come_first_served
    iteration_ends_with_a_shutdown
    an_immediate_shutdown_drops
    a_shutdown_lets_waiters_go
    task_done_and_join
    a_channel_is_a_rendezvous
    peek_takes_nothing
}

const SHORT: Duration = Duration::from_millis(5);

fn orders() {
    let fifo = Queue::unbounded();
    let lifo = LifoQueue::unbounded();
    let priority = PriorityQueue::unbounded();
    for n in [2, 3, 1] {
        fifo.put(n).unwrap();
        lifo.put(n).unwrap();
        priority.put(n).unwrap();
    }
    for queue in [fifo.len(), lifo.len(), priority.len()] {
        assert_eq!(queue, 3);
    }
    for (n, (f, (l, p))) in [(2, (1, 1)), (3, (3, 2)), (1, (2, 3))]
        .into_iter()
        .enumerate()
    {
        assert_eq!(fifo.get(), Ok(f), "{n}");
        assert_eq!(lifo.get(), Ok(l), "{n}");
        assert_eq!(priority.get(), Ok(p), "{n}");
    }
}

fn bounds() {
    assert_eq!(Queue::<u8>::bounded(0).unwrap_err(), InvalidSize);
    let queue = Queue::bounded(1).unwrap();
    assert_eq!(queue.try_get(), Err(Empty::Empty));
    assert_eq!(queue.get_timeout(SHORT), Err(Empty::Empty));
    queue.put(1).unwrap();
    assert!(queue.is_full());
    assert_eq!(queue.try_put(2), Err(PutError::Full(2)));
    assert_eq!(queue.put_timeout(2, SHORT), Err(PutError::Full(2)));
    let putter = spawn({
        let queue = queue.clone();
        move || queue.put(3)
    });
    assert_eq!(queue.get(), Ok(1));
    assert_eq!(queue.get(), Ok(3));
    assert_eq!(putter.get().unwrap(), Ok(()));
}

fn getters_are_first_come_first_served() {
    let queue = Queue::unbounded();
    let getters: Vec<_> = (0..5)
        .map(|_| {
            let queue = queue.clone();
            let greenlet = spawn(move || queue.get());
            sleep(SHORT);
            greenlet
        })
        .collect();
    for n in 0..5 {
        queue.put(n).unwrap();
    }
    for (n, getter) in getters.iter().enumerate() {
        if crate::on_hub() {
            assert_eq!(getter.get().unwrap(), Ok(n));
        }
        getter.join();
    }
}

fn putters_are_first_come_first_served() {
    let queue = Queue::bounded(1).unwrap();
    queue.put(0).unwrap();
    let putters: Vec<_> = (1..5)
        .map(|n| {
            let queue = queue.clone();
            let greenlet = spawn(move || queue.put(n));
            sleep(SHORT);
            greenlet
        })
        .collect();
    let got: Vec<_> = (0..5).map(|_| queue.get().unwrap()).collect();
    if crate::on_hub() {
        assert_eq!(got, [0, 1, 2, 3, 4]);
    }
    joinall(&putters, None);
}

fn iteration_ends_with_a_shutdown() {
    let queue = Queue::unbounded();
    let sum = spawn({
        let queue = queue.clone();
        move || (&queue).into_iter().sum::<u32>()
    });
    for n in 1..=10 {
        queue.put(n).unwrap();
        yield_now();
    }
    queue.shutdown(false);
    queue.shutdown(false);
    assert_eq!(sum.get().unwrap(), 55);
    assert_eq!(queue.put(1), Err(PutError::ShutDown(1)));
    assert_eq!(queue.put(1).unwrap_err().into_inner(), 1);
    assert!(queue.is_shut_down());
}

fn an_immediate_shutdown_drops() {
    let queue = Queue::unbounded();
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    queue.shutdown(false);
    assert_eq!(queue.get(), Ok(1));
    queue.shutdown(true);
    assert_eq!(queue.get(), Err(Empty::ShutDown));
    assert_eq!(queue.unfinished(), 1, "what was taken is still to be done");
}

fn a_shutdown_lets_waiters_go() {
    let queue = channel::<u8>();
    let getter = spawn({
        let queue = queue.clone();
        move || queue.get()
    });
    let full = Queue::bounded(1).unwrap();
    full.put(1).unwrap();
    let putter = spawn({
        let full = full.clone();
        move || full.put(2)
    });
    sleep(SHORT);
    queue.shutdown(false);
    full.shutdown(false);
    assert_eq!(getter.get().unwrap(), Err(Empty::ShutDown));
    assert_eq!(putter.get().unwrap(), Err(PutError::ShutDown(2)));
    assert_eq!(full.get(), Ok(1));
}

fn task_done_and_join() {
    let queue = JoinableQueue::unbounded();
    queue.join();
    for n in 0..10 {
        queue.put(n).unwrap();
    }
    assert!(!queue.join_timeout(SHORT));
    let done = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..3 {
        let (queue, done) = (queue.clone(), Arc::clone(&done));
        spawn(move || {
            for n in queue.iter() {
                yield_now();
                done.lock().unwrap().push(n);
                queue.task_done().unwrap();
            }
        });
    }
    queue.join();
    assert_eq!(done.lock().unwrap().len(), 10);
    assert_eq!(queue.task_done(), Err(TooManyDone));
    queue.shutdown(false);
    assert!(wait_all(None));
}

fn a_channel_is_a_rendezvous() {
    let channel = channel();
    assert!(channel.is_full() && channel.is_empty());
    assert_eq!(channel.try_put(1), Err(PutError::Full(1)));
    assert_eq!(channel.put_timeout(1, SHORT), Err(PutError::Full(1)));
    let sender = spawn({
        let channel = channel.clone();
        move || (0..5).map(|n| channel.put(n)).filter(Result::is_ok).count()
    });
    for n in 0..5 {
        assert_eq!(channel.get(), Ok(n));
    }
    assert_eq!(sender.get().unwrap(), 5);
}

fn peek_takes_nothing() {
    let queue = PriorityQueue::unbounded();
    assert_eq!(queue.peek(), None);
    queue.put(2).unwrap();
    queue.put(1).unwrap();
    assert_eq!(queue.peek(), Some(1));
    assert_eq!(queue.len(), 2);
}
