//! Tests of the timer heap: order, removal, and a model.
#![allow(unsafe_code)]

use super::{TimerNode, Timers};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn node(deadline: u64, id: usize) -> Box<TimerNode> {
    Box::new(TimerNode::new(deadline, id as *mut ()))
}

fn insert(timers: &mut Timers, node: &mut TimerNode) {
    // SAFETY: the tests keep every node in its box until the heap is done.
    unsafe { timers.insert(node) }
}

fn remove(timers: &mut Timers, node: &mut TimerNode) -> bool {
    // SAFETY: there is one heap per test.
    unsafe { timers.remove(node) }
}

fn pop(timers: &mut Timers, now: u64) -> Option<usize> {
    // SAFETY: popped nodes are still in their boxes.
    timers
        .pop_expired(now)
        .map(|node| unsafe { (*node).owner as usize })
}

#[test]
fn expires_in_order_and_not_early() {
    let mut timers = Timers::new();
    let mut nodes: Vec<_> = [30, 10, 20]
        .iter()
        .enumerate()
        .map(|(i, &d)| node(d, i))
        .collect();
    for n in &mut nodes {
        insert(&mut timers, n);
    }
    assert_eq!(timers.next_deadline(), Some(10));
    assert_eq!(pop(&mut timers, 9), None);
    assert_eq!(pop(&mut timers, 20), Some(1));
    assert_eq!(pop(&mut timers, 20), Some(2));
    assert_eq!(pop(&mut timers, 20), None);
    assert_eq!(pop(&mut timers, u64::MAX), Some(0));
    assert!(timers.is_empty() && timers.next_deadline().is_none());
    assert!(nodes.iter().all(|n| !n.is_queued()));
}

#[test]
fn equal_deadlines_expire_in_order_of_insertion() {
    let mut timers = Timers::new();
    let mut nodes: Vec<_> = (0..100).map(|i| node(7, i)).collect();
    for n in &mut nodes {
        insert(&mut timers, n);
    }
    let order: Vec<_> = std::iter::from_fn(|| pop(&mut timers, 7)).collect();
    assert_eq!(order, (0..100).collect::<Vec<_>>());
}

#[test]
fn removed_twice_is_told() {
    let mut timers = Timers::new();
    let mut n = node(1, 0);
    assert!(!remove(&mut timers, &mut n));
    insert(&mut timers, &mut n);
    assert!(remove(&mut timers, &mut n));
    assert!(!remove(&mut timers, &mut n));
    assert_eq!(timers.len(), 0);
}

#[test]
fn a_million_nodes_in_bounded_work() {
    // Ascending deadlines make the root a parent of all others, and popping
    // then builds long lists: the worst shapes for anything recursive. A
    // quadratic heap would not end within the time limit of a test run.
    const N: usize = 1_000_000;
    let mut timers = Timers::new();
    let mut nodes: Vec<TimerNode> = (0..N)
        .map(|i| TimerNode::new(i as u64 / 3, i as *mut ()))
        .collect();
    for n in &mut nodes {
        insert(&mut timers, n);
    }
    assert_eq!(pop(&mut timers, u64::MAX), Some(0));
    for i in (1..N).step_by(2) {
        assert!(remove(&mut timers, &mut nodes[i]));
    }
    for i in (2..N).step_by(2) {
        assert_eq!(pop(&mut timers, u64::MAX), Some(i));
    }
    assert_eq!(timers.len(), 0);
    for n in nodes.iter_mut().rev() {
        insert(&mut timers, n);
    }
    // Inserted in reverse: equal deadlines come out in reverse, too.
    let mut last = 0;
    for _ in 0..N {
        let deadline = timers.next_deadline().unwrap();
        assert!(deadline >= last);
        last = deadline;
        pop(&mut timers, last).unwrap();
    }
    assert!(timers.is_empty());
}

#[derive(Clone, Debug)]
enum Op {
    Insert { slot: usize, deadline: u64 },
    Remove { slot: usize },
    Pop { now: u64 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0..64usize, 0..50u64).prop_map(|(slot, deadline)| Op::Insert { slot, deadline }),
        2 => (0..64usize).prop_map(|slot| Op::Remove { slot }),
        2 => (0..60u64).prop_map(|now| Op::Pop { now }),
    ];
    prop::collection::vec(op, 0..400)
}

proptest! {
    #[test]
    fn behaves_as_an_ordered_set(ops in ops()) {
        let mut timers = Timers::new();
        let mut nodes: Vec<_> = (0..64).map(|i| node(0, i)).collect();
        let mut seq_of = [0u64; 64];
        let mut model = BTreeSet::new();
        for (seq, op) in (0u64..).zip(ops) {
            match op {
                Op::Insert { slot, deadline } => {
                    if !nodes[slot].is_queued() {
                        nodes[slot].deadline = deadline;
                        insert(&mut timers, &mut nodes[slot]);
                        seq_of[slot] = seq;
                        model.insert((deadline, seq, slot));
                    }
                }
                Op::Remove { slot } => {
                    let key = (nodes[slot].deadline, seq_of[slot], slot);
                    prop_assert_eq!(remove(&mut timers, &mut nodes[slot]), model.remove(&key));
                }
                Op::Pop { now } => {
                    let expected = model.first().copied().filter(|first| first.0 <= now);
                    if let Some(first) = &expected {
                        model.remove(first);
                    }
                    prop_assert_eq!(pop(&mut timers, now), expected.map(|first| first.2));
                }
            }
            prop_assert_eq!(timers.len(), model.len());
            prop_assert_eq!(timers.next_deadline(), model.first().map(|first| first.0));
        }
    }
}
