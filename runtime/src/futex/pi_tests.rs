//! Tests of PI futexes, robust lists and waits on several words.
#![allow(unsafe_code)]

use super::tests::{Small, Words, queued, told, wait, waiters};
use super::*;
use crate::errno::Errno;
use std::pin::Pin;

const A: usize = 0x1000;
const B: usize = 0x2004;
const C: usize = 0x3008;

fn everybody(_: u32) -> Result<(), Errno> {
    Ok(())
}

fn lock<const N: usize>(
    table: &Table<N>,
    mem: &Words,
    tid: u32,
    w: &Pin<Box<Waiter>>,
) -> Result<PiLock, Errno> {
    // SAFETY: the boxes live to the end of the test.
    unsafe { table.lock_pi(mem, A, tid, everybody, w.as_ref()) }
}

fn wait_requeue<const N: usize>(
    table: &Table<N>,
    mem: &Words,
    tid: u32,
    w: &Pin<Box<Waiter>>,
) -> Result<(), Errno> {
    // SAFETY: the boxes live to the end of the test.
    unsafe { table.wait_requeue_pi(mem, A, 0, B, tid, w.as_ref()) }
}

#[test]
fn a_free_futex_is_taken() {
    let (table, w) = (Small::new(), waiters(1));
    for (before, after) in [
        (0, 10),
        (FUTEX_WAITERS, 10),
        (FUTEX_OWNER_DIED, FUTEX_OWNER_DIED | 10),
        (FUTEX_OWNER_DIED | FUTEX_WAITERS, FUTEX_OWNER_DIED | 10),
    ] {
        let mem = Words::with(&[(A, before)]);
        assert_eq!(lock(&table, &mem, 10, &w[0]), Ok(PiLock::Acquired));
        assert_eq!(mem.get(A), after);
        mem.set(A, before);
        assert_eq!(table.trylock_pi(&mem, A, 10, everybody), Ok(()));
        assert_eq!(mem.get(A), after);
        assert_eq!(table.unlock_pi(&mem, A, 10, |_| ()), Ok(()));
        assert_eq!(mem.get(A), 0);
    }
    assert!(!table.cancel(w[0].as_ref()));
}

#[test]
fn an_unlock_hands_over_in_order() {
    let (table, mem, w) = (
        Table::<1>::new(),
        Words::with(&[(A, 10), (B, 0)]),
        waiters(3),
    );
    assert_eq!(lock(&table, &mem, 11, &w[0]), Ok(PiLock::Queued));
    assert_eq!(mem.get(A), FUTEX_WAITERS | 10);
    wait(&table, &mem, B, 0, &w[2]).unwrap();
    assert_eq!(lock(&table, &mem, 12, &w[1]), Ok(PiLock::Queued));
    assert_eq!(table.trylock_pi(&mem, A, 13, everybody), Err(Errno::EAGAIN));
    assert_eq!(told(|f| table.unlock_pi(&mem, A, 10, f)), (Ok(()), vec![0]));
    assert_eq!(mem.get(A), FUTEX_WAITERS | 11);
    assert!(!table.cancel(w[0].as_ref()));
    assert_eq!(told(|f| table.unlock_pi(&mem, A, 11, f)), (Ok(()), vec![1]));
    assert_eq!(mem.get(A), FUTEX_WAITERS | 12);
    assert_eq!(told(|f| table.unlock_pi(&mem, A, 12, f)), (Ok(()), vec![]));
    assert_eq!(mem.get(A), 0);
    assert!(table.cancel(w[2].as_ref()));
}

#[test]
fn the_first_waiter_may_give_up() {
    let (table, mem, w) = (Small::new(), Words::with(&[(A, 10)]), waiters(3));
    for (w, tid) in w.iter().zip(11..) {
        assert_eq!(lock(&table, &mem, tid, w), Ok(PiLock::Queued));
    }
    assert!(table.cancel(w[0].as_ref()));
    assert_eq!(told(|f| table.unlock_pi(&mem, A, 10, f)), (Ok(()), vec![1]));
    assert!(table.cancel(w[2].as_ref()));
    assert_eq!(told(|f| table.unlock_pi(&mem, A, 12, f)), (Ok(()), vec![]));
    assert_eq!(mem.get(A), 0);
}

