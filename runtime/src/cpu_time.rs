//! How long each guest used the processor.
//!
//! The kernel counts what its threads use; all guests of a hub share one. So the hub
//! reads the time-stamp counter at each switch, which costs far less than asking the
//! kernel, and charges what passed to the guest that ran.
//!
//! The counter goes on while the kernel runs somebody else in our place. That makes a run
//! long: at the end of one that took [`LONG`] ticks, and whenever a time is asked for, the
//! kernel is asked how much the thread really used since it was asked last. What the short
//! runs meanwhile were charged with is taken off, and the rest is what the long run is
//! charged with, but never more than it took. So the times of all guests come to no more
//! than the kernel counted, but for what it took away within short runs. A guest that
//! computes and asks for its own time sees the kernel's clock advance.
//!
//! What the hub does between guests (events, deliveries) belongs to none of them. What it
//! does in a guest's call is charged to that guest.
//!
//! # Synchronization
//! A meter is its processor's, and a usage is of the guest that runs there. Both are written
//! in our code, and read in our code elsewhere, which the giant lock of the
//! [`hub`](crate::hub) keeps apart if there are several processors; so is the rate. A
//! usage's words are atomic for readers that hold no lock.
#![allow(unsafe_code)]

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::arch::{syscall2, ticks};
use crate::raw::{self, NS_PER_S};

/// Ticks of a run after which the kernel is asked: about 0.1 ms.
const LONG: u64 = 1 << 18;

/// How often a pair of clock and counter is read anew to find one that nothing came between.
const TRIES: u32 = 3;

/// Nanoseconds after which the rate of the counter is known well enough for good.
const SETTLED: u64 = NS_PER_S;

/// Binary places of a rate.
const PLACES: u32 = 32;

/// What one guest has used. All zero: nothing.
#[derive(Debug, Default)]
pub struct Usage {
    /// In short runs: ticks.
    short: AtomicU64,
    /// In long ones, and what it had used when it became a guest: nanoseconds.
    long: AtomicU64,
    /// What was told last: a clock does not go back because the rate is known better.
    told: AtomicU64,
    /// How that was split last.
    user: AtomicU64,
    system: AtomicU64,
}

fn add(to: &AtomicU64, amount: u64) {
    // Written by one kernel thread: no read-modify-write is needed.
    to.store(
        to.load(Ordering::Relaxed).wrapping_add(amount),
        Ordering::Relaxed,
    );
}

impl Usage {
    /// What it tells from now on of a guest that has used `ns` so far.
    pub fn begin(&self, ns: u64) {
        self.long.store(ns, Ordering::Relaxed);
    }

    /// Splits `total` into user and system time, by the shares of the whole kernel thread;
    /// all in nanoseconds. Neither goes back, as in the kernel's own cputime_adjust.
    pub fn split(&self, total: u64, user: u64, system: u64) -> (u64, u64) {
        let share = (total as u128 * system as u128)
            .checked_div(user as u128 + system as u128)
            .unwrap_or(0) as u64;
        let system = share.max(self.system.load(Ordering::Relaxed));
        let user = total
            .saturating_sub(system)
            .max(self.user.load(Ordering::Relaxed));
        let system = total.saturating_sub(user);
        self.user.store(user, Ordering::Relaxed);
        self.system.store(system, Ordering::Relaxed);
        (user, system)
    }
}

/// Charges guests for what they use of one processor.
pub struct Meter {
    /// When the present run began: ticks.
    since: Cell<u64>,
    /// What was charged for short runs since the kernel was asked: ticks.
    charged: Cell<u64>,
    /// What the kernel said then: nanoseconds of CPU time.
    kernel: Cell<u64>,
}

/// How fast the counter goes, which is the same on every processor.
struct Rate {
    /// A pair of CLOCK_MONOTONIC and counter, to find the rate from.
    origin: Cell<(u64, u64)>,
    /// Nanoseconds a tick, with [`PLACES`] binary places; 0 before it is known.
    rate: Cell<u64>,
    /// The rate is known well enough.
    settled: Cell<bool>,
}

