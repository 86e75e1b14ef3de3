//! Niceness and I/O priority, of a guest and of all.
#![allow(unsafe_code)]

use super::super::{Call, Outcome};
use super::{
    SYS_ADMIN, SYS_NICE, can_nice, capable, change_kernel_thread, fail, native, present, target,
};
use crate::arch::{self, syscall0};
use crate::guest::Guest;
use crate::guest::sched::{self, Scheduling, WHO_PROCESS, is_real_time};
use crate::raw::err;

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
/// As [`setscheduler`](super::setscheduler).
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
/// As [`setscheduler`](super::setscheduler).
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
/// As [`setscheduler`](super::setscheduler).
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
/// As [`setscheduler`](super::setscheduler).
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
