//! Random sequences of operations against simple models of the queues.
#![allow(unsafe_code)]

use super::tests::{Words, queued, told, waiters};
use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

const SLOTS: usize = 12;
const WORDS: usize = 4;

fn address(word: usize) -> usize {
    0x1000 + 4 * word
}

#[derive(Clone, Debug)]
enum Op {
    Wait {
        slot: usize,
        word: usize,
        bits: u32,
    },
    Cancel {
        slot: usize,
    },
    Wake {
        word: usize,
        n: u32,
        bits: u32,
    },
    Requeue {
        from: usize,
        to: usize,
        nwake: u32,
        nrequeue: u32,
    },
    ChangeAndWake {
        first: usize,
        second: usize,
        n: u32,
        n2: u32,
        both: bool,
    },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let word = 0..WORDS;
    let op = prop_oneof![
        6 => (0..SLOTS, word.clone(), 1..8u32)
            .prop_map(|(slot, word, bits)| Op::Wait { slot, word, bits }),
        1 => (0..SLOTS).prop_map(|slot| Op::Cancel { slot }),
        2 => (word.clone(), 1..5u32, 1..8u32)
            .prop_map(|(word, n, bits)| Op::Wake { word, n, bits }),
        2 => (word.clone(), word.clone(), 0..3u32, 0..4u32)
            .prop_map(|(from, to, nwake, nrequeue)| Op::Requeue { from, to, nwake, nrequeue }),
        1 => (word.clone(), word, 1..3u32, 1..3u32, any::<bool>())
            .prop_map(|(first, second, n, n2, both)| Op::ChangeAndWake { first, second, n, n2, both }),
    ];
    prop::collection::vec(op, 0..200)
}

/// One queue a word, of slots and bitsets.
#[derive(Default)]
struct Model {
    queues: [VecDeque<(usize, u32)>; WORDS],
}

impl Model {
    fn take(&mut self, word: usize, n: u32, bits: u32) -> Vec<usize> {
        let mut taken = Vec::new();
        self.queues[word].retain(|&(slot, waits)| {
            let takes = waits & bits != 0 && taken.len() < n as usize;
            if takes {
                taken.push(slot);
            }
            !takes
        });
        taken
    }

    fn cancel(&mut self, slot: usize) -> bool {
        let waits = self.waits(slot);
        self.queues
            .iter_mut()
            .for_each(|queue| queue.retain(|entry| entry.0 != slot));
        waits
    }

    fn waits(&self, slot: usize) -> bool {
        self.queues.iter().flatten().any(|entry| entry.0 == slot)
    }

    fn slots(&self, word: usize) -> Vec<usize> {
        self.queues[word].iter().map(|entry| entry.0).collect()
    }
}

fn run<const N: usize>(ops: Vec<Op>) -> Result<(), TestCaseError> {
    let (table, nodes) = (Table::<N>::new(), waiters(SLOTS));
    let mem = Words::with(&[0, 1, 2, 3].map(|word| (address(word), 0)));
    let mut model = Model::default();
    for op in ops {
        match op {
            Op::Wait { slot, word, bits } => {
                if !model.waits(slot) {
                    table.cancel(nodes[slot].as_ref());
                    // SAFETY: not queued, and boxed until the end.
                    let queued = unsafe {
                        table.enqueue(&mem, address(word), 0, bits, nodes[slot].as_ref())
                    };
                    prop_assert_eq!(queued, Ok(()));
                    model.queues[word].push_back((slot, bits));
                }
            }
            Op::Cancel { slot } => {
                prop_assert_eq!(table.cancel(nodes[slot].as_ref()), model.cancel(slot));
            }
            Op::Wake { word, n, bits } => {
                let (count, owners) = told(|f| table.wake(&mem, address(word), n, bits, f));
                prop_assert_eq!(count, Ok(owners.len() as u32));
                prop_assert_eq!(owners, model.take(word, n, bits));
            }
            Op::Requeue {
                from,
                to,
                nwake,
                nrequeue,
            } => {
                let (a, b) = (address(from), address(to));
                let (count, owners) =
                    told(|f| table.requeue(&mem, a, b, nwake, nrequeue, Some(0), f));
                let woken = model.take(from, nwake, MATCH_ANY);
                let moved = model.queues[from].len().min(nrequeue as usize);
                prop_assert_eq!(count, Ok((woken.len() + moved) as u32));
                prop_assert_eq!(owners, woken);
                if from != to {
                    let moved: Vec<_> = model.queues[from].drain(..moved).collect();
                    model.queues[to].extend(moved);
                }
            }
            Op::ChangeAndWake {
                first,
                second,
                n,
                n2,
                both,
            } => {
                // word += 0, and the old value is or is not zero.
                let encoded = 1 << 28 | (!both as u32) << 24;
                let (a, b) = (address(first), address(second));
                let (count, owners) = told(|f| table.wake_op(&mem, a, b, n, n2, encoded, f));
                let mut woken = model.take(first, n, MATCH_ANY);
                if both {
                    woken.extend(model.take(second, n2, MATCH_ANY));
                }
                prop_assert_eq!(count, Ok(owners.len() as u32));
                prop_assert_eq!(owners, woken);
            }
        }
        for word in 0..WORDS {
            prop_assert_eq!(queued(&table, address(word)), model.slots(word));
        }
    }
    for (slot, node) in nodes.iter().enumerate() {
        prop_assert_eq!(table.cancel(node.as_ref()), model.waits(slot));
    }
    Ok(())
}

