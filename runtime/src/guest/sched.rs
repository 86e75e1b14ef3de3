//! How a guest is scheduled, as far as its program was told.
//!
//! All guests share one kernel thread, so none of this changes when a guest runs. It is
//! kept so that a program finds what it has set. What a guest was not given is the
//! kernel thread's own, which the initial guest's calls change.
//!
//! # Synchronization
//! Used on the hub's kernel thread alone.
#![allow(unsafe_code)]

use core::cell::{Cell, UnsafeCell};

/// CPUs a set has room for.
pub const CPUS: usize = 1024;
/// A set of CPUs as sched_setaffinity(2) takes it.
pub type CpuSet = [u64; CPUS / 64];

/// What a guest was given. All zero: nothing.
#[derive(Clone, Default)]
pub struct Scheduling {
    /// Policy and real-time priority.
    pub policy: Cell<Option<(u8, u8)>>,
    /// Niceness, -20 to 19.
    pub nice: Cell<Option<i8>>,
    /// I/O priority as ioprio_set(2) takes it.
    pub io: Cell<Option<u16>>,
    /// SCHED_RESET_ON_FORK.
    pub reset: Cell<bool>,
    /// Place of its set of CPUs in the table, counted from 1; 0 for none.
    affinity: Cell<u16>,
}

impl Scheduling {
    /// Nothing given.
    pub const fn new() -> Self {
        Scheduling {
            policy: Cell::new(None),
            nice: Cell::new(None),
            io: Cell::new(None),
            reset: Cell::new(false),
            affinity: Cell::new(0),
        }
    }

    /// What a thread made by this one begins with.
    pub fn inherit_to(&self, new: &Scheduling) {
        let (mut policy, mut nice) = (self.policy.get(), self.nice.get());
        if self.reset.get() {
            policy = policy.map(|_| (libc::SCHED_OTHER as u8, 0));
            nice = nice.map(|nice| nice.max(0));
        }
        new.policy.set(policy);
        new.nice.set(nice);
        new.io.set(self.io.get());
        new.affinity.set(self.affinity.get());
    }

    /// The CPUs it was given.
    pub fn cpus(&self) -> Option<&'static CpuSet> {
        let at = (self.affinity.get() as usize).checked_sub(1)?;
        // SAFETY: written before the place was given out, and never again.
        Some(unsafe { &(*SETS.sets.get())[at] })
    }

    /// Gives it these CPUs. When the table is full it is given none: it has the kernel
    /// thread's.
    pub fn set_cpus(&self, cpus: &CpuSet) {
        self.affinity.set(SETS.place(cpus));
    }
}

/// Different sets a program may use.
const MAX_SETS: usize = 1024;

/// The sets in use, each once. Programs use a few: one a CPU, and all.
struct Sets {
    sets: UnsafeCell<[CpuSet; MAX_SETS]>,
    used: Cell<usize>,
}

// SAFETY: see Synchronization.
unsafe impl Sync for Sets {}

static SETS: Sets = Sets {
    sets: UnsafeCell::new([[0; CPUS / 64]; MAX_SETS]),
    used: Cell::new(0),
};

impl Sets {
    fn place(&self, cpus: &CpuSet) -> u16 {
        let used = self.used.get();
        // SAFETY: the hub's kernel thread alone; entries below `used` do not change.
        let sets = unsafe { &mut *self.sets.get() };
        if let Some(at) = sets[..used].iter().position(|set| set == cpus) {
            return at as u16 + 1;
        }
        if used == MAX_SETS {
            return 0;
        }
        sets[used] = *cpus;
        self.used.set(used + 1);
        used as u16 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_inherits_and_resets() {
        let (creator, new) = (Scheduling::new(), Scheduling::new());
        let mut cpus = [0; CPUS / 64];
        cpus[0] = 2;
        creator.policy.set(Some((libc::SCHED_RR as u8, 7)));
        creator.nice.set(Some(-3));
        creator.set_cpus(&cpus);
        creator.inherit_to(&new);
        assert_eq!(new.policy.get(), Some((libc::SCHED_RR as u8, 7)));
        assert_eq!(new.nice.get(), Some(-3));
        assert_eq!(new.cpus(), Some(&cpus));
        creator.reset.set(true);
        creator.inherit_to(&new);
        assert_eq!(new.policy.get(), Some((libc::SCHED_OTHER as u8, 0)));
        assert_eq!(new.nice.get(), Some(0));
        assert!(!new.reset.get());
    }
}
