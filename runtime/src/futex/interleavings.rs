//! Every interleaving of two or three threads in the table, found by loom,
//! together with the reorderings that the memory model allows.
//!
//! The same sources are compiled a second time here, with loom's atomics in the
//! place of `sync`, so that an ordinary test run covers both.
#![allow(unsafe_code, dead_code, unused_imports)]

use super::memory;
use crate::errno::Errno;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering::SeqCst};
use loom::thread;
use memory::{AtomicOp, Memory};
use std::pin::Pin;

mod sync {
    pub(super) use loom::sync::atomic::{AtomicU32, AtomicUsize, fence};

    pub(super) fn relax(_rounds: &mut u32) {
        loom::thread::yield_now();
    }

    /// Loom knows no machine whose read-modify-write is a full barrier.
    pub(super) fn barrier_after_rmw() {
        fence(loom::sync::atomic::Ordering::SeqCst);
    }
}

#[allow(clippy::duplicate_mod)]
#[path = "bucket.rs"]
mod bucket;
#[allow(clippy::duplicate_mod)]
#[path = "pi.rs"]
mod pi;
#[allow(clippy::duplicate_mod)]
#[path = "requeue.rs"]
mod requeue;
#[allow(clippy::duplicate_mod)]
#[path = "table.rs"]
mod table;
#[allow(clippy::duplicate_mod)]
#[path = "waiter.rs"]
mod waiter;

use bucket::Bucket;
use pi::{FUTEX_OWNER_DIED, FUTEX_WAITERS, PiLock};
use table::{MATCH_ANY, Table};
use waiter::Waiter;

const A: usize = 0x1000;
const B: usize = 0x1010;

/// Two words, at [`A`] and [`B`], and a table that keeps them in two queues.
struct World {
    words: [AtomicU32; 2],
    table: Table<2>,
}

impl World {
    fn new(a: u32, b: u32) -> Arc<Self> {
        let bucket = |_| Bucket::new(AtomicU32::new(0), AtomicU32::new(0));
        let table = Table::with_buckets(std::array::from_fn(bucket));
        assert_ne!(table.index(A), table.index(B));
        Arc::new(World {
            words: [AtomicU32::new(a), AtomicU32::new(b)],
            table,
        })
    }

    fn word(&self, addr: usize) -> &AtomicU32 {
        &self.words[(addr == B) as usize]
    }
}

impl Memory for World {
    fn load(&self, addr: usize) -> Result<u32, Errno> {
        Ok(self.word(addr).load(SeqCst))
    }

    fn compare_exchange(&self, addr: usize, current: u32, new: u32) -> Result<u32, Errno> {
        let (Ok(seen) | Err(seen)) = self
            .word(addr)
            .compare_exchange(current, new, SeqCst, SeqCst);
        Ok(seen)
    }

    fn fetch_op(&self, addr: usize, op: AtomicOp, arg: u32) -> Result<u32, Errno> {
        assert_eq!(op, AtomicOp::Set);
        Ok(self.word(addr).swap(arg, SeqCst))
    }

    fn load_pointer(&self, _: usize) -> Result<usize, Errno> {
        Err(Errno::EFAULT)
    }
}

/// A waiter and its owner. Loom reports it if a waker's access to the owner can
/// coincide with the owner's own after its wait has ended.
struct Guest {
    waiter: Waiter,
    wakes: UnsafeCell<u32>,
}

// SAFETY: `wakes` is what the tests are about: loom checks each access.
unsafe impl Send for Guest {}
// SAFETY: as above.
unsafe impl Sync for Guest {}

impl Guest {
    fn new() -> Arc<Self> {
        let mut guest = Arc::new(Guest {
            waiter: Waiter::new(std::ptr::null_mut()),
            wakes: UnsafeCell::new(0),
        });
        let owner = Arc::as_ptr(&guest).cast_mut();
        Arc::get_mut(&mut guest).unwrap().waiter = Waiter::new(owner.cast());
        guest
    }

    fn waiter(&self) -> Pin<&Waiter> {
        // SAFETY: guests live in an Arc until their test is over.
        unsafe { Pin::new_unchecked(&self.waiter) }
    }

    fn wait(&self, world: &World, addr: usize, expected: u32) -> Result<(), Errno> {
        // SAFETY: in an Arc until the test is over, and each test ends waits.
        unsafe {
            world
                .table
                .enqueue(world, addr, expected, MATCH_ANY, self.waiter())
        }
    }

    /// Ends the wait: whether it was cancelled, and the wakes so far. From here
    /// on the guest is its thread's alone.
    fn end(&self, world: &World) -> (bool, u32) {
        let cancelled = world.table.cancel(self.waiter());
        // SAFETY: by the rules of the hand-off; checked by loom.
        (cancelled, self.wakes.with(|wakes| unsafe { *wakes }))
    }
}

/// The callback of a waker.
fn wake(owner: *mut ()) {
    // SAFETY: the owner is a guest that has not ended its wait.
    let guest = unsafe { &*owner.cast::<Guest>() };
    // SAFETY: by the rules of the hand-off; checked by loom.
    guest.wakes.with_mut(|wakes| unsafe { *wakes += 1 });
}

/// Runs `test` in every interleaving with at most so many switches away from a
/// thread that could have gone on.
fn explore(preemptions: usize, test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(test);
}