#[derive(Clone, Debug)]
enum PiOp {
    Lock { slot: usize },
    Unlock,
    GiveUp { slot: usize },
    Die,
}

fn pi_ops() -> impl Strategy<Value = Vec<PiOp>> {
    let op = prop_oneof![
        5 => (0..SLOTS).prop_map(|slot| PiOp::Lock { slot }),
        2 => Just(PiOp::Unlock),
        1 => (0..SLOTS).prop_map(|slot| PiOp::GiveUp { slot }),
        1 => Just(PiOp::Die),
    ];
    prop::collection::vec(op, 0..200)
}

proptest! {
    #[test]
    fn queues_behave_as_the_model(ops in ops()) {
        run::<1>(ops.clone())?;
        run::<2>(ops.clone())?;
        run::<64>(ops)?;
    }

    #[test]
    fn a_pi_futex_has_one_holder_and_a_queue(ops in pi_ops()) {
        const WORD: usize = 0x1000;
        let tid = |slot: usize| slot as u32 + 100;
        let (table, nodes) = (Table::<1>::new(), waiters(SLOTS));
        let mem = Words::with(&[(WORD, 0)]);
        let mut holder: Option<usize> = None;
        let mut queue: VecDeque<usize> = VecDeque::new();
        for op in ops {
            match op {
                PiOp::Lock { slot } => {
                    if queue.contains(&slot) {
                        continue;
                    }
                    table.cancel(nodes[slot].as_ref());
                    // SAFETY: not queued, and boxed until the end.
                    let outcome = unsafe {
                        table.lock_pi(&mem, WORD, tid(slot), |_| Ok(()), nodes[slot].as_ref())
                    };
                    match holder {
                        None => {
                            prop_assert_eq!(outcome, Ok(PiLock::Acquired));
                            holder = Some(slot);
                        }
                        Some(own) if own == slot => {
                            prop_assert_eq!(outcome, Err(crate::errno::Errno::EDEADLK));
                        }
                        Some(_) => {
                            prop_assert_eq!(outcome, Ok(PiLock::Queued));
                            queue.push_back(slot);
                        }
                    }
                }
                PiOp::Unlock => {
                    let Some(slot) = holder else { continue };
                    let (outcome, owners) = told(|f| table.unlock_pi(&mem, WORD, tid(slot), f));
                    prop_assert_eq!(outcome, Ok(()));
                    holder = queue.pop_front();
                    prop_assert_eq!(owners, Vec::from_iter(holder));
                }
                PiOp::GiveUp { slot } => {
                    let waits = queue.contains(&slot);
                    queue.retain(|&other| other != slot);
                    prop_assert_eq!(table.cancel(nodes[slot].as_ref()), waits);
                }
                PiOp::Die => {
                    let Some(slot) = holder else { continue };
                    if queue.is_empty() {
                        continue;
                    }
                    let ((), owners) = told(|f| table.exit_pi(&mem, tid(slot), f));
                    holder = queue.pop_front();
                    prop_assert_eq!(owners, Vec::from_iter(holder));
                }
            }
            prop_assert_eq!(mem.get(WORD) & FUTEX_TID_MASK, holder.map_or(0, tid));
            prop_assert_eq!(queued(&table, WORD), Vec::from(queue.clone()));
            if !queue.is_empty() {
                prop_assert!(mem.get(WORD) & FUTEX_WAITERS != 0);
            }
        }
        for (slot, node) in nodes.iter().enumerate() {
            prop_assert_eq!(table.cancel(node.as_ref()), queue.contains(&slot));
        }
        table.exit_pi(&mem, holder.map_or(1, tid), |_| panic!("nobody waits"));
    }
}
