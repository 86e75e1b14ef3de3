//! Calls about how a thread is scheduled.
//!
//! For a guest they are answered as the kernel would, by the rules of its
//! kernel/sched/syscalls.c, kernel/sys.c and block/ioprio.c, and kept in the guest's record;
//! the kernel thread that all guests share stays where and as it is. The initial thread's
//! calls are the kernel's, and leave the other guests what they have.
#![allow(unsafe_code)]

mod affinity;
mod attributes;
mod priority;

use super::{Call, Outcome};
use crate::arch::{self, syscall2, syscall4};
use crate::guest::Guest;
use crate::guest::sched::{self, RESET_ON_FORK, Scheduling, is_real_time, kernel_thread};
use crate::raw::{self, err};

pub use affinity::{getaffinity, setaffinity};
pub use attributes::{getattr, setattr};
pub use priority::{getpriority, ioprio_get, ioprio_set, setpriority};

const SCHED_DEADLINE: i32 = 6;
const SCHED_EXT: i32 = 7;
/// CAP_SYS_NICE of capabilities(7).
const SYS_NICE: u32 = 23;
/// CAP_SYS_ADMIN.
pub const SYS_ADMIN: u32 = 21;
/// CAP_SYS_RESOURCE.
pub const SYS_RESOURCE: u32 = 24;
/// Time slice of SCHED_RR where it was not changed, in nanoseconds.
const ROUND_ROBIN: u64 = 100_000_000;

/// Policy, real-time priority and niceness.
#[derive(Clone, Copy)]
struct Params {
    policy: i32,
    priority: i32,
    nice: i32,
}

fn fail(errno: i32) -> Outcome {
    Outcome::Done(err(errno))
}

