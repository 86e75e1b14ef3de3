//! gevent's interface for Rust: greenlets, what they wait for, and how they are ended.
//!
//! A *greenlet* is a thread that libc's `pthread_create` makes. Where the hub runs (the
//! program was started with the library preloaded, or called `monkey::patch_all()` of the
//! crate `gevent-shim` first in `main`) it is a guest: a coroutine on the hub's one kernel
//! thread, and everything that it calls in libc lets the others run. Without a hub it is a
//! kernel thread, and everything here means the same, but for the points marked below.
//!
//! # Where things are
//! | subject | |
//! |---|---|
//! | greenlets | [`spawn()`], [`spawn_later`], [`Builder`], [`Greenlet`], [`AnyGreenlet`], [`scope()`], [`getcurrent`], [`exit`] |
//! | several at once | [`joinall`], [`killall`], [`wait`], [`iwait`], [`wait_all`], [`Group`], [`Pool`] |
//! | time | [`sleep`], [`Timeout`], [`with_timeout`] |
//! | giving way | [`yield_now`], [`idle`], [`check`] |
//! | what is waited for | [`Event`], [`AsyncResult`], [`Semaphore`], [`BoundedSemaphore`], [`RLock`], [`Queue`], [`PriorityQueue`], [`LifoQueue`], [`JoinableQueue`], [`Channel`] |
//! | variables | [`local!`](crate::local) |
//! | the hub | [`get_hub`], [`Hub`] |
//! | kernel threads | [`ThreadPool`] |
//! | servers, processes | [`StreamServer`], [`DatagramServer`], [`fork_and_watch`] |
//! | watching | [`assert_switches`], [`Hub::add_monitoring_function`] |
//!
//! # What a kill does
//! [`AnyGreenlet::kill`] ends the wait that the greenlet is in, or its next one:
//!
//! - A wait of this library unwinds with [`GreenletExit`], as a panic without a message.
//!   Destructors run. `catch_unwind` may catch it; then the greenlet goes on.
//! - A call of libc's that waits (`recv` in `std::net`, `poll` in libpq) fails with
//!   `ECANCELED`, once, if the greenlet is a guest. No unwinding starts there: the frames of
//!   libc's callers, in C and in std alike, can't be unwound through. The code around the
//!   call returns its error, and [`GreenletExit`] is raised by the greenlet's next wait
//!   here, or by [`check`]. If it returns before, what it returns is its value, as when a
//!   greenlet of gevent catches `GreenletExit` and returns. `std::thread::sleep` returns
//!   early instead, and a wait for a lock of libc's or std's is not ended.
//! - Without a hub, calls of libc's go on to their end.
//! - A thread that is unwinding already is not interrupted: a second panic would abort.
//!
//! # Threads, signals, forks
//! Everything may be used from guests and from other kernel threads alike; greenlets that
//! another kernel thread spawns while there is a hub are made by the hub, and so are
//! guests too.
//!
//! Nothing here is for signal handlers. A handler that uses an object while the code that
//! it interrupted is changing it unwinds with [`Reentered`], instead of waiting for itself;
//! in a greenlet on a hub handlers wait until the change is over. So does code of the
//! program's that is called during a change (the order of what a [`PriorityQueue`] holds,
//! the `clone` of what an [`AsyncResult`] has) and uses the same object. On a kernel thread a
//! handler that waits during a change keeps every other thread from the object meanwhile.
//!
//! After `fork` the child has the calling thread alone. Greenlets of the parent count as
//! ended there ([`GetError::Lost`]), have left their groups and pools, and their waits are
//! forgotten. That is so where the hub runs all threads of the program; another kernel
//! thread may have held a lock when the child was made, which stays locked, as `fork(2)` says.

mod async_result;
pub mod backend;
mod callbacks;
mod channel;
mod current;
mod error;
mod event;
pub mod foreign;
mod greenlet;
mod group;
mod hub;
mod local;
mod many;
mod os;
mod pool;
mod queue;
mod report;
mod rlock;
mod scope;
pub mod section;
mod semaphore;
mod server;
mod spawn;
mod sync;
mod threadpool;
mod timeout;
mod units;
mod waiters;
mod waiting;
mod watch;

pub use crate::owned_lock::Reentered;
pub use async_result::AsyncResult;
pub use channel::{Channel, channel};
#[doc(hidden)]
pub use current::{at_thread_end, call_behind_records};
pub use error::{Exception, GetError, GreenletExit, InvalidSize};
pub use event::Event;
pub use greenlet::{AnyGreenlet, Greenlet, Wait};
pub use group::Group;
pub use hub::{Hub, HubStatistics, check, get_hub, idle, sleep, yield_now};
pub use many::{IWait, Waitable, iwait, joinall, killall, killall_with, wait, wait_all};
pub use os::{Fork, fork_and_watch};
pub use pool::{IMap, IMapUnordered, Pool};
pub use queue::{
    Empty, Heap, Iter, JoinableQueue, LifoQueue, PriorityQueue, PutError, Queue, RawQueue, Stack,
    Store, TooManyDone,
};
pub use rlock::{NotOwner, RLock, RLockHeld};
pub use scope::{Scope, ScopedGreenlet, scope};
pub use semaphore::{BoundedSemaphore, Held, OverReleased, Semaphore};
pub use server::{DatagramServer, StreamServer};
pub use spawn::{Builder, Callers, STACK_SIZE, exit, getcurrent, spawn, spawn_later};
pub use threadpool::ThreadPool;
pub use timeout::{TimedOut, Timeout, with_timeout, with_timeout_or, with_timeout_value};
pub use watch::{InvalidSwitch, Monitor, Stretch, assert_switches};

#[cfg(test)]
mod interleavings;