// SAFETY: see Synchronization.
unsafe impl Sync for Rate {}

static RATE: Rate = Rate {
    origin: Cell::new((0, 0)),
    rate: Cell::new(0),
    settled: Cell::new(false),
};

impl Rate {
    fn begin(&self) {
        if self.origin.get().0 == 0 {
            self.origin.set(pair());
        }
    }

    fn find(&self) {
        if self.settled.get() {
            return;
        }
        let (now, at) = pair();
        let (first, origin) = self.origin.get();
        let (ns, ticks) = (now.saturating_sub(first), at.saturating_sub(origin));
        if let Some(rate) = ((ns as u128) << PLACES).checked_div(ticks as u128) {
            self.rate.set(rate as u64);
        }
        self.settled.set(ns >= SETTLED);
    }

    fn in_ns(&self, ticks: u64) -> u64 {
        ((ticks as u128 * self.rate.get() as u128) >> PLACES) as u64
    }
}

/// The clock of a kernel thread's CPU time (kernel: posix-timers_types.h).
const fn clock_of(kernel_tid: i32) -> i32 {
    const PER_THREAD: i32 = 4;
    const SCHEDULED: i32 = 2;
    !kernel_tid << 3 | PER_THREAD | SCHEDULED
}

/// CPU time of the kernel thread that `clock` counts, in nanoseconds.
fn time_of(clock: i32) -> u64 {
    let mut ts = raw::ns_timespec(0);
    // SAFETY: a time span of ours.
    unsafe { syscall2(libc::SYS_clock_gettime, clock as u64, &raw mut ts as u64) };
    raw::timespec_ns(&ts).unwrap_or(0)
}

