//! Tests of waits, wakes and operations on two words.
#![allow(unsafe_code)]

use super::*;
use crate::errno::Errno;
use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::Pin;

/// Words by address; whatever was never set faults.
#[derive(Default)]
pub(super) struct Words {
    words: RefCell<HashMap<usize, u32>>,
    pointers: RefCell<HashMap<usize, usize>>,
}

impl Words {
    pub(super) fn with(words: &[(usize, u32)]) -> Self {
        let memory = Words::default();
        words
            .iter()
            .for_each(|&(addr, value)| memory.set(addr, value));
        memory
    }

    pub(super) fn set(&self, addr: usize, value: u32) {
        self.words.borrow_mut().insert(addr, value);
    }

    pub(super) fn get(&self, addr: usize) -> u32 {
        self.words.borrow()[&addr]
    }

    pub(super) fn point(&self, addr: usize, to: usize) {
        self.pointers.borrow_mut().insert(addr, to);
    }

    fn update(&self, addr: usize, change: impl FnOnce(u32) -> u32) -> Result<u32, Errno> {
        let mut words = self.words.borrow_mut();
        let word = words.get_mut(&addr).ok_or(Errno::EFAULT)?;
        let old = *word;
        *word = change(old);
        Ok(old)
    }
}

impl Memory for Words {
    fn load(&self, addr: usize) -> Result<u32, Errno> {
        self.words.borrow().get(&addr).copied().ok_or(Errno::EFAULT)
    }

    fn compare_exchange(&self, addr: usize, current: u32, new: u32) -> Result<u32, Errno> {
        self.update(addr, |old| if old == current { new } else { old })
    }

    fn fetch_op(&self, addr: usize, op: AtomicOp, arg: u32) -> Result<u32, Errno> {
        self.update(addr, |old| match op {
            AtomicOp::Set => arg,
            AtomicOp::Add => old.wrapping_add(arg),
            AtomicOp::Or => old | arg,
            AtomicOp::AndNot => old & !arg,
            AtomicOp::Xor => old ^ arg,
        })
    }

    fn load_pointer(&self, addr: usize) -> Result<usize, Errno> {
        self.pointers
            .borrow()
            .get(&addr)
            .copied()
            .ok_or(Errno::EFAULT)
    }
}

/// A table with so few queues that addresses share them.
pub(super) type Small = Table<4>;

/// Waiters 0 to n-1, each its own owner.
pub(super) fn waiters(n: usize) -> Vec<Pin<Box<Waiter>>> {
    (0..n)
        .map(|i| Box::pin(Waiter::new(i as *mut ())))
        .collect()
}

/// Queues a waiter with any bitset. The tests outlive their queues.
pub(super) fn wait<const N: usize>(
    table: &Table<N>,
    mem: &Words,
    addr: usize,
    expected: u32,
    waiter: &Pin<Box<Waiter>>,
) -> Result<(), Errno> {
    wait_bits(table, mem, addr, expected, MATCH_ANY, waiter)
}

fn wait_bits<const N: usize>(
    table: &Table<N>,
    mem: &Words,
    addr: usize,
    expected: u32,
    bitset: u32,
    waiter: &Pin<Box<Waiter>>,
) -> Result<(), Errno> {
    // SAFETY: the boxes live to the end of the test, in which the table is last
    // used; each waiter is queued once at a time.
    unsafe { table.enqueue(mem, addr, expected, bitset, waiter.as_ref()) }
}

/// Owners told by an operation, in order.
pub(super) fn told<R>(operation: impl FnOnce(&mut dyn FnMut(*mut ())) -> R) -> (R, Vec<usize>) {
    let mut owners = Vec::new();
    let result = operation(&mut |owner| owners.push(owner as usize));
    (result, owners)
}

/// The queued waiters, as (address, owner), in the order of one address.
pub(super) fn queued<const N: usize>(table: &Table<N>, addr: usize) -> Vec<usize> {
    let mut found = Vec::new();
    table.for_each(|w| {
        if w.address() == addr {
            found.push(w.owner() as usize);
        }
    });
    found
}

