//! How a guest is scheduled, as far as its program was told.
//!
//! All guests share one kernel thread, so none of this changes when a guest runs. It is
//! kept so that a program finds what it has set. What a guest was not given is the first
//! processor's kernel thread's. The initial guest's calls change that one: before, every
//! guest keeps what it has, and from then on the initial guest's record has what it passes
//! on.
//!
//! # Synchronization
//! Used on the hub's kernel thread alone.
#![allow(unsafe_code)]

use core::cell::Cell;

use crate::arch::{syscall1, syscall2, syscall3, syscall4};
use crate::blocks::Blocks;
use crate::hub::processor;

/// CPUs a set has room for.
pub const CPUS: usize = 1024;
/// A set of CPUs as sched_setaffinity(2) takes it.
pub type CpuSet = [u64; CPUS / 64];
/// Bytes of one.
pub const SET: usize = CPUS / 8;

/// SCHED_RESET_ON_FORK, which may stand beside a policy.
pub const RESET_ON_FORK: i32 = 0x4000_0000;
/// IOPRIO_WHO_PROCESS of ioprio_set(2).
pub const WHO_PROCESS: u64 = 1;

/// Whether a policy has real-time priorities.
pub fn is_real_time(policy: i32) -> bool {
    policy == libc::SCHED_FIFO || policy == libc::SCHED_RR
}

/// The kernel thread that has what a guest was not given, as calls name it: 0 on that one
/// itself, because filters of system calls let threads ask about themselves by that alone.
pub fn kernel_thread() -> u64 {
    let first = processor::first();
    if core::ptr::eq(processor::here(), first) {
        0
    } else {
        first.kernel_tid() as u64
    }
}

/// Whether `tid` names that kernel thread.
pub fn is_kernel_thread(tid: i32) -> bool {
    tid == 0 || tid == processor::first().kernel_tid()
}

/// By how much the kernel may delay a thread's sleep, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slack {
    /// By now; 0 for a real-time thread.
    pub present: u64,
    /// What its creator had then, and it returns to.
    pub default: u64,
}

