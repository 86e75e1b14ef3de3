//! When a wait ends: a time of some clock, and the time of CLOCK_MONOTONIC that it is now.
//!
//! The timers of a hub count in CLOCK_MONOTONIC. A time of another clock is one of that
//! clock too until somebody sets the clock (settimeofday(2), a time server, a resume from
//! suspension). The kernel then ends the waits whose time has come, and lengthens others.
//! So the hub keeps with each such wait what it was to end at, has a timer descriptor
//! tell it when the clock was set ([`watch`]), and then asks again for all of them. Without
//! the descriptor, and for what it does not tell, a wait asks now and then.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicBool, Ordering};

use patch_events::events;

use crate::arch::{syscall2, syscall3, syscall4};
use crate::private;
use crate::raw;

/// A time that a wait ends at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    clock: libc::clockid_t,
    ns: u64,
}

/// Longest wait between two questions to a clock of whose steps nobody tells, in
/// nanoseconds.
const LONGEST_NAP: u64 = raw::NS_PER_S;

impl Deadline {
    /// The time `ns`, in nanoseconds, of a clock that cannot fail.
    pub const fn new(clock: libc::clockid_t, ns: u64) -> Self {
        Deadline { clock, ns }
    }

    /// A time of CLOCK_MONOTONIC, which nobody sets.
    pub const fn monotonic(ns: u64) -> Self {
        Self::new(libc::CLOCK_MONOTONIC, ns)
    }

    /// The end of a span of `ns` nanoseconds that begins now.
    pub fn after(ns: u64) -> Self {
        Self::monotonic(raw::now().saturating_add(ns))
    }

    /// The clock.
    pub const fn clock(self) -> libc::clockid_t {
        self.clock
    }

    /// Whether its clock may be set.
    pub const fn may_move(self) -> bool {
        self.clock != libc::CLOCK_MONOTONIC
    }

    /// Nanoseconds of the clock until then; 0 if it has come.
    pub fn left(self) -> u64 {
        self.ns.saturating_sub(raw::clock(self.clock))
    }

    /// Whether it has come.
    pub fn has_come(self) -> bool {
        self.left() == 0
    }

    /// For the kernel: as an absolute time of the clock.
    pub fn timespec(self) -> libc::timespec {
        raw::ns_timespec(self.ns)
    }

    /// When to ask again whether it has come: in CLOCK_MONOTONIC nanoseconds, and never
    /// before it. `watched`: [`watch`] tells of steps.
    pub fn next_look(self, watched: bool) -> u64 {
        if !self.may_move() {
            return self.ns;
        }
        // CLOCK_TAI alone is set by ADJ_TAI, of which nothing tells.
        let told = watched && self.clock != libc::CLOCK_TAI;
        // This clock first: what passes between the two makes the wait longer.
        let left = self.left();
        let nap = if told { left } else { left.min(LONGEST_NAP) };
        raw::now().saturating_add(nap)
    }
}

/// A new timer descriptor that becomes readable when CLOCK_REALTIME is set, or the machine
/// was suspended; or `-errno`.
pub fn watch() -> Result<i32, i64> {
    let _room = private::room();
    // SAFETY: no pointers.
    let fd = unsafe {
        syscall2(
            libc::SYS_timerfd_create,
            libc::CLOCK_REALTIME as u64,
            (libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) as u64,
        )
    };
    if fd < 0 {
        return Err(fd);
    }
    let never = libc::itimerspec {
        it_interval: raw::ns_timespec(0),
        it_value: libc::timespec {
            tv_sec: i64::MAX,
            tv_nsec: 0,
        },
    };
    // SAFETY: a time of ours.
    let ret = unsafe {
        syscall4(
            libc::SYS_timerfd_settime,
            fd as u64,
            (libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET) as u64,
            &raw const never as u64,
            0,
        )
    };
    if ret != 0 {
        raw::close(fd as i32);
        return Err(ret);
    }
    Ok(private::open(|| fd) as i32)
}

/// Takes what such a descriptor tells, so that it tells of the next step.
pub fn seen(fd: i32) {
    let mut times = 0u64;
    // SAFETY: at most eight bytes to `times`; non-blocking. (It fails with ECANCELED, which
    // is the news.)
    unsafe { syscall3(libc::SYS_read, fd as u64, &raw mut times as u64, 8) };
}

/// Host context: says, once, that steps of a clock are seen late.
pub fn tell_unwatched(e: i64) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, Ordering::Relaxed) {
        events::ClockNotWatched { errno: -e as i32 }.emit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_never_looked_for_before_it_comes() {
        for clock in [
            libc::CLOCK_MONOTONIC,
            libc::CLOCK_REALTIME,
            libc::CLOCK_BOOTTIME,
            libc::CLOCK_TAI,
        ] {
            let span = 3_000_000;
            let deadline = Deadline::new(clock, raw::clock(clock) + span);
            let look = deadline.next_look(true);
            while raw::now() < look {
                std::hint::spin_loop();
            }
            assert!(deadline.has_come(), "clock {clock}");
        }
    }

    #[test]
    fn only_a_clock_that_may_be_set_is_asked_again() {
        let far = |clock| Deadline::new(clock, raw::clock(clock) + 100 * raw::NS_PER_S);
        let naps = |clock, watched| far(clock).next_look(watched) <= raw::now() + LONGEST_NAP;
        assert!(!naps(libc::CLOCK_MONOTONIC, false));
        assert!(!naps(libc::CLOCK_REALTIME, true));
        assert!(naps(libc::CLOCK_REALTIME, false));
        assert!(naps(libc::CLOCK_TAI, true));
        assert!(!Deadline::after(0).may_move());
    }

    #[test]
    fn a_watch_is_silent_while_the_clock_is_not_set() {
        let fd = watch().unwrap();
        assert_eq!(raw::poll_now(fd, libc::POLLIN), 0);
        private::close(fd);
    }
}
