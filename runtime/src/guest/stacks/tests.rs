use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SIZE: usize = 64 * 1024;
const PLAIN: i32 = libc::PROT_READ | libc::PROT_WRITE;

#[test]
fn a_slot_is_given_back_zeroed_and_used_again() {
    let stacks = Stacks::new();
    let a = stacks.map(SIZE, libc::PROT_NONE).unwrap();
    assert_eq!(stacks.protect(a + PAGE, SIZE - PAGE, PLAIN), Some(0));
    // SAFETY: the slot is mapped and ours.
    unsafe { ((a + SIZE - 8) as *mut u64).write(7) };
    assert_eq!(stacks.unmap(a, SIZE), Some(0));
    let b = stacks.map(SIZE, libc::PROT_NONE).unwrap();
    assert_eq!(a, b);
    assert_eq!(stacks.protect(b + PAGE, SIZE - PAGE, PLAIN), Some(0));
    // SAFETY: as above.
    assert_eq!(unsafe { ((b + SIZE - 8) as *const u64).read() }, 0);
    let c = stacks.map(SIZE, libc::PROT_NONE).unwrap();
    assert_ne!(b, c);
}

/// Whether a byte can be read, by the kernel's word.
fn is_accessible(addr: usize) -> bool {
    let mut byte = 0u8;
    let local = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let remote = libc::iovec {
        iov_base: addr as *mut _,
        iov_len: 1,
    };
    // SAFETY: reads one byte of this process into `byte`, or fails.
    unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) == 1 }
}

#[test]
fn the_guard_guards_with_and_without_the_kernels_help() {
    for without in [false, true] {
        let stacks = Stacks::new();
        let a = stacks.map(SIZE, libc::PROT_NONE).unwrap();
        stacks.no_guards.set(without);
        let above = a + 2 * PAGE;
        assert_eq!(stacks.protect(above, SIZE - 2 * PAGE, PLAIN), Some(0));
        assert!(!is_accessible(a) && !is_accessible(above - 1));
        assert!(is_accessible(above) && is_accessible(a + SIZE - 1));
        assert_eq!(stacks.unmap(a, SIZE), Some(0));
    }
}

#[test]
fn a_guard_that_libc_asks_for_is_known_and_goes() {
    let stacks = Stacks::new();
    let a = stacks.map(SIZE, PLAIN).unwrap();
    let Some(0) = stacks.guard(a, 2 * PAGE) else {
        return; // Before Linux 6.13.
    };
    assert_eq!(stacks.guard_at(a), 2 * PAGE);
    assert!(!is_accessible(a + PAGE) && is_accessible(a + 2 * PAGE));
    assert_eq!(stacks.unmap(a, SIZE), Some(0));
    let b = stacks.map(SIZE, PLAIN).unwrap();
    assert!(a == b && is_accessible(b));
}

#[test]
fn what_is_not_a_whole_slot_goes_to_the_kernel() {
    let stacks = Stacks::new();
    assert!(stacks.map(SIZE + 1, libc::PROT_NONE).is_none());
    assert!(
        stacks
            .map(SIZE, libc::PROT_EXEC | libc::PROT_READ)
            .is_none()
    );
    let a = stacks.map(SIZE, PLAIN).unwrap();
    assert!(stacks.unmap(a, PAGE).is_none());
    // Not even whole any more: the kernel's, and forgotten.
    assert_eq!(stacks.unmap(a, SIZE), Some(0));
    // What is there now may be another test's.
    assert!(
        stacks
            .memory()
            .all(|(base, len)| !(base..base + len).contains(&a))
    );
    assert!(stacks.unmap(a, SIZE).is_none());
    let other = stacks.protect(12345 * PAGE, PAGE, libc::PROT_READ);
    assert!(other.is_none());
}

/// Bytes of memory that is there for stacks.
fn reserved(stacks: &Stacks) -> usize {
    stacks.memory().map(|(_, len)| len).sum()
}

#[test]
fn there_is_little_more_than_what_is_used() {
    let stacks = Stacks::new();
    let mut all = Vec::new();
    for count in 1..3000 {
        all.push(stacks.map(SIZE, libc::PROT_NONE).unwrap());
        let used = count * SIZE;
        assert!((used..=used + used / PART).contains(&reserved(&stacks)));
    }
    // Every other one ends, then the rest.
    let (odd, even): (Vec<_>, Vec<_>) = all.iter().enumerate().partition(|(i, _)| i % 2 == 1);
    for (left, (_, addr)) in odd.into_iter().chain(even).enumerate() {
        assert_eq!(stacks.unmap(*addr, SIZE), Some(0));
        let used = (all.len() - left - 1) * SIZE;
        assert!(reserved(&stacks) <= used + (used / SPARE_PART).max(SPARE));
    }
    assert!(stacks.release() && reserved(&stacks) == 0);
    assert!(!stacks.release());
}