#[test]
fn lock_errors_are_the_kernels() {
    let (table, mem, w) = (
        Small::new(),
        Words::with(&[(A, 10 | FUTEX_WAITERS)]),
        waiters(2),
    );
    assert_eq!(lock(&table, &mem, 10, &w[0]), Err(Errno::EDEADLK));
    assert_eq!(
        table.trylock_pi(&mem, A, 10, everybody),
        Err(Errno::EDEADLK)
    );
    assert_eq!(table.trylock_pi(&mem, A, 11, everybody), Err(Errno::EAGAIN));
    assert_eq!(
        table.trylock_pi(&mem, A, 11, |_| Err(Errno::EPERM)),
        Err(Errno::EPERM)
    );
    // SAFETY: refused, so not queued.
    let refused = unsafe { table.lock_pi(&mem, A, 11, |_| Err(Errno::ESRCH), w[0].as_ref()) };
    assert_eq!(refused, Err(Errno::ESRCH));
    assert_eq!(table.unlock_pi(&mem, A, 11, |_| ()), Err(Errno::EPERM));
    mem.set(A + 2, 11);
    assert_eq!(table.unlock_pi(&mem, A + 2, 10, |_| ()), Err(Errno::EPERM));
    assert_eq!(table.unlock_pi(&mem, A + 2, 11, |_| ()), Err(Errno::EINVAL));
    assert_eq!(table.unlock_pi(&mem, C, 11, |_| ()), Err(Errno::EFAULT));
    // An ordinary waiter on a PI futex, and a PI waiter on an ordinary one.
    wait(&table, &mem, A, 10 | FUTEX_WAITERS, &w[0]).unwrap();
    assert_eq!(lock(&table, &mem, 11, &w[1]), Err(Errno::EINVAL));
    assert_eq!(table.unlock_pi(&mem, A, 10, |_| ()), Err(Errno::EINVAL));
    assert!(table.cancel(w[0].as_ref()));
    assert_eq!(lock(&table, &mem, 11, &w[0]), Ok(PiLock::Queued));
    assert_eq!(
        told(|f| table.wake(&mem, A, 1, MATCH_ANY, f)),
        (Err(Errno::EINVAL), vec![])
    );
    assert_eq!(
        table.requeue(&mem, A, B, 1, 1, None, |_| ()),
        Err(Errno::EINVAL)
    );
    // The program gave the word another holder while somebody waits.
    mem.set(A, 77);
    assert_eq!(lock(&table, &mem, 12, &w[1]), Err(Errno::EINVAL));
    assert_eq!(table.unlock_pi(&mem, A, 77, |_| ()), Err(Errno::EINVAL));
    assert!(table.cancel(w[0].as_ref()));
}

#[test]
fn a_holder_that_dies_while_asked_for_is_asked_again() {
    let (table, mem, w) = (Small::new(), Words::with(&[(A, 10)]), waiters(1));
    let dies = |_| {
        mem.set(A, FUTEX_WAITERS | FUTEX_OWNER_DIED);
        Err(Errno::ESRCH)
    };
    // SAFETY: acquired, so not queued.
    let locked = unsafe { table.lock_pi(&mem, A, 11, dies, w[0].as_ref()) };
    assert_eq!(locked, Ok(PiLock::Acquired));
    assert_eq!(mem.get(A), FUTEX_OWNER_DIED | 11);
}

#[test]
fn the_end_of_a_holder_hands_over() {
    for robust in [false, true] {
        let (table, mem, w) = (Small::new(), Words::with(&[(A, 10)]), waiters(2));
        table.exit_pi(&mem, 9, |_| panic!("nobody waits"));
        for (w, tid) in w.iter().zip(11..) {
            assert_eq!(lock(&table, &mem, tid, w), Ok(PiLock::Queued));
        }
        if robust {
            robust_list(&mem, &[A | 1], 0);
            let walked = told(|f| table.exit_robust_list(&mem, HEAD, 10, f));
            assert_eq!(walked, (Ok(()), vec![]));
            assert_eq!(mem.get(A), FUTEX_WAITERS | FUTEX_OWNER_DIED);
        }
        assert!(told(|f| table.exit_pi(&mem, 9, f)).1.is_empty());
        assert_eq!(told(|f| table.exit_pi(&mem, 10, f)).1, [0]);
        assert_eq!(mem.get(A), FUTEX_WAITERS | FUTEX_OWNER_DIED | 11);
        assert_eq!(told(|f| table.unlock_pi(&mem, A, 11, f)), (Ok(()), vec![1]));
        assert_eq!(mem.get(A), FUTEX_WAITERS | 12);
        table.exit_pi(&mem, 12, |_| panic!("nobody waits"));
    }
}