/// What a guest was given. All zero: nothing.
#[derive(Clone, Default)]
pub struct Scheduling {
    /// Policy and real-time priority.
    pub policy: Cell<Option<(u8, u8)>>,
    /// Niceness, -20 to 19.
    pub nice: Cell<Option<i8>>,
    /// I/O priority as ioprio_set(2) takes it.
    pub io: Cell<Option<u16>>,
    /// Timer slack.
    pub slack: Cell<Option<Slack>>,
    /// Time slice, in nanoseconds.
    pub slice: Cell<Option<u32>>,
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
            slack: Cell::new(None),
            slice: Cell::new(None),
            reset: Cell::new(false),
            affinity: Cell::new(0),
        }
    }

    /// What a thread made by this one begins with.
    pub fn inherit_to(&self, new: &Scheduling) {
        let (mut policy, mut nice) = (self.policy.get(), self.nice.get());
        let mut slice = self.slice.get();
        if self.reset.get() {
            slice = None;
            if policy.is_some_and(|(policy, _)| is_real_time(policy.into())) {
                policy = Some((libc::SCHED_OTHER as u8, 0));
                nice = Some(0);
            } else {
                nice = nice.map(|nice| nice.max(0));
            }
        }
        new.policy.set(policy);
        new.nice.set(nice);
        new.slice.set(slice);
        new.io.set(self.io.get());
        new.slack.set(self.slack.get().map(|slack| Slack {
            default: slack.present,
            ..slack
        }));
        new.affinity.set(self.affinity.get());
    }

    /// Gives the kernel thread that runs what a process begins with that this guest made. In
    /// a forked child. Some of it needs a privilege that the child may not have.
    pub fn give_to_child(&self) {
        let begins = Scheduling::new();
        self.inherit_to(&begins);
        if let Some((policy, priority)) = begins.policy.get() {
            let priority = i32::from(priority);
            let at = &raw const priority as u64;
            // SAFETY: about the calling thread, from a variable of ours.
            unsafe { syscall3(libc::SYS_sched_setscheduler, 0, policy.into(), at) };
        }
        if let Some(nice) = begins.nice.get() {
            let (process, nice) = (libc::PRIO_PROCESS as u64, i64::from(nice) as u64);
            // SAFETY: no pointers.
            unsafe { syscall3(libc::SYS_setpriority, process, 0, nice) };
        }
        if let Some(io) = begins.io.get() {
            // SAFETY: no pointers.
            unsafe { syscall3(libc::SYS_ioprio_set, WHO_PROCESS, 0, io.into()) };
        }
        if let Some(cpus) = begins.cpus() {
            let at = cpus.as_ptr() as u64;
            // SAFETY: about the calling thread, from a set of ours.
            unsafe { syscall3(libc::SYS_sched_setaffinity, 0, SET as u64, at) };
        }
        if let Some(Slack { present, .. }) = begins.slack.get() {
            // SAFETY: no pointers.
            unsafe { syscall2(libc::SYS_prctl, libc::PR_SET_TIMERSLACK as u64, present) };
        }
    }

    /// What it was not given it has from `other`.
    pub fn complete(&self, other: &Scheduling) {
        self.policy.set(self.policy.get().or(other.policy.get()));
        self.nice.set(self.nice.get().or(other.nice.get()));
        self.io.set(self.io.get().or(other.io.get()));
        self.slice.set(self.slice.get().or(other.slice.get()));
        self.slack.set(self.slack.get().or(other.slack.get()));
        if self.affinity.get() == 0 {
            self.affinity.set(other.affinity.get());
        }
    }

    /// Gives it the kernel thread's policy, and what changes with one.
    pub fn take_policy(&self) {
        let (policy, priority) = policy();
        self.reset.set(policy & RESET_ON_FORK != 0);
        let policy = policy & !RESET_ON_FORK;
        self.policy.set(Some((policy as u8, priority as u8)));
        let slice = slice();
        // A real-time thread's is not told.
        if slice != 0 {
            self.slice.set(Some(slice));
            BASE_SLICE.0.set(base_slice());
        }
        self.take_nice();
        self.slack_follows(policy);
    }

    /// Gives it the kernel thread's timer slack.
    pub fn take_slack(&self) {
        let now = slack();
        let default = self.slack.get().map_or(now.default, |slack| slack.default);
        self.slack.set(Some(Slack { default, ..now }));
    }

    /// A policy was set: a real-time thread's sleep is not delayed.
    pub fn slack_follows(&self, policy: i32) {
        let mut slack = self.slack.get().unwrap_or_else(slack);
        if is_real_time(policy) {
            slack.present = 0;
        } else if slack.present == 0 {
            slack.present = slack.default;
        }
        self.slack.set(Some(slack));
    }

    /// Gives it the kernel thread's niceness.
    pub fn take_nice(&self) {
        self.nice.set(Some(nice()));
    }

    /// Gives it the kernel thread's I/O priority.
    pub fn take_io(&self) {
        self.io.set(Some(io()));
    }

    /// Gives it the kernel thread's CPUs.
    pub fn take_cpus(&self) {
        self.set_cpus(&cpus());
    }

    /// The initial guest's, when it becomes one: a kernel thread that passes on less than it
    /// has says so.
    pub fn begin(&self) {
        if policy().0 & RESET_ON_FORK != 0 {
            self.take_policy();
        }
    }

    /// The CPUs it was given.
    pub fn cpus(&self) -> Option<&'static CpuSet> {
        let at = (self.affinity.get() as usize).checked_sub(1)?;
        // SAFETY: written before the place was given out, and never again or freed.
        Some(unsafe { SETS.sets.get(at)?.as_ref() })
    }

    /// Gives it these CPUs. When the table is full it is given none: it has the kernel
    /// thread's.
    pub fn set_cpus(&self, cpus: &CpuSet) {
        self.affinity.set(SETS.place(cpus));
    }
}

/// The kernel thread's policy, with SCHED_RESET_ON_FORK, and its real-time priority.
pub fn policy() -> (i32, i32) {
    let mut priority = 0i32;
    // SAFETY: about a thread of ours, into a variable of ours.
    let policy = unsafe {
        syscall2(
            libc::SYS_sched_getparam,
            kernel_thread(),
            &raw mut priority as u64,
        );
        syscall1(libc::SYS_sched_getscheduler, kernel_thread())
    };
    (policy as i32, priority)
}

/// The kernel's `struct sched_attr` in its second version.
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(missing_docs)]
pub struct Attr {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
    pub clamp: [u32; 2],
}

/// Bytes of its first version, which every kernel writes.
pub const FIRST_ATTR: usize = core::mem::offset_of!(Attr, clamp);