#[test]
fn what_is_forgotten_is_not_known_and_what_was_free_is_gone() {
    let stacks = Stacks::new();
    let [kept, gone] = [0; 2].map(|_| stacks.map(SIZE, PLAIN).unwrap());
    assert_eq!(stacks.unmap(gone, SIZE), Some(0));
    stacks.forget();
    assert!(is_accessible(kept) && !is_accessible(gone));
    assert!(stacks.unmap(kept, SIZE).is_none() && !stacks.has_free());
    let new = stacks.map(SIZE, PLAIN).unwrap();
    assert!(new != kept && stacks.unmap(new, SIZE) == Some(0));
}

#[derive(Debug, Clone)]
enum Step {
    Map(usize),
    Guard(usize, usize),
    Unmap(usize),
    Part(usize),
    Release,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1usize..4).prop_map(Step::Map),
        2 => (any::<usize>(), 1usize..3).prop_map(|(which, pages)| Step::Guard(which, pages)),
        6 => any::<usize>().prop_map(Step::Unmap),
        1 => any::<usize>().prop_map(Step::Part),
        1 => Just(Step::Release),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn stacks_do_not_overlap_and_keep_what_is_written(
        first in 0usize..200,
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let stacks = Stacks::new();
        let mut live: BTreeMap<usize, (usize, u64)> = BTreeMap::new();
        let mut mark = 0u64;
        let steps = std::iter::repeat_n(Step::Map(1), first).chain(steps);
        for step in steps {
            let pick = |which: usize| {
                let n = which % live.len().max(1);
                live.iter().nth(n).map(|(&addr, &(size, mark))| (addr, size, mark))
            };
            match step {
                Step::Map(units) => {
                    let size = units * SIZE;
                    let addr = stacks.map(size, PLAIN).unwrap();
                    let below = live.range(..=addr).next_back();
                    prop_assert!(below.is_none_or(|(&low, &(len, _))| low + len <= addr));
                    let above = live.range(addr..).next();
                    prop_assert!(above.is_none_or(|(&high, _)| addr + size <= high));
                    let last = (addr + size - 8) as *mut u64;
                    mark += 1;
                    // SAFETY: a stack of ours, which nobody else uses.
                    unsafe {
                        prop_assert_eq!((addr as *const u64).read(), 0);
                        prop_assert_eq!(last.read(), 0);
                        last.write(mark);
                    }
                    live.insert(addr, (size, mark));
                }
                Step::Guard(which, pages) => if let Some((addr, size, _)) = pick(which) {
                    let above = addr + pages * PAGE;
                    let ret = stacks.protect(above, size - pages * PAGE, PLAIN);
                    prop_assert!(matches!(ret, Some(0) | None));
                    if ret.is_some() {
                        prop_assert!(!is_accessible(above - 1) && is_accessible(above));
                    }
                },
                Step::Unmap(which) => if let Some((addr, size, mark)) = pick(which) {
                    // SAFETY: as above.
                    prop_assert_eq!(unsafe { ((addr + size - 8) as *const u64).read() }, mark);
                    prop_assert_eq!(stacks.unmap(addr, size), Some(0));
                    live.remove(&addr);
                },
                Step::Part(which) => if let Some((addr, size, _)) = pick(which) {
                    // Protected by the kernel, and its own from now on.
                    prop_assert!(stacks.protect(addr, size, libc::PROT_READ).is_none());
                },
                Step::Release => {
                    stacks.release();
                    let used: usize = live.values().map(|(size, _)| size).sum();
                    prop_assert_eq!(reserved(&stacks), used);
                }
            }
        }
        let all: Vec<_> = live.iter().map(|(&addr, &(size, _))| (addr, size)).collect();
        for (addr, size) in all {
            prop_assert_eq!(stacks.unmap(addr, size), Some(0));
        }
        stacks.release();
        prop_assert_eq!(reserved(&stacks), 0);
    }
}

#[test]
fn a_chunk_that_loses_its_upper_half_is_offered_only_what_it_has() {
    let stacks = Stacks::new();
    // Enough that a chunk has three slots and more.
    let all: Vec<usize> = (0..130).map(|_| stacks.map(SIZE, PLAIN).unwrap()).collect();
    for slots in all.windows(3).step_by(3) {
        let [low, middle, high] = [slots[0], slots[1], slots[2]];
        // The middle one is the kernel's from now on, and goes.
        assert!(stacks.protect(middle, SIZE, libc::PROT_READ).is_none());
        assert_eq!(stacks.unmap(high, SIZE), Some(0));
        assert_eq!(stacks.unmap(middle, SIZE), Some(0));
        // SAFETY: a stack that is still in use.
        unsafe { (low as *mut u64).write(1) };
    }
    let again: Vec<usize> = (0..130).map(|_| stacks.map(SIZE, PLAIN).unwrap()).collect();
    for pair in again.windows(2) {
        assert_ne!(pair[0], pair[1]);
    }
}
