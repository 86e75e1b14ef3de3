//! Sleeping and yielding.
#![allow(unsafe_code)]

use super::{Call, Outcome};
use crate::guest::Reason;
use crate::raw::{self, ERESTARTNOHAND, err};

/// The guest's time span at `pointer`.
fn span(pointer: u64) -> Result<u64, i64> {
    // SAFETY: the guest's own argument, which the kernel would read.
    let ts = unsafe { raw::get(pointer)? };
    raw::timespec_ns(&ts).ok_or(err(libc::EINVAL))
}

fn sleep_until(c: &Call<'_>, deadline: u64, left: u64) -> i64 {
    match c.hub.park(c.guest, Some(deadline), true) {
        Reason::Signal => {
            if left != 0 {
                let rest = raw::ns_timespec(deadline.saturating_sub(raw::now()));
                // SAFETY: the guest's own argument, which the kernel would write.
                if let Err(e) = unsafe { raw::put(left, rest) } {
                    return e;
                }
            }
            ERESTARTNOHAND
        }
        _ => 0,
    }
}

/// nanosleep(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn nanosleep(c: &mut Call<'_>) -> Outcome {
    match span(c.a[0]) {
        Ok(ns) => Outcome::Done(sleep_until(c, raw::now().saturating_add(ns), c.a[1])),
        Err(e) => Outcome::Done(e),
    }
}

/// clock_nanosleep(2). Clocks that count CPU time are the kernel's to wait for.
///
/// # Safety
/// As [`nanosleep`].
pub unsafe fn clock_nanosleep(c: &mut Call<'_>) -> Outcome {
    let clock = c.a[0] as i32;
    if !matches!(
        clock,
        libc::CLOCK_MONOTONIC | libc::CLOCK_REALTIME | libc::CLOCK_BOOTTIME | libc::CLOCK_TAI
    ) {
        return Outcome::Native;
    }
    let ns = match span(c.a[2]) {
        Ok(ns) => ns,
        Err(e) => return Outcome::Done(e),
    };
    if c.a[1] & libc::TIMER_ABSTIME as u64 == 0 {
        return Outcome::Done(sleep_until(c, raw::now().saturating_add(ns), c.a[3]));
    }
    // The clock may be set meanwhile: look at it again after each wait.
    let mut slept = false;
    loop {
        let left = ns.saturating_sub(raw::clock(clock));
        if left == 0 {
            if !slept {
                // A program that calls this in a loop waits for somebody.
                c.hub.yield_now(c.guest);
            }
            return Outcome::Done(0);
        }
        slept = true;
        let ret = sleep_until(c, raw::now().saturating_add(left), 0);
        if ret != 0 {
            return Outcome::Done(ret);
        }
    }
}

/// sched_yield(2).
///
/// # Safety
/// As [`nanosleep`].
pub unsafe fn sched_yield(c: &mut Call<'_>) -> Outcome {
    c.hub.yield_now(c.guest);
    Outcome::Done(0)
}