/// The kernel thread's time slice in nanoseconds; 0 for a real-time thread, and where the
/// kernel does not tell it.
pub fn slice() -> u32 {
    let mut attr = Attr::default();
    // SAFETY: about a thread of ours, into a variable of ours.
    unsafe {
        syscall4(
            libc::SYS_sched_getattr,
            kernel_thread(),
            &raw mut attr as u64,
            FIRST_ATTR as u64,
            0,
        )
    };
    attr.runtime as u32
}

/// The time slice of a thread that was given none: what the kernel thread's was before the
/// initial guest changed it.
pub fn base_slice() -> u32 {
    match BASE_SLICE.0.get() {
        0 => slice(),
        base => base,
    }
}

/// The kernel thread's niceness.
pub fn nice() -> i8 {
    let process = libc::PRIO_PROCESS as u64;
    // SAFETY: no pointers.
    20 - unsafe { syscall2(libc::SYS_getpriority, process, kernel_thread()) } as i8
}

/// The kernel thread's I/O priority.
pub fn io() -> u16 {
    // SAFETY: no pointers.
    unsafe { syscall2(libc::SYS_ioprio_get, WHO_PROCESS, kernel_thread()) as u16 }
}

/// The kernel thread's timer slack. A thread is told its own alone: this is the one's that
/// asks, and other processors' were made with the first one's.
pub fn slack() -> Slack {
    // SAFETY: no pointers.
    let present = unsafe { syscall1(libc::SYS_prctl, libc::PR_GET_TIMERSLACK as u64) } as u64;
    Slack {
        present,
        default: present,
    }
}

fn cpus() -> CpuSet {
    let mut set = [0; CPUS / 64];
    // SAFETY: about a thread of ours, into a set of ours.
    unsafe {
        syscall3(
            libc::SYS_sched_getaffinity,
            kernel_thread(),
            SET as u64,
            set.as_mut_ptr() as u64,
        )
    };
    set
}

struct BaseSlice(Cell<u32>);

// SAFETY: see Synchronization.
unsafe impl Sync for BaseSlice {}

static BASE_SLICE: BaseSlice = BaseSlice(Cell::new(0));

/// Different sets a program may use.
const MAX_SETS: usize = 1024;

/// The sets in use, each once. Programs use a few: one a CPU, and all.
struct Sets {
    sets: Blocks<CpuSet, 32>,
    used: Cell<usize>,
}

// SAFETY: see Synchronization.
unsafe impl Sync for Sets {}

static SETS: Sets = Sets {
    sets: Blocks::new(),
    used: Cell::new(0),
};

impl Sets {
    fn place(&self, cpus: &CpuSet) -> u16 {
        let used = self.used.get();
        // SAFETY: entries below `used` do not change, and are never freed.
        let same =
            |&at: &usize| unsafe { self.sets.get(at).is_some_and(|set| set.as_ref() == cpus) };
        if let Some(at) = (0..used).find(same) {
            return at as u16 + 1;
        }
        if used == MAX_SETS || used == self.sets.count() && !self.sets.grow() {
            return 0;
        }
        let Some(set) = self.sets.get(used) else {
            return 0;
        };
        // SAFETY: the hub's kernel thread alone, and nobody has this place.
        unsafe { set.write(*cpus) };
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
        creator.policy.set(Some((libc::SCHED_BATCH as u8, 0)));
        creator.nice.set(Some(2));
        creator.inherit_to(&new);
        assert_eq!(new.policy.get(), Some((libc::SCHED_BATCH as u8, 0)));
        assert_eq!(new.nice.get(), Some(2));
    }

    #[test]
    fn timer_slack_follows_the_policy_and_is_the_default_of_new_threads() {
        let (creator, new) = (Scheduling::new(), Scheduling::new());
        let (present, default) = (7, 50);
        creator.slack.set(Some(Slack { present, default }));
        creator.inherit_to(&new);
        let default = present;
        assert_eq!(new.slack.get(), Some(Slack { present, default }));
        creator.slack_follows(libc::SCHED_RR);
        assert_eq!(creator.slack.get().unwrap().present, 0);
        creator.slack_follows(libc::SCHED_BATCH);
        assert_eq!(creator.slack.get().unwrap().present, 50);
    }

    #[test]
    fn only_what_was_not_given_is_completed() {
        let (before, guest) = (Scheduling::new(), Scheduling::new());
        before.take_policy();
        before.take_cpus();
        guest.nice.set(Some(11));
        guest.complete(&before);
        assert_eq!(guest.nice.get(), Some(11));
        assert_eq!(guest.policy.get(), before.policy.get());
        assert_eq!(guest.cpus(), before.cpus());
        assert_eq!(guest.io.get(), None);
    }
}
