//! Queues in C: items are pointers.

use std::cmp::Ordering;
use std::ffi::{c_double, c_int, c_void};
use std::time::Duration;

use gevent_runtime::api::{
    Empty, LifoQueue, PriorityQueue, PutError, Queue, RawQueue, Store, channel,
};

use super::{call, count, free, get, give, ok, span, wait};

/// gevent_queue_new: first in, first out.
pub const GEVENT_QUEUE_FIFO: c_int = 0;
/// gevent_queue_new: last in, first out.
pub const GEVENT_QUEUE_LIFO: c_int = 1;
/// gevent_queue_new: the smallest priority first.
pub const GEVENT_QUEUE_PRIORITY: c_int = 2;
/// gevent_queue_new: without room: a put waits until a get has taken its item.
pub const GEVENT_QUEUE_CHANNEL: c_int = 3;

/// A pointer of C's with its priority.
#[derive(Debug, Clone, Copy)]
struct Item {
    priority: i64,
    pointer: *mut c_void,
}

// SAFETY: whoever put it said so.
unsafe impl Send for Item {}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.priority == other.priority
    }
}

impl Eq for Item {}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Item {
    fn cmp(&self, other: &Self) -> Ordering {
        self.priority.cmp(&other.priority)
    }
}

enum AnyQueue {
    Fifo(Queue<Item>),
    Lifo(LifoQueue<Item>),
    Priority(PriorityQueue<Item>),
}

/// Runs the same code for each kind of queue.
macro_rules! each {
    ($queue:expr, $name:ident => $body:expr) => {
        match $queue {
            AnyQueue::Fifo($name) => $body,
            AnyQueue::Lifo($name) => $body,
            AnyQueue::Priority($name) => $body,
        }
    };
}

/// A queue of pointers.
pub struct gevent_queue_t(AnyQueue);

fn bounded<S: Store<Item>>(bound: usize) -> RawQueue<Item, S> {
    // 0 is the one bound that is refused.
    RawQueue::bounded(bound).unwrap_or_else(|_| RawQueue::unbounded())
}

/// Makes a queue of a kind GEVENT_QUEUE_*, which holds `bound` items at most, or any number
/// if that is 0. 0 or -EINVAL. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_queue_new(
    kind: c_int,
    bound: usize,
    out: *mut *mut gevent_queue_t,
) -> c_int {
    call(|| {
        let queue = match kind {
            GEVENT_QUEUE_FIFO => AnyQueue::Fifo(bounded(bound)),
            GEVENT_QUEUE_LIFO => AnyQueue::Lifo(bounded(bound)),
            GEVENT_QUEUE_PRIORITY => AnyQueue::Priority(bounded(bound)),
            GEVENT_QUEUE_CHANNEL => AnyQueue::Fifo(channel()),
            _ => return -libc::EINVAL,
        };
        // SAFETY: the caller's place.
        unsafe { give(out, gevent_queue_t(queue)) }
    })
}

/// Frees a queue that nobody waits for. What is in it is the caller's. Any thread, the last
/// that uses the handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_queue_free(queue: *mut gevent_queue_t) {
    // SAFETY: the caller's handle.
    unsafe { free(queue) };
}

/// Puts an item, with its priority in a queue that has an order by it; waits for room,
/// `seconds` at most, first come first served. 0, -ETIMEDOUT (-EAGAIN if that was 0 seconds)
/// or -ESHUTDOWN: then the item is still the caller's. A wait. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_queue_put(
    queue: *const gevent_queue_t,
    pointer: *mut c_void,
    priority: i64,
    seconds: c_double,
) -> c_int {
    wait(|| {
        let item = Item { priority, pointer };
        let span = ok!(span(seconds));
        let outcome = each!(get!(queue), queue => match span {
            None => queue.put(item),
            Some(Duration::ZERO) => queue.try_put(item),
            Some(span) => queue.put_timeout(item, span),
        });
        match outcome {
            Ok(()) => 0,
            Err(PutError::ShutDown(_)) => -libc::ESHUTDOWN,
            Err(PutError::Full(_)) if span == Some(Duration::ZERO) => -libc::EAGAIN,
            Err(PutError::Full(_)) => -libc::ETIMEDOUT,
        }
    })
}

