//! Where descriptors of our own have their numbers: where the program gets none.
//!
//! A program gets the lowest number that is free below its soft RLIMIT_NOFILE, and `EMFILE`
//! where there is none. Ours lie above that limit wherever the hard one leaves room. The
//! kernel gives such a number only while the soft limit is higher: it is raised for as long as
//! a [`Room`] lives, which is a few system calls.
//!
//! # Synchronization
//! One spin lock, held around the calls that change the limit and nothing else. A thread that
//! takes it must not run handlers of the program that make a thread wait for it: takers are the
//! threads of the library, and guests in its code. The program's own calls about the limit go
//! through [`as_program`], so that it never sees a raised one.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

/// The highest soft limit above which numbers are given. A fork copies the table of
/// descriptors up to the highest one.
const HIGHEST: u64 = 4096;

/// What most programs have as their limit, and select(2) always has.
const USUAL: u64 = 1024;

/// Numbers that are wanted below the hard limit; and those that must be between the limits for
/// ours to be there.
const WANTED: u64 = 64;
const LEAST: u64 = 32;

/// The first number to try under these limits.
fn lowest(soft: u64, hard: u64) -> u64 {
    let above = if soft > HIGHEST {
        USUAL
    } else {
        soft.max(USUAL)
    };
    let lowest = above.min(hard - WANTED.min(hard / 2));
    if lowest < soft && soft <= HIGHEST && hard - soft >= LEAST {
        soft
    } else {
        lowest
    }
}

static LOCK: AtomicBool = AtomicBool::new(false);
/// How many [`Room`]s there are. Written under the lock.
static ROOMS: AtomicU64 = AtomicU64::new(0);
/// The program's soft limit while it is raised; [`NOT_RAISED`] while it is not. Written under
/// the lock.
static THEIRS: AtomicU64 = AtomicU64::new(NOT_RAISED);
const NOT_RAISED: u64 = u64::MAX;

/// Says whether the process may set limits now: a filter of system calls may end it for that.
static MAY_RAISE: OnceLock<fn() -> bool> = OnceLock::new();

/// From now on `may_raise` is asked before the limit is raised. Only the first call counts.
pub fn ask_first(may_raise: fn() -> bool) {
    let _ = MAY_RAISE.set(may_raise);
}

/// Looks at the lock of a signal handler, which may have interrupted its holder.
const LOOKS: u32 = 100;

fn lock(mut looks: u32) -> bool {
    while LOCK
        .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
        .is_err()
    {
        if looks == 0 {
            return false;
        }
        looks = looks.saturating_sub((looks != u32::MAX) as u32);
        rustix::thread::sched_yield();
    }
    true
}

fn locked<R>(f: impl FnOnce() -> R) -> R {
    lock(u32::MAX);
    let result = f();
    LOCK.store(false, Ordering::Release);
    result
}

/// Soft and hard limit as the kernel has them.
pub fn limits() -> (u64, u64) {
    let limit = getrlimit(Resource::Nofile);
    let number = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
    (number(limit.current), number(limit.maximum))
}

fn set(soft: u64, hard: u64) -> Option<(u64, u64)> {
    let limit = |number: u64| (number != u64::MAX).then_some(number);
    let limits = Rlimit {
        current: limit(soft),
        maximum: limit(hard),
    };
    let old = prlimit(None, Resource::Nofile, limits).ok()?;
    let number = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
    Some((number(old.current), number(old.maximum)))
}

/// Under the lock.
fn raise() {
    let (soft, hard) = limits();
    // Who may not change limits does with the numbers below them.
    let may_raise = MAY_RAISE.get().is_none_or(|may_raise| may_raise());
    if may_raise && soft < hard && set(hard, hard).is_some() {
        THEIRS.store(soft, Ordering::Relaxed);
    }
}

/// Under the lock, or in a forked child.
fn lower() {
    let soft = THEIRS.swap(NOT_RAISED, Ordering::Relaxed);
    if soft == NOT_RAISED {
        return;
    }
    let (_, hard) = limits();
    if let Some(found) = set(soft.min(hard), hard)
        && found != (hard, hard)
    {
        // Set meanwhile by a call that is no site of ours, or another process: that counts.
        set(found.0, found.1);
    }
}

/// While this lives descriptors can be opened beyond the program's soft limit.
#[derive(Debug)]
pub struct Room {
    lowest: u64,
    /// It is one of [`ROOMS`].
    counts: bool,
}

impl Room {
    /// Raises the limit, unless it is.
    pub fn make() -> Room {
        locked(Room::under_lock)
    }

    /// The same in a signal handler. One that has interrupted who changes the limit has to do
    /// with the numbers that there are.
    pub fn make_in_handler() -> Room {
        if lock(LOOKS) {
            let room = Room::under_lock();
            LOCK.store(false, Ordering::Release);
            return room;
        }
        let (soft, _) = limits();
        Room {
            lowest: lowest(soft, soft),
            counts: false,
        }
    }

    fn under_lock() -> Room {
        if ROOMS.fetch_add(1, Ordering::Relaxed) == 0 {
            raise();
        }
        let (soft, hard) = limits();
        Room {
            lowest: lowest(soft.min(THEIRS.load(Ordering::Relaxed)), hard),
            counts: true,
        }
    }

    /// The first number for a descriptor of ours.
    pub fn lowest(&self) -> i32 {
        self.lowest as i32
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if !self.counts {
            return;
        }
        locked(|| {
            if ROOMS.fetch_sub(1, Ordering::Relaxed) == 1 {
                lower();
            }
        });
    }
}

/// Makes a call of the program's that reads or sets the limit.
pub fn as_program<R>(call: impl FnOnce() -> R) -> R {
    locked(|| {
        let raised = THEIRS.load(Ordering::Relaxed) != NOT_RAISED;
        lower();
        let result = call();
        if raised {
            raise();
        }
        result
    })
}

/// In a forked child, whose only thread has no [`Room`].
pub fn reset_after_fork() {
    ROOMS.store(0, Ordering::Relaxed);
    lower();
    LOCK.store(false, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_above_the_soft_limit_where_there_is_room() {
        for (soft, hard, number) in [
            (8, 1 << 20, 1024),
            (64, 1024, 960),
            (1024, 1 << 19, 1024),
            (4096, 1 << 19, 4096),
            (8, 200, 136),
            (64, 100, 64),
            (512, 544, 512),
        ] {
            assert_eq!(lowest(soft, hard), number, "{soft} {hard}");
            assert!(number >= soft);
        }
    }

    #[test]
    fn numbers_fit_the_hard_limit() {
        for (soft, hard, number) in [
            (u64::MAX, u64::MAX, 1024),
            (1 << 20, 1 << 20, 1024),
            (1024, 1024, 960),
            (256, 256, 192),
            (128, 128, 64),
            (127, 127, 64),
            (100, 110, 55),
            (3, 3, 2),
            (0, 0, 0),
        ] {
            assert_eq!(lowest(soft, hard), number, "{soft} {hard}");
        }
    }

    #[test]
    fn the_program_does_not_see_a_raised_limit() {
        let before = limits();
        let outer = Room::make();
        let inner = Room::make();
        assert_eq!(outer.lowest(), inner.lowest());
        assert_eq!(limits().0, before.1);
        assert_eq!(as_program(limits), before);
        drop(outer);
        assert_eq!(limits().0, before.1);
        drop(inner);
        assert_eq!(limits(), before);
    }
}
