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
//! through [`as_program`], so that it never sees a raised one. A new process or program has the
//! limit of the moment: it is made while the limit is [held](hold), and who wants a [`Room`]
//! then waits a little.
#![allow(unsafe_code)]

use std::arch::asm;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::event::now;

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
/// The hard limit, to which it was raised. Written under the lock.
static HARD: AtomicU64 = AtomicU64::new(0);
/// How many want the limit to be the program's. Written under the lock.
static HELD: AtomicU64 = AtomicU64::new(0);
/// It is held for so long that nobody waits for the end any more.
static LASTS: AtomicBool = AtomicBool::new(false);

/// How long the end of a hold is waited for, in nanoseconds: longer than most children of
/// vfork(2) take to their exec.
const PATIENCE: u64 = 10_000_000;

/// Says whether a call may be made, by its number and arguments: a filter of system calls may
/// end the process for it.
type May = fn(u64, &[u64; 6]) -> bool;
static MAY: OnceLock<May> = OnceLock::new();

/// From now on `may` is asked before each call about the limit. Only the first call counts.
pub fn ask_first(may: May) {
    let _ = MAY.set(may);
}

fn may(nr: u64, args: &[u64; 6]) -> bool {
    MAY.get().is_none_or(|may| may(nr, args))
}

/// asm/unistd_64.h and asm-generic/resource.h.
const SCHED_YIELD: u64 = 24;
const PRLIMIT64: u64 = 302;
const NOFILE: u64 = 7;

/// Lets others run for a moment.
fn pause() {
    if may(SCHED_YIELD, &[0; 6]) {
        rustix::thread::sched_yield();
    } else {
        std::hint::spin_loop();
    }
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
        pause();
    }
    true
}

fn unlock() {
    LOCK.store(false, Ordering::Release);
}

fn locked<R>(f: impl FnOnce() -> R) -> R {
    lock(u32::MAX);
    let result = f();
    unlock();
    result
}

/// prlimit64(2) of this process: the limits as they were. `None`: it must not be made, or was
/// refused.
fn prlimit(new: Option<[u64; 2]>) -> Option<(u64, u64)> {
    let to = new.as_ref().map_or(ptr::null(), ptr::from_ref);
    let mut old = [0u64; 2];
    let args = [0, NOFILE, to as u64, &raw mut old as u64, 0, 0];
    if !may(PRLIMIT64, &args) {
        return None;
    }
    let mut result = PRLIMIT64;
    // SAFETY: reads and writes structures of ours, which live until it is over.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    (result == 0).then_some((old[0], old[1]))
}

/// Soft and hard limit as the kernel has them; `None` if it may not be asked.
pub fn limits() -> Option<(u64, u64)> {
    prlimit(None)
}

fn set(soft: u64, hard: u64) -> Option<(u64, u64)> {
    prlimit(Some([soft, hard]))
}

/// Under the lock.
fn raise() {
    if HELD.load(Ordering::Relaxed) > 0 {
        return;
    }
    // Who may not change limits does with the numbers below them.
    if let Some((soft, hard)) = limits()
        && soft < hard
        && set(hard, hard).is_some()
    {
        HARD.store(hard, Ordering::Relaxed);
        THEIRS.store(soft, Ordering::Relaxed);
    }
}

/// Under the lock, or in a forked child.
fn lower() {
    let soft = THEIRS.swap(NOT_RAISED, Ordering::Relaxed);
    if soft == NOT_RAISED {
        return;
    }
    let hard = HARD.load(Ordering::Relaxed);
    if let Some(found) = set(soft, hard)
        && found != (hard, hard)
    {
        // Set meanwhile by a call that is no site of ours, or another process: that counts.
        set(found.0, found.1);
    }
}

/// The first number to try where the limit is not raised: any, if it is not known.
fn lowest_below_limit() -> u64 {
    limits().map_or(0, |(soft, _)| lowest(soft, soft))
}

fn is_to_wait() -> bool {
    HELD.load(Ordering::Relaxed) > 0 && !LASTS.load(Ordering::Relaxed)
}

fn wait_while_held() {
    if !is_to_wait() {
        return;
    }
    let until = now().saturating_add(PATIENCE);
    while is_to_wait() {
        if now() >= until {
            LASTS.store(true, Ordering::Relaxed);
            return;
        }
        pause();
    }
}

/// From here on the limit is the program's own: a process or program is about to be made, which
/// has it for good.
pub fn hold() {
    locked(|| HELD.fetch_add(1, Ordering::Relaxed));
    // Who is opening something is soon done.
    for _ in 0..LOOKS {
        if THEIRS.load(Ordering::Relaxed) == NOT_RAISED {
            return;
        }
        pause();
    }
    locked(lower);
}

/// What [`hold`] began is over.
pub fn release() {
    locked(|| {
        if HELD.fetch_sub(1, Ordering::Relaxed) == 1 {
            LASTS.store(false, Ordering::Relaxed);
            if ROOMS.load(Ordering::Relaxed) > 0 {
                raise();
            }
        }
    });
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
        Room::with_looks(u32::MAX).unwrap_or_else(Room::below_limit)
    }

    /// The same in a signal handler. One that has interrupted who changes the limit has to do
    /// with the numbers that there are.
    pub fn make_in_handler() -> Room {
        Room::with_looks(LOOKS).unwrap_or_else(Room::below_limit)
    }

    /// `None`: the lock was not free.
    fn with_looks(looks: u32) -> Option<Room> {
        loop {
            wait_while_held();
            if !lock(looks) {
                return None;
            }
            let room = (!is_to_wait()).then(Room::under_lock);
            unlock();
            if room.is_some() {
                return room;
            }
        }
    }

    fn below_limit() -> Room {
        Room {
            lowest: lowest_below_limit(),
            counts: false,
        }
    }

    fn under_lock() -> Room {
        if ROOMS.fetch_add(1, Ordering::Relaxed) == 0 {
            raise();
        }
        let lowest = match THEIRS.load(Ordering::Relaxed) {
            NOT_RAISED => lowest_below_limit(),
            soft => lowest(soft, HARD.load(Ordering::Relaxed)),
        };
        Room {
            lowest,
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

/// In a forked child, whose only thread has no [`Room`], and of which its parent [holds](hold)
/// the limit.
pub fn reset_after_fork() {
    ROOMS.store(0, Ordering::Relaxed);
    HELD.store(0, Ordering::Relaxed);
    LASTS.store(false, Ordering::Relaxed);
    lower();
    unlock();
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
        let before = limits().unwrap();
        let outer = Room::make();
        let inner = Room::make();
        assert_eq!(outer.lowest(), inner.lowest());
        assert_eq!(limits().unwrap().0, before.1);
        assert_eq!(as_program(limits), Some(before));
        drop(outer);
        assert_eq!(limits().unwrap().0, before.1);
        drop(inner);
        assert_eq!(limits(), Some(before));
    }
}