/// Takes an item and puts it at `item`; waits for one, `seconds` at most, first come first
/// served. 0, -ETIMEDOUT (-EAGAIN if that was 0 seconds), or -ESHUTDOWN once the queue is
/// shut down and empty. A wait. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_queue_get(
    queue: *const gevent_queue_t,
    item: *mut *mut c_void,
    seconds: c_double,
) -> c_int {
    wait(|| {
        let span = ok!(span(seconds));
        if item.is_null() {
            return -libc::EINVAL;
        }
        let outcome = each!(get!(queue), queue => match span {
            None => queue.get(),
            Some(Duration::ZERO) => queue.try_get(),
            Some(span) => queue.get_timeout(span),
        });
        match outcome {
            Ok(got) => {
                // SAFETY: the caller's place.
                unsafe { item.write(got.pointer) };
                0
            }
            Err(Empty::ShutDown) => -libc::ESHUTDOWN,
            Err(Empty::Empty) if span == Some(Duration::ZERO) => -libc::EAGAIN,
            Err(Empty::Empty) => -libc::ETIMEDOUT,
        }
    })
}

/// Items in the queue. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_queue_len(queue: *const gevent_queue_t) -> c_int {
    call(|| {
        let len = each!(get!(queue), queue => queue.len());
        count(len)
    })
}

/// 1 if a put would wait, 0 if not. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_queue_full(queue: *const gevent_queue_t) -> c_int {
    call(|| each!(get!(queue), queue => queue.is_full()) as c_int)
}

/// Puts the item that a get would take at `item`, which stays in the queue. 0, or -EAGAIN if
/// there is none. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_queue_peek(
    queue: *const gevent_queue_t,
    item: *mut *mut c_void,
) -> c_int {
    call(|| {
        let first = each!(get!(queue), queue => queue.peek());
        match first {
            _ if item.is_null() => -libc::EINVAL,
            Some(first) => {
                // SAFETY: the caller's place.
                unsafe { item.write(first.pointer) };
                0
            }
            None => -libc::EAGAIN,
        }
    })
}

/// Items that were put and not reported with gevent_queue_task_done. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_queue_unfinished(queue: *const gevent_queue_t) -> c_int {
    call(|| count(each!(get!(queue), queue => queue.unfinished())))
}

/// Ends the queue: puts fail from now on, gets once it is empty; with `immediate` it is
/// emptied. Whoever waits is let go. 0. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_queue_shutdown(
    queue: *const gevent_queue_t,
    immediate: c_int,
) -> c_int {
    call(|| {
        each!(get!(queue), queue => queue.shutdown(immediate != 0));
        0
    })
}

/// 1 if the queue is shut down, 0 if not. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_queue_is_shut_down(queue: *const gevent_queue_t) -> c_int {
    call(|| each!(get!(queue), queue => queue.is_shut_down()) as c_int)
}

/// An item that was taken has been dealt with. 0, or -EPERM if there were not so many. Any
/// thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_queue_task_done(queue: *const gevent_queue_t) -> c_int {
    call(|| each!(get!(queue), queue => queue.task_done().map_or(-libc::EPERM, |()| 0)))
}

/// Waits until every item that was put has been dealt with, `seconds` at most. 0 or
/// -ETIMEDOUT. A wait. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_queue_join(
    queue: *const gevent_queue_t,
    seconds: c_double,
) -> c_int {
    wait(|| match ok!(span(seconds)) {
        None => {
            each!(get!(queue), queue => queue.join());
            0
        }
        Some(span) if each!(get!(queue), queue => queue.join_timeout(span)) => 0,
        Some(_) => -libc::ETIMEDOUT,
    })
}