#[test]
fn requeue_to_a_free_futex_locks_for_the_first() {
    for nrequeue in [0, 1, 9] {
        let (table, mem, w) = (
            Table::<1>::new(),
            Words::with(&[(A, 0), (B, 0)]),
            waiters(3),
        );
        for (w, tid) in w.iter().zip(11..) {
            wait_requeue(&table, &mem, tid, w).unwrap();
        }
        let requeued = told(|f| table.cmp_requeue_pi(&mem, A, B, 1, nrequeue, 0, everybody, f));
        assert_eq!(requeued, (Ok(1 + nrequeue.min(2)), vec![0]));
        let waiters = if nrequeue == 0 { 0 } else { FUTEX_WAITERS };
        assert_eq!(mem.get(B), waiters | 11);
        assert_eq!(w[0].kind(), Kind::Pi);
        assert_eq!(queued(&table, B).len() as u32, nrequeue.min(2));
        if nrequeue == 9 {
            assert_eq!(told(|f| table.unlock_pi(&mem, B, 11, f)), (Ok(()), vec![1]));
            assert_eq!(told(|f| table.unlock_pi(&mem, B, 12, f)), (Ok(()), vec![2]));
        }
        w.iter().for_each(|w| {
            table.cancel(w.as_ref());
        });
        table.exit_pi(&mem, 11, |_| panic!("nobody waits"));
    }
}

#[test]
fn requeue_to_a_held_futex_waits_for_it() {
    let (table, mem, w) = (Small::new(), Words::with(&[(A, 0), (B, 10)]), waiters(4));
    for (w, tid) in w.iter().zip(11..) {
        wait_requeue(&table, &mem, tid, w).unwrap();
    }
    let requeued = told(|f| table.cmp_requeue_pi(&mem, A, B, 1, 1, 0, everybody, f));
    assert_eq!(requeued, (Ok(2), vec![]), "one more as none was woken");
    assert_eq!(mem.get(B), FUTEX_WAITERS | 10);
    assert_eq!(
        (queued(&table, A), queued(&table, B)),
        (vec![2, 3], vec![0, 1])
    );
    assert_eq!((w[0].kind(), w[2].kind()), (Kind::Pi, Kind::RequeuePi));
    assert!(table.cancel(w[0].as_ref()));
    assert_eq!(told(|f| table.unlock_pi(&mem, B, 10, f)), (Ok(()), vec![1]));
    assert!(table.cancel(w[2].as_ref()));
    assert!(table.cancel(w[3].as_ref()));
}

#[test]
fn requeue_pi_refuses_what_the_kernel_refuses() {
    let (table, mem, w) = (
        Small::new(),
        Words::with(&[(A, 0), (B, 0), (C, 0)]),
        waiters(3),
    );
    let requeue = |addr2, nwake, compare| {
        table.cmp_requeue_pi(&mem, A, addr2, nwake, 1, compare, everybody, |_| ())
    };
    // SAFETY: refused, so not queued.
    let same = unsafe { table.wait_requeue_pi(&mem, A, 0, A, 11, w[0].as_ref()) };
    assert_eq!(same, Err(Errno::EINVAL));
    assert_eq!(requeue(A, 1, 0), Err(Errno::EINVAL));
    assert_eq!(requeue(B, 2, 0), Err(Errno::EINVAL));
    assert_eq!(requeue(B, 1, 1), Err(Errno::EAGAIN));
    assert_eq!(requeue(B, 1, 0), Ok(0));
    wait_requeue(&table, &mem, 11, &w[0]).unwrap();
    assert_eq!(requeue(C, 1, 0), Err(Errno::EINVAL), "waits for B");
    assert_eq!(
        table.wake(&mem, A, 1, MATCH_ANY, |_| ()),
        Err(Errno::EINVAL)
    );
    mem.set(B, 11);
    assert_eq!(requeue(B, 1, 0), Err(Errno::EDEADLK));
    mem.set(B, 0);
    wait(&table, &mem, A, 0, &w[1]).unwrap();
    let mixed = told(|f| table.cmp_requeue_pi(&mem, A, B, 1, 9, 0, everybody, f));
    assert_eq!(
        mixed,
        (Err(Errno::EINVAL), vec![0]),
        "an ordinary waiter follows"
    );
    assert!(table.cancel(w[1].as_ref()));
}