const A: usize = 0x1000;
const B: usize = 0x2004;

#[test]
fn the_value_decides_whether_to_wait() {
    let (table, mem, w) = (Small::new(), Words::with(&[(A, 5)]), waiters(1));
    assert_eq!(wait(&table, &mem, A, 4, &w[0]), Err(Errno::EAGAIN));
    assert_eq!(wait_bits(&table, &mem, A, 5, 0, &w[0]), Err(Errno::EINVAL));
    assert_eq!(wait(&table, &mem, A + 1, 5, &w[0]), Err(Errno::EINVAL));
    assert_eq!(wait(&table, &mem, B, 5, &w[0]), Err(Errno::EFAULT));
    assert_eq!(
        wait(&table, &mem, usize::MAX - 3, 5, &w[0]),
        Err(Errno::EFAULT)
    );
    assert!(!table.cancel(w[0].as_ref()), "nothing was queued");
    assert_eq!(wait(&table, &mem, A, 5, &w[0]), Ok(()));
    assert_eq!(queued(&table, A), [0]);
    assert!(table.cancel(w[0].as_ref()));
}

#[test]
fn wakes_first_come_first_and_only_this_address() {
    let (table, mem, w) = (
        Table::<1>::new(),
        Words::with(&[(A, 0), (B, 0)]),
        waiters(5),
    );
    for (i, addr) in [A, B, A, A, B].into_iter().enumerate() {
        wait(&table, &mem, addr, 0, &w[i]).unwrap();
    }
    assert_eq!(
        told(|f| table.wake(&mem, A, 2, MATCH_ANY, f)),
        (Ok(2), vec![0, 2])
    );
    assert!(w[0].is_woken() && !w[3].is_woken());
    assert_eq!(
        told(|f| table.wake(&mem, A, 9, MATCH_ANY, f)),
        (Ok(1), vec![3])
    );
    assert_eq!(
        told(|f| table.wake(&mem, A, 9, MATCH_ANY, f)),
        (Ok(0), vec![])
    );
    assert_eq!(
        told(|f| table.wake(&mem, B, 9, MATCH_ANY, f)),
        (Ok(2), vec![1, 4])
    );
    assert!(w.iter().all(|w| !table.cancel(w.as_ref())));
}

#[test]
fn wake_counts_as_the_kernel_counts() {
    let (table, mem, w) = (Small::new(), Words::with(&[(A, 0)]), waiters(4));
    for w in &w {
        wait(&table, &mem, A, 0, w).unwrap();
    }
    assert_eq!(
        told(|f| table.wake(&mem, A, 0, MATCH_ANY, f)),
        (Ok(1), vec![0])
    );
    assert_eq!(
        told(|f| table.wake(&mem, A, u32::MAX, MATCH_ANY, f)),
        (Ok(1), vec![1])
    );
    assert_eq!(table.wake(&mem, A, 1, 0, |_| ()), Err(Errno::EINVAL));
    assert_eq!(
        table.wake(&mem, A + 2, 1, MATCH_ANY, |_| ()),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        told(|f| table.wake(&mem, A, i32::MAX as u32, MATCH_ANY, f)),
        (Ok(2), vec![2, 3])
    );
}

#[test]
fn wake_of_an_unmapped_address_finds_nobody() {
    assert_eq!(
        Small::new().wake(&Words::default(), 0x7000, 1, MATCH_ANY, |_| ()),
        Ok(0)
    );
}

#[test]
fn bitsets_select() {
    let (table, mem, w) = (Small::new(), Words::with(&[(A, 0)]), waiters(3));
    for (w, bits) in w.iter().zip([1, 2, 3]) {
        wait_bits(&table, &mem, A, 0, bits, w).unwrap();
    }
    assert_eq!(told(|f| table.wake(&mem, A, 9, 4, f)), (Ok(0), vec![]));
    assert_eq!(told(|f| table.wake(&mem, A, 9, 2, f)), (Ok(2), vec![1, 2]));
    assert_eq!(told(|f| table.wake(&mem, A, 9, 1, f)), (Ok(1), vec![0]));
}

