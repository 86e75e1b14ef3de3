//! sched_setattr(2) and sched_getattr(2).
#![allow(unsafe_code)]

use super::super::{Call, Outcome};
use super::affinity::{affinity_of_kernel_thread, allowed};
use super::{
    Params, SCHED_DEADLINE, SYS_NICE, capable, check, fail, get, give, has_niceness, native,
    present, target,
};
use crate::arch::{self, syscall3, syscall4};
use crate::guest::Guest;
use crate::guest::sched::{self, Attr, FIRST_ATTR, Scheduling, is_real_time, kernel_thread};
use crate::raw::err;

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
/// As [`setscheduler`](super::setscheduler).
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
/// As [`setscheduler`](super::setscheduler).
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