const HEAD: usize = 0x9000;
const OFFSET: usize = 0usize.wrapping_sub(32);

/// A list of the locks at these addresses, bit 0 for PI; entries are 32 bytes
/// behind their locks.
fn robust_list(mem: &Words, locks: &[usize], pending: usize) {
    let mut at = HEAD;
    for lock in locks {
        mem.point(at, lock + 32);
        at = (lock & !1) + 32;
    }
    mem.point(at, HEAD);
    mem.point(HEAD + 8, OFFSET);
    mem.point(HEAD + 16, if pending == 0 { 0 } else { pending + 32 });
}

#[test]
fn a_robust_list_is_released() {
    let (table, w) = (Small::new(), waiters(3));
    let mem = Words::with(&[(A, 10 | FUTEX_WAITERS), (B, 10), (C, 12 | FUTEX_WAITERS)]);
    robust_list(&mem, &[A, B, C], 0);
    for (w, addr) in w.iter().zip([A, A, C]) {
        wait(&table, &mem, addr, mem.get(addr), w).unwrap();
    }
    assert_eq!(
        told(|f| table.exit_robust_list(&mem, HEAD, 10, f)),
        (Ok(()), vec![0])
    );
    assert_eq!(mem.get(A), FUTEX_OWNER_DIED | FUTEX_WAITERS);
    assert_eq!(mem.get(B), FUTEX_OWNER_DIED);
    assert_eq!(mem.get(C), 12 | FUTEX_WAITERS, "another's");
    assert_eq!((queued(&table, A), queued(&table, C)), (vec![1], vec![2]));
    w.iter().for_each(|w| {
        table.cancel(w.as_ref());
    });
}

#[test]
fn the_pending_lock_is_released_once() {
    for listed in [false, true] {
        let (table, w) = (Small::new(), waiters(1));
        let mem = Words::with(&[(A, 10 | FUTEX_WAITERS)]);
        robust_list(&mem, if listed { &[A] } else { &[] }, A);
        wait(&table, &mem, A, mem.get(A), &w[0]).unwrap();
        assert_eq!(
            told(|f| table.exit_robust_list(&mem, HEAD, 10, f)),
            (Ok(()), vec![0])
        );
        assert_eq!(mem.get(A), FUTEX_OWNER_DIED | FUTEX_WAITERS);
    }
    // Died after the unlock and before the wake: the word is free already.
    let (table, mem, w) = (Small::new(), Words::with(&[(A, 0)]), waiters(1));
    robust_list(&mem, &[], A);
    wait(&table, &mem, A, 0, &w[0]).unwrap();
    assert_eq!(
        told(|f| table.exit_robust_list(&mem, HEAD, 10, f)),
        (Ok(()), vec![0])
    );
    assert_eq!(mem.get(A), 0);
}

