//! Sleeping and yielding.
#![allow(unsafe_code)]

use super::{Call, Outcome, cpu_clock};
use crate::arch::{syscall, syscall2};
use crate::deadline::Deadline;
use crate::guest::Reason;
use crate::raw::{self, ERESTARTNOHAND, err};

/// The guest's time span at `pointer`.
fn span(pointer: u64) -> Result<u64, i64> {
    // SAFETY: the guest's own argument, which the kernel would read.
    let ts = unsafe { raw::get(pointer)? };
    raw::timespec_ns(&ts).ok_or(err(libc::EINVAL))
}

/// Sleeps; at `left`, if not null, an interrupted sleep says what is left.
fn sleep_until(c: &Call<'_>, deadline: Deadline, left: u64) -> i64 {
    match c.hub.park_until(c.guest, Some(deadline), true) {
        Reason::Signal => interrupted(left, deadline.left()),
        _ => 0,
    }
}

/// What an interrupted sleep returns; at `left` it says how many nanoseconds are.
fn interrupted(left: u64, rest: u64) -> i64 {
    if left == 0 {
        return ERESTARTNOHAND;
    }
    // SAFETY: the guest's own argument, which the kernel would write.
    unsafe { raw::put(left, raw::ns_timespec(rest)) }
        .err()
        .unwrap_or(ERESTARTNOHAND)
}

/// nanosleep(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn nanosleep(c: &mut Call<'_>) -> Outcome {
    match span(c.a[0]) {
        Ok(ns) => Outcome::Done(sleep_until(c, Deadline::after(ns), c.a[1])),
        Err(e) => Outcome::Done(e),
    }
}

/// clock_nanosleep(2).
///
/// # Safety
/// As [`nanosleep`].
pub unsafe fn clock_nanosleep(c: &mut Call<'_>) -> Outcome {
    let clock = c.a[0] as i32;
    let absolute = c.a[1] & libc::TIMER_ABSTIME as u64 != 0;
    let counts = clock == libc::CLOCK_PROCESS_CPUTIME_ID || clock < 0;
    // Nobody may wait for a time that he alone uses.
    let other = cpu_clock::guest_of(c.hub, c.guest, clock)
        .filter(|guest| clock < 0 && !core::ptr::eq(*guest, c.guest))
        .map(|guest| guest.tid.get());
    let sleeps = match clock {
        libc::CLOCK_MONOTONIC | libc::CLOCK_REALTIME | libc::CLOCK_BOOTTIME | libc::CLOCK_TAI => {
            true
        }
        // The kernel says whether it has the clock and lets the caller sleep by it: a
        // time that has passed does not wait.
        libc::CLOCK_REALTIME_ALARM | libc::CLOCK_BOOTTIME_ALARM => takes(clock),
        // CPU time of this process or of another. (A thread's own is refused.)
        _ => counts && (other.is_some() || takes(clock)),
    };
    if !sleeps {
        let known = cpu_clock::for_the_kernel(c, clock);
        let [_, flags, time, left, ..] = c.a;
        // SAFETY: the guest's own call, which the kernel refuses.
        return Outcome::Done(unsafe {
            syscall(
                libc::SYS_clock_nanosleep as u64,
                [known as u64, flags, time, left, 0, 0],
            )
        });
    }
    let ns = match span(c.a[2]) {
        Ok(ns) => ns,
        Err(e) => return Outcome::Done(e),
    };
    if counts {
        let read = || read(c, clock, other);
        return Outcome::Done(sleep_while_counting(c, read, absolute, ns));
    }
    // The clock that such a timer counts in while the machine is awake.
    let clock = match clock {
        libc::CLOCK_REALTIME_ALARM => libc::CLOCK_REALTIME,
        libc::CLOCK_BOOTTIME_ALARM => libc::CLOCK_BOOTTIME,
        clock => clock,
    };
    let deadline = if absolute {
        Deadline::new(clock, ns)
    } else if c.a[0] as i32 == libc::CLOCK_REALTIME {
        // No span of it changes when it is set (clock_nanosleep(2)).
        Deadline::after(ns)
    } else {
        Deadline::new(clock, raw::clock(clock).saturating_add(ns))
    };
    if deadline.has_come() {
        // A program that calls this in a loop waits for somebody.
        c.hub.yield_now(c.guest);
        return Outcome::Done(0);
    }
    let left = if absolute { 0 } else { c.a[3] };
    Outcome::Done(sleep_until(c, deadline, left))
}

/// A sleep by a clock that counts CPU time, and may stand still: looks at it again after
/// each wait. `read` gives its time now, in nanoseconds.
fn sleep_while_counting(c: &Call<'_>, read: impl Fn() -> u64, absolute: bool, ns: u64) -> i64 {
    let until = if absolute {
        ns
    } else {
        read().saturating_add(ns)
    };
    let mut slept = false;
    loop {
        let left = until.saturating_sub(read());
        if left == 0 {
            if !slept {
                c.hub.yield_now(c.guest);
            }
            return 0;
        }
        slept = true;
        let nap = left.clamp(SHORTEST_NAP, LONGEST_NAP);
        if sleep_until(c, Deadline::after(nap), 0) != 0 {
            let left = if absolute { 0 } else { c.a[3] };
            return interrupted(left, until.saturating_sub(read()));
        }
    }
}

/// Whether the kernel lets the caller sleep by a clock.
fn takes(clock: i32) -> bool {
    let passed = raw::ns_timespec(0);
    let a = [
        clock as u64,
        libc::TIMER_ABSTIME as u64,
        &raw const passed as u64,
        0,
        0,
        0,
    ];
    // SAFETY: a time span of ours.
    unsafe { syscall(libc::SYS_clock_nanosleep as u64, a) == 0 }
}

/// Longest and shortest wait between two looks at a clock that counts CPU time, which
/// runs slower than others, or faster where several threads run.
const LONGEST_NAP: u64 = 50_000_000;
const SHORTEST_NAP: u64 = 1_000_000;

/// A clock in nanoseconds; that of the guest `other`, if it is another guest's.
fn read(c: &Call<'_>, clock: i32, other: Option<i32>) -> u64 {
    if let Some(tid) = other {
        return match c.hub.find(tid) {
            Some(guest) => cpu_clock::used(c.guest, guest),
            None => u64::MAX,
        };
    }
    let mut ts = raw::ns_timespec(0);
    // SAFETY: the kernel writes a time span of ours.
    let ret = unsafe { syscall2(libc::SYS_clock_gettime, clock as u64, &raw mut ts as u64) };
    if ret == 0 {
        raw::timespec_ns(&ts).unwrap_or(0)
    } else {
        // Its process has ended: the wait is over, as the kernel has it.
        u64::MAX
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