#[test]
fn cancel_from_every_place_of_a_queue() {
    for gone in 0..3 {
        let (table, mem, w) = (Small::new(), Words::with(&[(A, 0)]), waiters(4));
        for w in &w[..3] {
            wait(&table, &mem, A, 0, w).unwrap();
        }
        assert!(table.cancel(w[gone].as_ref()));
        assert!(!table.cancel(w[gone].as_ref()));
        wait(&table, &mem, A, 0, &w[3]).unwrap();
        let left: Vec<usize> = (0..4).filter(|&i| i != gone).collect();
        assert_eq!(
            told(|f| table.wake(&mem, A, 9, MATCH_ANY, f)),
            (Ok(3), left)
        );
    }
}

#[test]
fn a_waiter_can_wait_again() {
    let (table, mem, w) = (Small::new(), Words::with(&[(A, 0), (B, 0)]), waiters(1));
    wait(&table, &mem, A, 0, &w[0]).unwrap();
    assert_eq!(table.wake(&mem, A, 1, MATCH_ANY, |_| ()), Ok(1));
    assert!(!table.cancel(w[0].as_ref()));
    wait(&table, &mem, B, 0, &w[0]).unwrap();
    assert_eq!(table.wake(&mem, A, 1, MATCH_ANY, |_| ()), Ok(0));
    assert!(table.cancel(w[0].as_ref()));
}

#[test]
fn a_wake_may_call_into_the_table() {
    let (table, mem, w) = (
        Table::<1>::new(),
        Words::with(&[(A, 0), (B, 0)]),
        waiters(2),
    );
    wait(&table, &mem, A, 0, &w[0]).unwrap();
    wait(&table, &mem, B, 0, &w[1]).unwrap();
    let mut inner = 0;
    let outer = table.wake(&mem, A, 1, MATCH_ANY, |_| {
        inner = table.wake(&mem, B, 1, MATCH_ANY, |_| ()).unwrap();
    });
    assert_eq!((outer, inner), (Ok(1), 1));
}

#[test]
fn requeue_wakes_moves_and_counts_both() {
    let (table, mem, w) = (Small::new(), Words::with(&[(A, 7), (B, 0)]), waiters(6));
    wait(&table, &mem, B, 0, &w[5]).unwrap();
    for w in &w[..5] {
        wait(&table, &mem, A, 7, w).unwrap();
    }
    assert_eq!(
        told(|f| table.requeue(&mem, A, B, 1, 2, Some(8), f)),
        (Err(Errno::EAGAIN), vec![])
    );
    assert_eq!(
        told(|f| table.requeue(&mem, A, B, 1, 2, Some(7), f)),
        (Ok(3), vec![0])
    );
    assert_eq!(queued(&table, A), [3, 4]);
    assert_eq!(w[1].address(), B);
    assert!(table.cancel(w[2].as_ref()), "cancel follows the requeue");
    assert_eq!(
        told(|f| table.wake(&mem, B, 9, MATCH_ANY, f)),
        (Ok(2), vec![5, 1])
    );
    assert_eq!(
        told(|f| table.requeue(&mem, A, B, 0, 9, None, f)),
        (Ok(2), vec![])
    );
    assert_eq!(
        told(|f| table.wake(&mem, B, 9, MATCH_ANY, f)),
        (Ok(2), vec![3, 4])
    );
}