/// The guest that `tid` names, unless the kernel is to answer: for the initial thread,
/// and for what is no guest's.
fn target(c: &Call<'_>, tid: i32) -> Option<&'static Guest> {
    let guest = if tid == 0 {
        Some(c.guest)
    } else {
        c.hub.find(tid)
    };
    guest.filter(|guest| !guest.is_initial())
}

/// Makes a call that may change the kernel thread which has what guests were not given. They
/// keep what they have, which `take` reads, and new threads get what the initial one has then.
fn change_kernel_thread(c: &Call<'_>, take: fn(&Scheduling)) -> i64 {
    let before = Scheduling::new();
    take(&before);
    // SAFETY: the guest's own call, unchanged.
    let ret = unsafe { arch::syscall(c.frame.rax, c.a) };
    for guest in c.hub.guests() {
        guest.sched.complete(&before);
        if guest.is_initial() {
            take(&guest.sched);
        }
    }
    ret
}

/// A call about `tid` that the kernel is to answer.
fn native(c: &Call<'_>, tid: i32, take: fn(&Scheduling)) -> Outcome {
    if sched::is_kernel_thread(tid) {
        Outcome::Done(change_kernel_thread(c, take))
    } else {
        Outcome::Native
    }
}

fn present(guest: &Guest) -> Params {
    let own = &guest.sched;
    let (policy, priority) = match own.policy.get() {
        Some((policy, priority)) => (policy.into(), priority.into()),
        None => sched::policy(),
    };
    Params {
        policy: policy & !RESET_ON_FORK,
        priority,
        nice: own.nice.get().unwrap_or_else(sched::nice).into(),
    }
}

/// Whether the calling thread has a capability.
pub fn capable(capability: u32) -> bool {
    /// `_LINUX_CAPABILITY_VERSION_3`.
    const VERSION: u32 = 0x2008_0522;
    let header = [VERSION, 0];
    // Effective, permitted, inheritable; twice.
    let mut sets = [0u32; 6];
    // SAFETY: a header and sets of ours.
    let ret = unsafe {
        syscall2(
            libc::SYS_capget,
            header.as_ptr() as u64,
            sets.as_mut_ptr() as u64,
        )
    };
    ret == 0 && sets[3 * (capability as usize / 32)] & 1 << (capability % 32) != 0
}

/// A soft limit of the process; `None` where nobody may ask.
pub fn limit(resource: u32) -> Option<u64> {
    let mut limits = [0u64; 2];
    // SAFETY: the process's own limits, into variables of ours.
    let ret = unsafe {
        syscall4(
            libc::SYS_prlimit64,
            0,
            resource as u64,
            0,
            limits.as_mut_ptr() as u64,
        )
    };
    (ret == 0).then_some(limits[0])
}

/// The kernel's `can_nice`, but for its capability.
fn can_nice(nice: i32) -> bool {
    (20 - nice) as u64 <= limit(libc::RLIMIT_NICE).unwrap_or(0)
}

fn is_valid(new: Params) -> bool {
    match new.policy {
        libc::SCHED_FIFO | libc::SCHED_RR => (1..=99).contains(&new.priority),
        libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE => new.priority == 0,
        SCHED_EXT => {
            let of_kernel = c"/sys/kernel/sched_ext";
            // SAFETY: a string of ours.
            let missing = unsafe { syscall2(libc::SYS_access, of_kernel.as_ptr() as u64, 0) };
            missing == 0 && new.priority == 0
        }
        _ => false,
    }
}

/// Whether what sets the policy sets the niceness too.
fn has_niceness(policy: i32) -> bool {
    !is_real_time(policy) && policy != libc::SCHED_IDLE
}

fn may(guest: &Guest, old: Params, new: Params, reset: bool) -> bool {
    let refused = if is_real_time(new.policy) {
        let most = limit(libc::RLIMIT_RTPRIO).unwrap_or(0);
        new.policy != old.policy && most == 0
            || new.priority > old.priority && new.priority as u64 > most
    } else {
        has_niceness(new.policy) && new.nice < old.nice && !can_nice(new.nice)
    };
    let refused = refused
        || old.policy == libc::SCHED_IDLE && new.policy != libc::SCHED_IDLE && !can_nice(old.nice)
        || guest.sched.reset.get() && !reset;
    !refused || capable(SYS_NICE)
}

/// Whether a guest may be scheduled so: else the error.
fn check(guest: &Guest, new: Params, reset: bool) -> Result<(), Outcome> {
    if !is_valid(new) {
        Err(fail(libc::EINVAL))
    } else if !may(guest, present(guest), new, reset) {
        Err(fail(libc::EPERM))
    } else {
        Ok(())
    }
}

fn give(guest: &Guest, new: Params) {
    let own = &guest.sched;
    if has_niceness(new.policy) {
        own.nice.set(Some(new.nice as i8));
    } else {
        own.nice.set(Some(present(guest).nice as i8));
    }
    own.policy.set(Some((new.policy as u8, new.priority as u8)));
    own.slack_follows(new.policy);
}

fn set(guest: &Guest, new: Params, reset: bool) -> Outcome {
    if let Err(outcome) = check(guest, new, reset) {
        return outcome;
    }
    give(guest, new);
    guest.sched.reset.set(reset);
    Outcome::Done(0)
}

/// The one word of a `struct sched_param`.
fn priority_at(at: u64) -> Result<i32, Outcome> {
    if at == 0 {
        return Err(fail(libc::EINVAL));
    }
    get(at)
}

fn get<T: Copy>(from: u64) -> Result<T, Outcome> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: room for a `T`; the types used here are valid with any bytes.
    unsafe {
        if arch::copy(value.as_mut_ptr().cast(), from as *const u8, size_of::<T>()) {
            Ok(value.assume_init())
        } else {
            Err(fail(libc::EFAULT))
        }
    }
}

fn put<T>(to: u64, value: &T) -> Outcome {
    // SAFETY: the program's own pointer, which the kernel would write through.
    if unsafe { arch::copy(to as *mut u8, (value as *const T).cast(), size_of::<T>()) } {
        Outcome::Done(0)
    } else {
        fail(libc::EFAULT)
    }
}