#[test]
fn a_wait_sees_the_new_value_or_is_woken() {
    explore(5, || {
        let world = World::new(0, 0);
        let guest = Guest::new();
        let waiting = thread::spawn({
            let (world, guest) = (world.clone(), guest.clone());
            move || guest.wait(&world, A, 0).is_ok()
        });
        // The program's own store, with nothing but the wake to order it.
        world.words[0].store(1, loom::sync::atomic::Ordering::Relaxed);
        let woken = world.table.wake(&*world, A, 1, MATCH_ANY, wake).unwrap();
        let waited = waiting.join().unwrap();
        assert_eq!(waited, woken == 1, "the wake was lost");
        assert_eq!(guest.end(&world), (false, woken));
    });
}

#[test]
fn a_wait_is_cancelled_or_woken() {
    explore(5, || {
        let world = World::new(0, 0);
        let guest = Guest::new();
        guest.wait(&world, A, 0).unwrap();
        let waking = thread::spawn({
            let world = world.clone();
            move || world.table.wake(&*world, A, 1, MATCH_ANY, wake).unwrap()
        });
        let (cancelled, wakes) = guest.end(&world);
        assert_eq!(wakes, !cancelled as u32);
        // The waiter is ours again, even with the waker still under way.
        guest.wait(&world, B, 0).unwrap();
        assert_eq!(waking.join().unwrap(), wakes);
        assert_eq!(guest.end(&world), (true, wakes));
    });
}

#[test]
fn cancel_follows_a_requeue() {
    explore(2, || {
        let world = World::new(0, 0);
        let guest = Guest::new();
        guest.wait(&world, A, 0).unwrap();
        let moving = thread::spawn({
            let world = world.clone();
            move || {
                world
                    .table
                    .requeue(&*world, A, B, 0, 1, Some(0), wake)
                    .unwrap()
            }
        });
        let waking = thread::spawn({
            let world = world.clone();
            move || world.table.wake(&*world, B, 1, MATCH_ANY, wake).unwrap()
        });
        let (cancelled, wakes) = guest.end(&world);
        assert_eq!(wakes, !cancelled as u32);
        let (moved, woken) = (moving.join().unwrap(), waking.join().unwrap());
        assert_eq!(woken, wakes);
        assert!(moved >= woken);
    });
}

#[test]
fn requeues_in_opposite_directions_do_not_deadlock() {
    explore(5, || {
        let world = World::new(0, 0);
        let guests = [Guest::new(), Guest::new()];
        guests[0].wait(&world, A, 0).unwrap();
        guests[1].wait(&world, B, 0).unwrap();
        let moving = thread::spawn({
            let world = world.clone();
            move || {
                world
                    .table
                    .requeue(&*world, A, B, 0, 1, None, wake)
                    .unwrap()
            }
        });
        let moved = world
            .table
            .requeue(&*world, B, A, 0, 1, None, wake)
            .unwrap();
        assert_eq!((moved, moving.join().unwrap()), (1, 1));
        let left = world.table.wake(&*world, A, 9, MATCH_ANY, wake).unwrap()
            + world.table.wake(&*world, B, 9, MATCH_ANY, wake).unwrap();
        assert_eq!(left, 2);
        assert!(guests.iter().all(|guest| guest.end(&world) == (false, 1)));
    });
}

#[test]
fn two_wakers_wake_two() {
    explore(5, || {
        let world = World::new(0, 0);
        let guests = [Guest::new(), Guest::new()];
        for guest in &guests {
            guest.wait(&world, A, 0).unwrap();
        }
        let waking = thread::spawn({
            let world = world.clone();
            move || world.table.wake(&*world, A, 1, MATCH_ANY, wake).unwrap()
        });
        let here = world.table.wake(&*world, A, 1, MATCH_ANY, wake).unwrap();
        assert_eq!((here, waking.join().unwrap()), (1, 1));
        assert!(guests.iter().all(|guest| guest.end(&world) == (false, 1)));
    });
}

#[test]
fn a_pi_lock_is_taken_or_handed_over() {
    explore(5, || {
        let world = World::new(10, 0);
        let guest = Guest::new();
        let locking = thread::spawn({
            let (world, guest) = (world.clone(), guest.clone());
            move || {
                // SAFETY: as in `Guest::wait`.
                unsafe {
                    world
                        .table
                        .lock_pi(&*world, A, 11, |_| Ok(()), guest.waiter())
                }
            }
        });
        world.table.unlock_pi(&*world, A, 10, wake).unwrap();
        let outcome = locking.join().unwrap().unwrap();
        let handed = outcome == PiLock::Queued;
        assert_eq!(guest.end(&world), (false, handed as u32));
        let waiters = if handed { FUTEX_WAITERS } else { 0 };
        assert_eq!(world.load(A), Ok(waiters | 11));
    });
}

#[test]
fn a_pi_wait_for_a_dying_holder_ends() {
    explore(5, || {
        let world = World::new(10, 1);
        let guest = Guest::new();
        let locking = thread::spawn({
            let (world, guest) = (world.clone(), guest.clone());
            move || {
                let alive = |_| match world.words[1].load(loom::sync::atomic::Ordering::Relaxed) {
                    0 => Err(Errno::ESRCH),
                    _ => Ok(()),
                };
                // SAFETY: as in `Guest::wait`.
                unsafe { world.table.lock_pi(&*world, A, 11, alive, guest.waiter()) }
            }
        });
        world.words[1].store(0, loom::sync::atomic::Ordering::Relaxed);
        world.table.exit_pi(&*world, 10, wake);
        match locking.join().unwrap() {
            Ok(outcome) => {
                assert_eq!(outcome, PiLock::Queued);
                assert_eq!(guest.end(&world), (false, 1));
                assert_eq!(world.load(A), Ok(FUTEX_WAITERS | FUTEX_OWNER_DIED | 11));
            }
            Err(error) => assert_eq!(error, Errno::ESRCH),
        }
    });
}