#[test]
fn requeue_within_a_bucket_and_onto_itself() {
    let (table, mem, w) = (
        Table::<1>::new(),
        Words::with(&[(A, 0), (B, 0)]),
        waiters(3),
    );
    for w in &w {
        wait(&table, &mem, A, 0, w).unwrap();
    }
    assert_eq!(
        told(|f| table.requeue(&mem, A, A, 1, 9, None, f)),
        (Ok(3), vec![0])
    );
    assert_eq!(
        told(|f| table.requeue(&mem, A, B, 0, 1, None, f)),
        (Ok(1), vec![])
    );
    assert_eq!(
        told(|f| table.wake(&mem, B, 9, MATCH_ANY, f)),
        (Ok(1), vec![1])
    );
    assert_eq!(
        told(|f| table.wake(&mem, A, 9, MATCH_ANY, f)),
        (Ok(1), vec![2])
    );
}

#[test]
fn requeue_refuses_what_the_kernel_refuses() {
    let (table, mem) = (Small::new(), Words::with(&[(A, 0)]));
    let negative = -1i32 as u32;
    assert_eq!(
        table.requeue(&mem, A, B, negative, 0, None, |_| ()),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        table.requeue(&mem, A, B, 0, negative, None, |_| ()),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        table.requeue(&mem, A, B + 1, 0, 1, None, |_| ()),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        table.requeue(&mem, B, A, 0, 1, Some(0), |_| ()),
        Err(Errno::EFAULT)
    );
    let most = i32::MAX as u32;
    assert_eq!(
        table.requeue(&mem, A, B, most, most, Some(0), |_| ()),
        Ok(0)
    );
}

#[test]
fn reset_forgets_waiters() {
    let (table, mem, w) = (Small::new(), Words::with(&[(A, 0)]), waiters(2));
    wait(&table, &mem, A, 0, &w[0]).unwrap();
    // SAFETY: one thread; waiter 0 is not used again.
    unsafe { table.reset() };
    assert_eq!(
        told(|f| table.wake(&mem, A, 9, MATCH_ANY, f)),
        (Ok(0), vec![])
    );
    wait(&table, &mem, A, 0, &w[1]).unwrap();
    assert_eq!(
        told(|f| table.wake(&mem, A, 9, MATCH_ANY, f)),
        (Ok(1), vec![1])
    );
}

#[test]
fn the_process_table_lies_in_bss() {
    // A table of zeroes is no part of the file: its pages are anonymous, and
    // take memory only once they are written to.
    let middle = &raw const TABLE as usize + size_of_val(&TABLE) / 2;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| {
        let (range, _) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let bound = |hex| usize::from_str_radix(hex, 16).unwrap();
        (bound(from)..bound(to)).contains(&middle)
    });
    let inode = line.and_then(|line| line.split_whitespace().nth(4));
    assert_eq!(inode, Some("0"));
    assert_eq!(size_of_val(&TABLE), BUCKETS * 32 + 96);
    assert_eq!(TABLE.wake(&Direct::Private, A, 1, MATCH_ANY, |_| ()), Ok(0));
}

/// `FUTEX_OP` of linux/futex.h.
fn futex_op(op: u32, arg: i32, cmp: u32, cmparg: i32) -> u32 {
    (op & 15) << 28 | (cmp & 15) << 24 | (arg as u32 & 0xfff) << 12 | (cmparg as u32 & 0xfff)
}

#[test]
fn wake_op_changes_the_word() {
    let shift = 8;
    for (op, arg, old, new) in [
        (0, 5, 9, 5),
        (0, -1, 9, u32::MAX),
        (1, 3, 9, 12),
        (1, -1, 0, u32::MAX),
        (2, 6, 9, 15),
        (3, 8, 9, 1),
        (4, 8, 9, 1),
        (shift, 4, 9, 16),
        (2 | shift, 31, 0, 1 << 31),
        (shift, 32, 0, 1),
        (shift, -1, 0, 1 << 31),
    ] {
        let (table, mem) = (Small::new(), Words::with(&[(B, old)]));
        let encoded = futex_op(op, arg, 0, 0);
        assert_eq!(table.wake_op(&mem, A, B, 1, 1, encoded, |_| ()), Ok(0));
        assert_eq!(mem.get(B), new, "op {op} arg {arg} of {old}");
    }
}