/// sched_setscheduler(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn setscheduler(c: &mut Call<'_>) -> Outcome {
    let Some(guest) = target(c, c.a[0] as i32) else {
        return native(c, c.a[0] as i32, Scheduling::take_policy);
    };
    let asked = c.a[1] as i32;
    if asked < 0 {
        return fail(libc::EINVAL);
    }
    match priority_at(c.a[2]) {
        Ok(priority) => {
            let new = Params {
                policy: asked & !RESET_ON_FORK,
                priority,
                ..present(guest)
            };
            set(guest, new, asked & RESET_ON_FORK != 0)
        }
        Err(outcome) => outcome,
    }
}

/// sched_setparam(2).
///
/// # Safety
/// As [`setscheduler`].
pub unsafe fn setparam(c: &mut Call<'_>) -> Outcome {
    let Some(guest) = target(c, c.a[0] as i32) else {
        return native(c, c.a[0] as i32, Scheduling::take_policy);
    };
    match priority_at(c.a[1]) {
        Ok(priority) => {
            let new = Params {
                priority,
                ..present(guest)
            };
            set(guest, new, guest.sched.reset.get())
        }
        Err(outcome) => outcome,
    }
}

/// sched_getscheduler(2).
///
/// # Safety
/// As [`setscheduler`].
pub unsafe fn getscheduler(c: &mut Call<'_>) -> Outcome {
    let Some(guest) = target(c, c.a[0] as i32) else {
        return Outcome::Native;
    };
    let reset = if guest.sched.reset.get() {
        RESET_ON_FORK
    } else {
        0
    };
    Outcome::Done((present(guest).policy | reset) as i64)
}

/// sched_getparam(2).
///
/// # Safety
/// As [`setscheduler`].
pub unsafe fn getparam(c: &mut Call<'_>) -> Outcome {
    let Some(guest) = target(c, c.a[0] as i32) else {
        return Outcome::Native;
    };
    if c.a[1] == 0 {
        return fail(libc::EINVAL);
    }
    put(c.a[1], &present(guest).priority)
}

/// sched_rr_get_interval(2).
///
/// # Safety
/// As [`setscheduler`].
pub unsafe fn rr_get_interval(c: &mut Call<'_>) -> Outcome {
    let Some(guest) = target(c, c.a[0] as i32) else {
        return Outcome::Native;
    };
    match guest.sched.policy.get().map(|(policy, _)| policy as i32) {
        Some(libc::SCHED_RR) => put(c.a[1], &raw::ns_timespec(ROUND_ROBIN)),
        Some(libc::SCHED_FIFO) => put(c.a[1], &raw::ns_timespec(0)),
        _ => {
            let nr = libc::SYS_sched_rr_get_interval;
            // SAFETY: the guest's own call about a thread of ours.
            Outcome::Done(unsafe { syscall2(nr, kernel_thread(), c.a[1]) })
        }
    }
}

/// prctl(PR_SET_TIMERSLACK).
///
/// # Safety
/// As [`setscheduler`].
pub unsafe fn set_timer_slack(c: &mut Call<'_>) -> Outcome {
    if c.guest.is_initial() {
        return Outcome::Done(change_kernel_thread(c, Scheduling::take_slack));
    }
    if !is_real_time(present(c.guest).policy) {
        let own = &c.guest.sched.slack;
        let mut slack = own.get().unwrap_or_else(sched::slack);
        slack.present = match c.a[1] {
            0 => slack.default,
            present => present,
        };
        own.set(Some(slack));
    }
    Outcome::Done(0)
}

/// prctl(PR_GET_TIMERSLACK).
///
/// # Safety
/// As [`setscheduler`].
pub unsafe fn get_timer_slack(c: &mut Call<'_>) -> Outcome {
    if c.guest.is_initial() {
        return Outcome::Native;
    }
    let slack = c.guest.sched.slack.get().unwrap_or_else(sched::slack);
    Outcome::Done(slack.present as i64)
}