#[test]
fn broken_robust_lists_end_the_walk() {
    let table = Small::new();
    let walk = |mem: &Words| table.exit_robust_list(mem, HEAD, 10, |_| ());
    assert_eq!(walk(&Words::default()), Err(Errno::EFAULT));

    let circular = Words::with(&[(A, 10)]);
    robust_list(&circular, &[A], 0);
    circular.point(A + 32, A + 32);
    assert_eq!(walk(&circular), Ok(()), "given up after a limit");
    assert_eq!(circular.get(A), FUTEX_OWNER_DIED);

    let wild = Words::with(&[(A, 10), (B, 10)]);
    robust_list(&wild, &[A, B], 0);
    wild.point(A + 32, 0xdead_0000);
    assert_eq!(walk(&wild), Err(Errno::EFAULT));
    assert_eq!((wild.get(A), wild.get(B)), (FUTEX_OWNER_DIED, 10));

    let misaligned = Words::default();
    robust_list(&misaligned, &[A + 2], 0);
    assert_eq!(walk(&misaligned), Err(Errno::EINVAL));
}

fn entry(uaddr: usize, val: u64) -> WaitEntry {
    WaitEntry {
        val,
        uaddr: uaddr as u64,
        flags: WaitEntry::SIZE_U32,
        reserved: 0,
    }
}

fn nodes(n: usize) -> Pin<Box<[Waiter]>> {
    Box::into_pin((0..n).map(|_| Waiter::new(std::ptr::null_mut())).collect())
}

fn wait_all(
    table: &Small,
    mem: &Words,
    e: &[WaitEntry],
    w: &Pin<Box<[Waiter]>>,
) -> Result<Option<usize>, Errno> {
    // SAFETY: the boxes live to the end of the test.
    unsafe { table.enqueue_all(|_| mem, e, w.as_ref()) }
}

#[test]
fn waits_on_several_words() {
    let (table, mem, w) = (
        Small::new(),
        Words::with(&[(A, 1), (B, 2), (C, 3)]),
        nodes(3),
    );
    let entries = [entry(A, 1), entry(B, 2), entry(C, 3)];
    assert_eq!(wait_all(&table, &mem, &entries, &w), Ok(None));
    assert_eq!(table.wake(&mem, B, 1, MATCH_ANY, |_| ()), Ok(1));
    assert_eq!(table.cancel_all(w.as_ref()), Some(1));
    assert_eq!(table.cancel_all(w.as_ref()), None);

    assert_eq!(wait_all(&table, &mem, &entries, &w), Ok(None));
    assert_eq!(table.cancel_all(w.as_ref()), None, "timeout");
    assert_eq!(table.wake(&mem, A, 1, MATCH_ANY, |_| ()), Ok(0));

    mem.set(C, 4);
    assert_eq!(wait_all(&table, &mem, &entries, &w), Err(Errno::EAGAIN));
    assert_eq!(table.wake(&mem, A, 1, MATCH_ANY, |_| ()), Ok(0));
}

#[test]
fn waitv_refuses_what_the_kernel_refuses() {
    let (table, mem, w) = (Small::new(), Words::with(&[(A, 1)]), nodes(200));
    let refused = |entries: &[WaitEntry]| wait_all(&table, &mem, entries, &w).unwrap_err();
    let good = entry(A, 1);
    assert_eq!(refused(&[]), Errno::EINVAL);
    assert_eq!(refused(&[good; WAITV_MAX + 1]), Errno::EINVAL);
    assert_eq!(refused(&[WaitEntry { flags: 0, ..good }]), Errno::EINVAL);
    assert_eq!(
        refused(&[WaitEntry {
            flags: 2 | 4,
            ..good
        }]),
        Errno::EINVAL
    );
    assert_eq!(
        refused(&[
            good,
            WaitEntry {
                reserved: 1,
                ..good
            }
        ]),
        Errno::EINVAL
    );
    assert_eq!(refused(&[good, entry(A, 1 | 1 << 32)]), Errno::EINVAL);
    assert_eq!(refused(&[good, entry(A + 2, 1)]), Errno::EINVAL);
    assert_eq!(refused(&[good, entry(B, 1)]), Errno::EFAULT);
    assert!(queued(&table, A).is_empty());
    let private = WaitEntry {
        flags: WaitEntry::SIZE_U32 | WaitEntry::PRIVATE,
        ..good
    };
    assert_eq!(wait_all(&table, &mem, &[private; WAITV_MAX], &w), Ok(None));
    assert_eq!(table.wake(&mem, A, 500, MATCH_ANY, |_| ()), Ok(128));
    assert_eq!(table.cancel_all(w.as_ref()), Some(127));
}