#[test]
fn wake_op_compares_signed() {
    for (cmp, arg, old, both) in [
        (0, 5, 5, true),
        (0, 5, 6, false),
        (1, 5, 6, true),
        (2, 0, -1, true),
        (2, -2048, -2048, false),
        (3, -2048, -2048, true),
        (4, -1, 0, true),
        (4, 0, -1, false),
        (5, 0, 0, true),
    ] {
        let (table, mem, w) = (
            Small::new(),
            Words::with(&[(A, 0), (B, old as u32)]),
            waiters(4),
        );
        for (w, addr) in w.iter().zip([A, A, B, B]) {
            wait(&table, &mem, addr, mem.get(addr), w).unwrap();
        }
        let encoded = futex_op(1, 0, cmp, arg);
        let (woken, owners) = told(|f| table.wake_op(&mem, A, B, 1, 9, encoded, f));
        let expected = if both { vec![0, 2, 3] } else { vec![0] };
        assert_eq!(
            (woken, owners),
            (Ok(expected.len() as u32), expected),
            "{old} {cmp} {arg}"
        );
        for w in &w {
            table.cancel(w.as_ref());
        }
    }
}

#[test]
fn wake_op_refuses_unknown_codes() {
    let (table, mem) = (Small::new(), Words::with(&[(B, 1)]));
    assert_eq!(
        table.wake_op(&mem, A, B, 1, 1, futex_op(5, 2, 0, 0), |_| ()),
        Err(Errno::ENOSYS)
    );
    assert_eq!(mem.get(B), 1);
    assert_eq!(
        table.wake_op(&mem, A, B, 1, 1, futex_op(0, 2, 6, 0), |_| ()),
        Err(Errno::ENOSYS)
    );
    assert_eq!(
        mem.get(B),
        2,
        "the kernel compares after it changed the word"
    );
    assert_eq!(
        table.wake_op(&mem, B, A, 1, 1, 0, |_| ()),
        Err(Errno::EFAULT)
    );
}

#[test]
fn direct_memory_is_this_process() {
    let word = std::sync::atomic::AtomicU32::new(3);
    let addr = word.as_ptr() as usize;
    assert_eq!(Direct::Private.load(addr), Ok(3));
    assert_eq!(Direct::Private.compare_exchange(addr, 4, 9), Ok(3));
    assert_eq!(Direct::Private.compare_exchange(addr, 3, 12), Ok(3));
    for (op, arg, before) in [
        (AtomicOp::Xor, 5, 12),
        (AtomicOp::Add, u32::MAX, 9),
        (AtomicOp::Or, 3, 8),
        (AtomicOp::AndNot, 1, 11),
        (AtomicOp::Set, 6, 10),
    ] {
        assert_eq!(
            Direct::Private.fetch_op(addr, op, arg),
            Ok(before),
            "{op:?}"
        );
    }
    assert_eq!(word.into_inner(), 6);
    let pointers = [0x1234_5678_9abcusize, 0];
    let at = pointers.as_ptr() as usize;
    assert_eq!(Direct::Private.load_pointer(at), Ok(pointers[0]));
    assert_eq!(Direct::Private.load_pointer(at + 2), Ok(pointers[0] >> 16));
}

#[test]
fn checked_memory_needs_no_handler() {
    let word = std::sync::atomic::AtomicU32::new(3);
    let addr = word.as_ptr() as usize;
    assert_eq!(Checked.load(addr), Ok(3));
    assert_eq!(Checked.compare_exchange(addr, 3, 4), Ok(3));
    assert_eq!(Checked.fetch_op(addr, AtomicOp::Add, 1), Ok(4));
    assert_eq!(word.into_inner(), 5);
    let pointers = [0x1234_5678_9abcusize, 0];
    let at = pointers.as_ptr() as usize;
    assert_eq!(
        Checked.load_pointer(at + 2),
        Direct::Private.load_pointer(at + 2)
    );
    for bad in [0, 0x1_0000, usize::MAX - 3] {
        assert_eq!(Checked.load(bad), Err(Errno::EFAULT));
    }
}
