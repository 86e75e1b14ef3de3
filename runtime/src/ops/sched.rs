//! Calls about how a thread is scheduled.
//!
//! For a guest they are answered as the kernel would, by the rules of its
//! kernel/sched/syscalls.c, kernel/sys.c and block/ioprio.c, and kept in the guest's record;
//! the kernel thread that all guests share stays where and as it is. The initial thread's
//! calls are the kernel's, and leave the other guests what they have.
#![allow(unsafe_code)]

use super::{Call, Outcome};
use crate::arch::{self, syscall0, syscall2, syscall3, syscall4};
use crate::guest::Guest;
use crate::guest::sched::{
    self, Attr, CPUS, CpuSet, FIRST_ATTR, RESET_ON_FORK, SET, Scheduling, WHO_PROCESS,
    is_real_time, kernel_thread,
};
use crate::raw::{self, err};

const SCHED_DEADLINE: i32 = 6;
const SCHED_EXT: i32 = 7;
/// CAP_SYS_NICE and CAP_SYS_ADMIN of capabilities(7).
const SYS_NICE: u32 = 23;
const SYS_ADMIN: u32 = 21;
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
    if tid == 0 || tid as u64 == kernel_thread() {
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
fn capable(capability: u32) -> bool {
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

fn limit(resource: u32) -> u64 {
    let mut limits = [0u64; 2];
    // SAFETY: the process's own limits, into variables of ours.
    unsafe {
        syscall4(
            libc::SYS_prlimit64,
            0,
            resource as u64,
            0,
            limits.as_mut_ptr() as u64,
        )
    };
    limits[0]
}

/// The kernel's `can_nice`, but for its capability.
fn can_nice(nice: i32) -> bool {
    (20 - nice) as u64 <= limit(libc::RLIMIT_NICE)
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
        let most = limit(libc::RLIMIT_RTPRIO);
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

const ATTR_RESET: u64 = 1;
const ATTR_KEEP_POLICY: u64 = 8;
const ATTR_KEEP_PARAMS: u64 = 16;
const ATTR_CLAMP: u64 = 0x60;
/// The kernel's own, which it refuses to a program later than what it does not know.
const ATTR_KERNEL: u64 = 0x1000_0000;
const ATTR_KNOWN: u64 = 0x7f | ATTR_KERNEL;

/// The attributes at `at`, of which the kernel has read as much.
fn attr_at(at: u64) -> Result<Attr, Outcome> {
    let len = match get::<u32>(at)? as usize {
        0 => FIRST_ATTR,
        len => len.min(size_of::<Attr>()),
    };
    let mut attr = Attr::default();
    // SAFETY: room for so much; the type is valid with any bytes.
    if unsafe { arch::copy((&raw mut attr).cast(), at as *const u8, len) } {
        Ok(attr)
    } else {
        Err(fail(libc::EFAULT))
    }
}

/// What the kernel says to a clamp of the processor's speed. It is not kept: asked for is
/// what the calling thread has.
fn clamp() -> i64 {
    let mut attr = Attr::default();
    let size = size_of::<Attr>();
    // SAFETY: about the calling thread, into a variable of ours and from it.
    unsafe {
        let into = &raw mut attr as u64;
        syscall4(libc::SYS_sched_getattr, 0, into, size as u64, 0);
        attr.size = size as u32;
        attr.flags = ATTR_KEEP_POLICY | ATTR_KEEP_PARAMS | ATTR_CLAMP;
        syscall3(libc::SYS_sched_setattr, 0, &raw const attr as u64, 0)
    }
}

/// The kernel's `__checkparam_dl`, with the limits of periods as they are if nobody has
/// changed them.
fn is_valid_deadline(attr: &Attr) -> bool {
    const PERIODS: core::ops::RangeInclusive<u64> = 100_000..=(1 << 22) * 1000;
    let period = match attr.period {
        0 => attr.deadline,
        period => period,
    };
    attr.priority == 0
        && attr.runtime >= 1024
        && attr.runtime <= attr.deadline
        && attr.deadline <= period
        && PERIODS.contains(&period)
}

/// Why a guest does not get SCHED_DEADLINE.
fn refuse_deadline(guest: &Guest, attr: &Attr) -> Outcome {
    let is_confined = || {
        let all = allowed();
        let own = guest.sched.cpus().copied();
        let own = own.unwrap_or_else(affinity_of_kernel_thread);
        own.iter().zip(all).any(|(own, all)| !own & all != 0)
    };
    let is_kernel = attr.flags & ATTR_KERNEL != 0;
    fail(if !is_kernel && !is_valid_deadline(attr) {
        libc::EINVAL
    } else if !capable(SYS_NICE) {
        libc::EPERM
    } else if is_kernel {
        libc::EINVAL
    } else if is_confined() {
        libc::EPERM
    } else {
        // Nobody can promise a guest its time: the answer of the admission test.
        libc::EBUSY
    })
}

/// Time slices that the kernel gives, in nanoseconds.
const SLICES: (u64, u64) = (100_000, 100_000_000);

/// sched_setattr(2).
///
/// # Safety
/// As [`setscheduler`].
pub unsafe fn setattr(c: &mut Call<'_>) -> Outcome {
    let Some(guest) = target(c, c.a[0] as i32) else {
        return native(c, c.a[0] as i32, Scheduling::take_policy);
    };
    let mut a = c.a;
    a[0] = guest.tid.get() as u64;
    // The kernel reads the attributes before it looks for the thread, which is none of its.
    // SAFETY: the guest's own call, about nobody.
    let ret = unsafe { arch::syscall(c.frame.rax, a) };
    if ret != err(libc::ESRCH) {
        return Outcome::Done(ret);
    }
    let attr = match attr_at(c.a[1]) {
        Ok(attr) => attr,
        Err(outcome) => return outcome,
    };
    if attr.flags & !ATTR_KNOWN != 0 {
        return fail(libc::EINVAL);
    }
    let (keeps_policy, keeps_params) = (
        attr.flags & ATTR_KEEP_POLICY != 0,
        attr.flags & ATTR_KEEP_PARAMS != 0,
    );
    let old = present(guest);
    let mut new = Params {
        policy: attr.policy as i32,
        priority: attr.priority as i32,
        nice: attr.nice.clamp(-20, 19),
    };
    let mut reset = attr.flags & ATTR_RESET != 0;
    if keeps_policy {
        new.policy = old.policy;
        reset = guest.sched.reset.get();
    }
    if keeps_params {
        if is_real_time(old.policy) {
            new.priority = old.priority;
        } else {
            new.nice = old.nice;
        }
    }
    if new.policy == SCHED_DEADLINE {
        return refuse_deadline(guest, &attr);
    }
    if let Err(outcome) = check(guest, new, reset) {
        return outcome;
    }
    if attr.flags & ATTR_KERNEL != 0 {
        return fail(libc::EINVAL);
    }
    if attr.flags & ATTR_CLAMP != 0 {
        let ret = clamp();
        if ret < 0 {
            return Outcome::Done(ret);
        }
    }
    guest.sched.reset.set(reset);
    // The policy is one of the parameters that are kept.
    if !keeps_params {
        give(guest, new);
        if has_niceness(new.policy) {
            let slice = match attr.runtime {
                0 => None,
                // A kernel that tells no slice takes none.
                _ if sched::base_slice() == 0 => None,
                asked => Some(asked.clamp(SLICES.0, SLICES.1) as u32),
            };
            guest.sched.slice.set(slice);
        }
    }
    Outcome::Done(0)
}

/// sched_getattr(2).
///
/// # Safety
/// As [`setscheduler`].
pub unsafe fn getattr(c: &mut Call<'_>) -> Outcome {
    let Some(guest) = target(c, c.a[0] as i32) else {
        return Outcome::Native;
    };
    let at = c.a[1];
    let mut a = c.a;
    a[0] = kernel_thread();
    // SAFETY: the guest's own call about a thread of ours.
    let ret = unsafe { arch::syscall(c.frame.rax, a) };
    if ret != 0 {
        return Outcome::Done(ret);
    }
    let size = match get::<u32>(at) {
        Ok(size) => size,
        Err(outcome) => return outcome,
    };
    let own = present(guest);
    let mut attr = Attr {
        size,
        policy: own.policy as u32,
        flags: guest.sched.reset.get().into(),
        priority: own.priority as u32,
        ..Attr::default()
    };
    if !is_real_time(own.policy) {
        attr.nice = own.nice;
        let slice = guest.sched.slice.get();
        attr.runtime = slice.unwrap_or_else(sched::base_slice).into();
    }
    let from = (&raw const attr).cast();
    // SAFETY: the program's own pointer, to which the kernel just wrote as much.
    if unsafe { arch::copy(at as *mut u8, from, FIRST_ATTR) } {
        Outcome::Done(0)
    } else {
        fail(libc::EFAULT)
    }
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

/// Whether the process is one of those that a call about a process group or a user names.
fn is_of(group: bool, who: i32) -> bool {
    let nr = if group {
        libc::SYS_getpgrp
    } else {
        libc::SYS_getuid
    };
    // SAFETY: no arguments.
    who == 0 || who as u32 == unsafe { syscall0(nr) } as u32
}

/// The guests but the initial one.
fn others(c: &Call<'_>) -> impl Iterator<Item = &'static Guest> {
    c.hub.guests().filter(|guest| !guest.is_initial())
}

/// getpriority(2).
///
/// # Safety
/// As [`setscheduler`].
pub unsafe fn getpriority(c: &mut Call<'_>) -> Outcome {
    let (which, who) = (c.a[0] as u32, c.a[1] as i32);
    if which == libc::PRIO_PROCESS {
        return match target(c, who) {
            Some(guest) => Outcome::Done((20 - present(guest).nice) as i64),
            None => Outcome::Native,
        };
    }
    if which > libc::PRIO_USER || !is_of(which == libc::PRIO_PGRP, who) {
        return Outcome::Native;
    }
    // SAFETY: the guest's own call, unchanged.
    let ret = unsafe { arch::syscall(c.frame.rax, c.a) };
    let best = others(c).map(|guest| (20 - present(guest).nice) as i64);
    Outcome::Done(best.fold(ret, i64::max))
}

/// setpriority(2) for one guest: its result.
fn set_nice(guest: &Guest, nice: i32) -> i64 {
    if nice < present(guest).nice && !can_nice(nice) && !capable(SYS_NICE) {
        return err(libc::EACCES);
    }
    guest.sched.nice.set(Some(nice as i8));
    0
}

/// setpriority(2).
///
/// # Safety
/// As [`setscheduler`].
pub unsafe fn setpriority(c: &mut Call<'_>) -> Outcome {
    let (which, who) = (c.a[0] as u32, c.a[1] as i32);
    let nice = (c.a[2] as i32).clamp(-20, 19);
    if which == libc::PRIO_PROCESS {
        return match target(c, who) {
            Some(guest) => Outcome::Done(set_nice(guest, nice)),
            None => native(c, who, Scheduling::take_nice),
        };
    }
    if which > libc::PRIO_USER || !is_of(which == libc::PRIO_PGRP, who) {
        return Outcome::Native;
    }
    let ret = change_kernel_thread(c, Scheduling::take_nice);
    let failed = others(c).map(|guest| set_nice(guest, nice)).min();
    Outcome::Done(ret.min(failed.unwrap_or(0)))
}

/// IOPRIO_WHO_PGRP and IOPRIO_WHO_USER of ioprio_set(2).
const WHO_PGRP: u64 = 2;
const WHO_USER: u64 = 3;

/// ioprio_set(2).
///
/// # Safety
/// As [`setscheduler`].
pub unsafe fn ioprio_set(c: &mut Call<'_>) -> Outcome {
    let (which, who) = (c.a[0] as i32 as u64, c.a[1] as i32);
    let guest = match which {
        WHO_PROCESS => match target(c, who) {
            Some(guest) => guest,
            None => return native(c, who, Scheduling::take_io),
        },
        WHO_PGRP | WHO_USER if is_of(which == WHO_PGRP, who) => {
            let ret = change_kernel_thread(c, Scheduling::take_io);
            if ret == 0 {
                others(c).for_each(|guest| guest.sched.io.set(Some(c.a[2] as u16)));
            }
            return Outcome::Done(ret);
        }
        _ => return Outcome::Native,
    };
    let io = c.a[2] as u16;
    let (class, level) = (io >> 13, io & 7);
    let allowed = match class {
        0 if level != 0 => return fail(libc::EINVAL),
        0 | 2 | 3 => true,
        1 => capable(SYS_NICE) || capable(SYS_ADMIN),
        _ => return fail(libc::EINVAL),
    };
    if !allowed {
        return fail(libc::EPERM);
    }
    guest.sched.io.set(Some(io));
    Outcome::Done(0)
}

/// The I/O priority of a guest: one that was given none has that of its policy and niceness.
fn effective_io(guest: &Guest) -> i64 {
    let io = guest.sched.io.get().unwrap_or_else(sched::io);
    if io >> 13 != 0 {
        return io.into();
    }
    let own = present(guest);
    let class = match own.policy {
        libc::SCHED_IDLE => 3,
        policy if is_real_time(policy) => 1,
        _ => 2,
    };
    i64::from((class << 13) | ((own.nice + 20) / 5))
}

/// ioprio_get(2).
///
/// # Safety
/// As [`setscheduler`].
pub unsafe fn ioprio_get(c: &mut Call<'_>) -> Outcome {
    let (which, who) = (c.a[0] as i32 as u64, c.a[1] as i32);
    match which {
        WHO_PROCESS => match target(c, who) {
            Some(guest) => Outcome::Done(guest.sched.io.get().unwrap_or_else(sched::io).into()),
            None => Outcome::Native,
        },
        WHO_PGRP | WHO_USER if is_of(which == WHO_PGRP, who) => {
            // SAFETY: the guest's own call, without pointers.
            let ret = unsafe { arch::syscall(c.frame.rax, c.a) };
            Outcome::Done(if ret < 0 {
                ret
            } else {
                others(c).map(effective_io).fold(ret, i64::min)
            })
        }
        _ => Outcome::Native,
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

fn affinity_of_kernel_thread() -> CpuSet {
    let mut set = [0; CPUS / 64];
    // SAFETY: about the calling thread, into a set of ours.
    unsafe {
        syscall3(
            libc::SYS_sched_getaffinity,
            0,
            SET as u64,
            set.as_mut_ptr() as u64,
        )
    };
    set
}

fn set_affinity_of_kernel_thread(set: &CpuSet) {
    // SAFETY: about the calling thread, from a set of ours.
    unsafe {
        syscall3(
            libc::SYS_sched_setaffinity,
            0,
            SET as u64,
            set.as_ptr() as u64,
        )
    };
}

/// The CPUs that the process may use at all (its cpuset): nothing says so but a change
/// to all of them, which moves nobody.
fn allowed() -> CpuSet {
    let present = affinity_of_kernel_thread();
    set_affinity_of_kernel_thread(&[u64::MAX; CPUS / 64]);
    let all = affinity_of_kernel_thread();
    set_affinity_of_kernel_thread(&present);
    all
}

/// sched_setaffinity(2).
///
/// # Safety
/// As [`setscheduler`].
pub unsafe fn setaffinity(c: &mut Call<'_>) -> Outcome {
    let Some(guest) = target(c, c.a[0] as i32) else {
        return native(c, c.a[0] as i32, Scheduling::take_cpus);
    };
    let mut set: CpuSet = [0; CPUS / 64];
    let len = (c.a[1] as u32 as usize).min(SET);
    // SAFETY: the program's own pointer, which the kernel would read.
    if !unsafe { arch::copy(set.as_mut_ptr().cast(), c.a[2] as *const u8, len) } {
        return fail(libc::EFAULT);
    }
    for (word, allowed) in set.iter_mut().zip(allowed()) {
        *word &= allowed;
    }
    if set.iter().all(|&word| word == 0) {
        return fail(libc::EINVAL);
    }
    guest.sched.set_cpus(&set);
    Outcome::Done(0)
}

/// sched_getaffinity(2).
///
/// # Safety
/// As [`setscheduler`].
pub unsafe fn getaffinity(c: &mut Call<'_>) -> Outcome {
    let Some(guest) = target(c, c.a[0] as i32) else {
        return Outcome::Native;
    };
    let mut a = c.a;
    a[0] = kernel_thread();
    // SAFETY: the guest's own call about a thread of ours.
    let ret = unsafe { arch::syscall(c.frame.rax, a) };
    if let Some(set) = guest.sched.cpus()
        && ret > 0
    {
        let len = (ret as usize).min(SET);
        // SAFETY: the program's own pointer, to which the kernel just wrote so much.
        if !unsafe { arch::copy(c.a[2] as *mut u8, set.as_ptr().cast(), len) } {
            return fail(libc::EFAULT);
        }
    }
    Outcome::Done(ret)
}