/// CPU time of this kernel thread, in nanoseconds.
fn kernel_time() -> u64 {
    time_of(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CLOCK_MONOTONIC and the counter at about the same time.
fn pair() -> (u64, u64) {
    let mut best = (0, 0);
    let mut narrowest = u64::MAX;
    for _ in 0..TRIES {
        let before = ticks();
        let now = raw::now();
        let width = ticks().saturating_sub(before);
        if width < narrowest {
            narrowest = width;
            best = (now, before + width / 2);
        }
    }
    best
}

impl Meter {
    /// One that has seen nothing yet.
    #[allow(clippy::new_without_default)] // its only use is a static
    pub const fn new() -> Self {
        Meter {
            since: Cell::new(0),
            charged: Cell::new(0),
            kernel: Cell::new(0),
        }
    }

    /// Begins with the kernel thread as it is, whose time so far is `usage`'s.
    pub fn begin(&self, usage: &Usage) {
        RATE.begin();
        let kernel = kernel_time();
        usage.begin(kernel);
        self.kernel.set(kernel);
        self.charged.set(0);
        self.since.set(ticks());
    }

    /// A run begins that was not another's end.
    #[inline]
    pub fn resume(&self) {
        self.since.set(ticks());
    }

    /// The run of the guest with that `usage` is over, and another begins.
    #[inline]
    pub fn pass_on(&self, usage: &Usage) {
        let now = ticks();
        // Not every machine's processors agree to the tick.
        let run = now.saturating_sub(self.since.get());
        self.since.set(now);
        if run < LONG {
            add(&usage.short, run);
            self.charged.set(self.charged.get().wrapping_add(run));
        } else {
            self.look(usage, run);
        }
    }

    /// Asks the kernel, and charges `usage` for a run of so many ticks.
    #[cold]
    fn look(&self, usage: &Usage, run: u64) {
        RATE.find();
        let kernel = kernel_time();
        add(&usage.long, self.of_run(run, kernel));
        self.kernel.set(kernel);
        self.charged.set(0);
    }

    /// What a run of so many ticks is charged with when the kernel's clock is at `kernel`.
    fn of_run(&self, run: u64, kernel: u64) -> u64 {
        let used = kernel.saturating_sub(self.kernel.get());
        let others = RATE.in_ns(self.charged.get());
        used.saturating_sub(others).min(RATE.in_ns(run))
    }

    /// Nanoseconds that the guest with that `usage`, which runs here and asks, has used.
    pub fn read_own(&self, usage: &Usage) -> u64 {
        let now = ticks();
        let run = now.saturating_sub(self.since.replace(now));
        self.look(usage, run);
        tell(usage, 0)
    }

    /// Nanoseconds that a guest with that `usage`, which does not run, has used.
    pub fn read(&self, usage: &Usage) -> u64 {
        RATE.find();
        tell(usage, 0)
    }

    /// Nanoseconds that the guest with that `usage` has used, which now runs on this meter's
    /// processor, another than the caller's.
    pub fn read_running(&self, usage: &Usage, kernel_tid: i32) -> u64 {
        RATE.find();
        let run = ticks().saturating_sub(self.since.get());
        tell(usage, self.of_run(run, time_of(clock_of(kernel_tid))))
    }
}

/// What `usage` comes to, with what is not charged yet.
fn tell(usage: &Usage, more: u64) -> u64 {
    let short = RATE.in_ns(usage.short.load(Ordering::Relaxed));
    let total = usage.long.load(Ordering::Relaxed) + short + more;
    let told = total.max(usage.told.load(Ordering::Relaxed));
    usage.told.store(told, Ordering::Relaxed);
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compute_ns(ns: u64) {
        let until = kernel_time() + ns;
        while kernel_time() < until {}
    }

    #[test]
    fn long_runs_are_charged_what_the_kernel_counts() {
        let (meter, one, other) = (Meter::new(), Usage::default(), Usage::default());
        let before = kernel_time();
        meter.begin(&one);
        compute_ns(20_000_000);
        meter.pass_on(&one);
        compute_ns(10_000_000);
        meter.pass_on(&other);
        let (first, second) = (meter.read(&one), meter.read_own(&other));
        assert!(first >= before + 19_000_000, "{first}");
        assert!((9_000_000..40_000_000).contains(&second), "{second}");
        assert!(first + second <= kernel_time());
    }

    #[test]
    fn sleep_is_not_charged() {
        let (meter, usage, first) = (Meter::new(), Usage::default(), Usage::default());
        meter.begin(&first);
        std::thread::sleep(std::time::Duration::from_millis(50));
        meter.pass_on(&usage);
        assert!(meter.read(&usage) < 40_000_000);
    }

    #[test]
    fn short_runs_add_up() {
        let (meter, first, usage) = (Meter::new(), Usage::default(), Usage::default());
        meter.begin(&first);
        let before = kernel_time();
        meter.resume();
        for _ in 0..100_000 {
            meter.pass_on(&usage);
        }
        let used = kernel_time() - before;
        let told = meter.read(&usage);
        assert!(told > 0 && told <= used + used / 2, "{told} of {used}");
        assert!(meter.read(&usage) >= told);
    }

    #[test]
    fn a_run_is_read_from_elsewhere_while_it_lasts() {
        let (meter, first, usage) = (Meter::new(), Usage::default(), Usage::default());
        meter.begin(&first);
        meter.pass_on(&first);
        compute_ns(10_000_000);
        // SAFETY: no arguments.
        let tid = unsafe { libc::gettid() };
        let told = meter.read_running(&usage, tid);
        assert!((9_000_000..40_000_000).contains(&told), "{told}");
        assert!(meter.read_own(&usage) >= told);
    }

    #[test]
    fn neither_part_of_a_split_goes_back() {
        let usage = Usage::default();
        let (mut user, mut system) = (0, 0);
        for (total, parts) in [(100, (3, 1)), (110, (1, 3)), (120, (1, 0)), (400, (0, 1))] {
            let (u, s) = usage.split(total, parts.0, parts.1);
            assert_eq!(u + s, total);
            assert!(u >= user && s >= system, "{u} {s}");
            (user, system) = (u, s);
        }
        assert_eq!(Usage::default().split(70, 0, 0), (70, 0));
    }
}
