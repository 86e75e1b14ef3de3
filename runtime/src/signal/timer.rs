//! Timers of the program: whom each signals, and the overruns of its last signal.
//!
//! One that signals a thread (SIGEV_THREAD_ID, which libc uses for SIGEV_THREAD) has the
//! kernel signal the kernel thread that all guests share; the timer's id, which comes with
//! the signal, tells which guest is meant.
//!
//! What timer_getoverrun(2) tells is of the signal that was delivered last. For the kernel
//! that is the one that arrived here last, which may still wait for its guest.
//!
//! The table is open: an entry is looked for from the place that its id gives, up to a free
//! one. The kernel counts ids up, so entries rarely meet.
//!
//! # Synchronization
//! As [`super`]. The signal handler reads the table while our code may be writing it: an
//! entry's guest is written before its timer, an entry that moves is in its new place before
//! it leaves the old one, and one that is deleted is among [`DELETED`] before it is gone.

#![allow(unsafe_code)]

use core::ptr;
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use super::{Info, LAST, mask};
use crate::arch::{syscall2, syscall3};
use crate::raw;

/// Entries of the table, a power of two. Their address space, 1.5 MiB, is there once a timer
/// is made, and their memory is used as ids come by that belong there.
const ENTRIES: usize = 1 << 17;
/// Timers a program may have, to be known here: more than RLIMIT_SIGPENDING commonly allows.
const MAX: usize = ENTRIES / 2;

/// Timer of an entry that is free, and of one that is being written.
const FREE: u32 = 0;
const CHANGING: u32 = u32::MAX;

struct Table {
    /// The timer's id and one.
    timer: [AtomicU32; ENTRIES],
    /// 0: it signals the process.
    guest: [AtomicI32; ENTRIES],
    /// Overruns of the last signal that was delivered, and one; 0 if none was.
    overrun: [AtomicI32; ENTRIES],
    used: AtomicUsize,
}

/// Timers of guests that were deleted last, by their keys: a signal of one of them may be on
/// its way.
static DELETED: [AtomicU32; 1024] = [const { AtomicU32::new(FREE) }; 1024];
static DELETIONS: AtomicUsize = AtomicUsize::new(0);
/// No guest's id: whom the signal of such a timer is for.
const NOBODY: i32 = -1;
/// No guest's id: the signal is the process's, and about CPU time that whoever runs has used.
pub(super) const RUNNING: i32 = -2;

static TABLE: AtomicPtr<Table> = AtomicPtr::new(ptr::null_mut());

/// The table, if there ever was a timer.
fn table() -> Option<&'static Table> {
    // SAFETY: null, or memory that is never freed; all zero is an empty table.
    unsafe { TABLE.load(Ordering::Acquire).as_ref() }
}

/// The same, made if need be. `None`: there is no memory.
fn make_table() -> Option<&'static Table> {
    if table().is_none() {
        let memory = raw::reserve(size_of::<Table>())?;
        TABLE.store(memory.cast(), Ordering::Release);
    }
    table()
}

const fn key(timer: i32) -> u32 {
    (timer as u32).wrapping_add(1)
}

/// Where an entry is looked for first.
const fn home(key: u32) -> usize {
    key as usize % ENTRIES
}

const fn after(at: usize) -> usize {
    (at + 1) % ENTRIES
}

impl Table {
    fn key_at(&self, at: usize) -> u32 {
        self.timer[at].load(Ordering::Acquire)
    }

    /// The entry of a timer, or the free one where it would be. The table is never full.
    fn seek(&self, key: u32) -> usize {
        let mut at = home(key);
        while !matches!(self.key_at(at), FREE) && self.key_at(at) != key {
            at = after(at);
        }
        at
    }

    fn write(&self, at: usize, key: u32, guest: i32, overrun: i32) {
        self.timer[at].store(CHANGING, Ordering::Relaxed);
        self.guest[at].store(guest, Ordering::Release);
        self.overrun[at].store(overrun, Ordering::Release);
        self.timer[at].store(key, Ordering::Release);
    }

    /// Frees an entry, after moving those behind it up that were to be there.
    fn remove(&self, mut hole: usize) {
        let mut at = after(hole);
        while self.key_at(at) != FREE {
            let key = self.key_at(at);
            let distance = |from: usize, to: usize| to.wrapping_sub(from) % ENTRIES;
            if distance(home(key), at) >= distance(hole, at) {
                let guest = self.guest[at].load(Ordering::Relaxed);
                self.write(hole, key, guest, self.overrun[at].load(Ordering::Relaxed));
                hole = at;
            }
            at = after(at);
        }
        self.timer[hole].store(FREE, Ordering::Release);
    }
}

/// Remembers a timer by the CPU time of the process, which signals that.
pub fn add_cpu_timer(timer: i32, signal: i32) {
    mask::note_timed(signal);
    // Without room the kernel counts its overruns, and its signals are as any of the process.
    add_timer(timer, RUNNING);
}

/// Takes over the timers that the program made before there was a hub.
pub(super) fn adopt() {
    let path = c"/proc/self/timers";
    let mut text = [0u8; 2048];
    // SAFETY: a path and a buffer of ours.
    let n = unsafe {
        let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as u64;
        let file = syscall2(libc::SYS_open, path.as_ptr() as u64, flags);
        if file < 0 {
            return;
        }
        let to = text.as_mut_ptr() as u64;
        let n = syscall3(libc::SYS_read, file as u64, to, text.len() as u64);
        raw::close(file as i32);
        n
    };
    let Some(text) = usize::try_from(n).ok().and_then(|n| text.get(..n)) else {
        return;
    };
    for (timer, signal) in cpu_timers(core::str::from_utf8(text).unwrap_or("")) {
        add_cpu_timer(timer, signal);
    }
}

/// The timers of proc_pid_timers(5) that signal the process about its own CPU time, and what
/// with.
fn cpu_timers(text: &str) -> impl Iterator<Item = (i32, i32)> {
    let each = text.strip_prefix("ID: ").unwrap_or("").split("\nID: ");
    each.filter_map(|described| {
        let line = |name| {
            described
                .lines()
                .find_map(|line: &str| line.strip_prefix(name))
        };
        let timer = described.lines().next()?.parse().ok()?;
        let signal = line("signal: ")?.split('/').next()?.parse().ok()?;
        let clock = line("ClockID: ")?.parse::<i32>().ok()?;
        let of_process = line("notify: ")?.starts_with("signal/pid");
        let is_meant = of_process && counts_process_time(clock) && (1..=LAST).contains(&signal);
        is_meant.then_some((timer, signal))
    })
}

/// In the id of a clock that counts CPU time, below the complement of a process's id or zero: it
/// is a thread's; and what is counted, of which the last is none such (kernel:
/// posix-timers_types.h).
const OF_THREAD: i32 = 4;
const WHAT: i32 = 3;

/// Whether a clock counts the CPU time of a process.
pub fn counts_process_time(clock: i32) -> bool {
    clock == libc::CLOCK_PROCESS_CPUTIME_ID
        || clock < 0 && clock & OF_THREAD == 0 && clock & WHAT != WHAT
}

/// Remembers whom a timer signals: a guest, or the process (0). False: no room.
pub fn add_timer(timer: i32, guest: i32) -> bool {
    let Some(table) = make_table() else {
        return false;
    };
    let used = table.used.load(Ordering::Relaxed);
    if used == MAX || timer < 0 {
        return false;
    }
    let key = key(timer);
    table.write(table.seek(key), key, guest, 0);
    table.used.store(used + 1, Ordering::Release);
    true
}

/// Forgets a timer.
pub fn remove_timer(timer: i32) {
    let Some(table) = table() else {
        return;
    };
    let used = table.used.load(Ordering::Relaxed);
    if used == 0 || timer < 0 {
        return;
    }
    let at = table.seek(key(timer));
    if table.key_at(at) != FREE {
        if table.guest[at].load(Ordering::Relaxed) > 0 {
            let n = DELETIONS.fetch_add(1, Ordering::Relaxed) % DELETED.len();
            DELETED[n].store(key(timer), Ordering::Release);
        }
        table.remove(at);
        table.used.store(used - 1, Ordering::Release);
    }
}

/// Where a timer is that is known.
fn place(timer: i32) -> Option<(&'static Table, usize)> {
    let table = table()?;
    if table.used.load(Ordering::Acquire) == 0 || timer < 0 {
        return None;
    }
    let at = table.seek(key(timer));
    (table.key_at(at) != FREE).then_some((table, at))
}

/// Id of the guest that a timer signals, or signalled before it was deleted; 0 or [`RUNNING`]
/// for the process.
pub(super) fn owner(timer: i32) -> Option<i32> {
    if let Some((table, at)) = place(timer) {
        return Some(table.guest[at].load(Ordering::Acquire));
    }
    let key = key(timer);
    let mut deleted = DELETED.iter().map(|of| of.load(Ordering::Acquire));
    (key != FREE && deleted.any(|of| of == key)).then_some(NOBODY)
}

/// A signal is delivered, or taken by who waits for it.
pub(super) fn was_taken(info: &Info) {
    if info.code() == libc::SI_TIMER
        && let Some((table, at)) = place(info.pid())
    {
        table.overrun[at].store(info.overrun().saturating_add(1), Ordering::Release);
    }
}

/// The overruns of the last signal of a timer that was delivered here.
pub fn overrun_of(timer: i32) -> Option<i32> {
    let (table, at) = place(timer)?;
    let known = table.overrun[at].load(Ordering::Acquire);
    (known != 0).then(|| known - 1)
}

/// In a forked child, which inherits no timers.
pub(super) fn clear() {
    if DELETIONS.swap(0, Ordering::Relaxed) != 0 {
        DELETED
            .iter()
            .for_each(|of| of.store(FREE, Ordering::Relaxed));
    }
    if let Some(table) = table()
        && table.used.swap(0, Ordering::Relaxed) != 0
    {
        for timer in &table.timer {
            timer.store(FREE, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_by_the_time_of_the_process_are_told_from_others() {
        let text = "ID: 0\nsignal: 27/0000000000000000\nnotify: signal/pid.7\nClockID: -6\n\
                    ID: 3\nsignal: 34/0000000000000001\nnotify: signal/pid.7\nClockID: 2\n\
                    ID: 4\nsignal: 34/0000000000000001\nnotify: signal/pid.7\nClockID: 1\n\
                    ID: 5\nsignal: 10/0000000000000001\nnotify: signal/tid.7\nClockID: 2\n\
                    ID: 6\nsignal: 0/0000000000000001\nnotify: none/pid.7\nClockID: 2\n\
                    ID: 7\nsignal: 40/00";
        assert!(cpu_timers(text).eq([(0, 27), (3, 34)]));
        let thread = libc::CLOCK_THREAD_CPUTIME_ID;
        assert!(![-2, -5, thread, 0].into_iter().any(counts_process_time));
    }

    /// One test: the table is one for the process.
    #[test]
    fn entries_that_meet_are_found_after_others_go() {
        let far = ENTRIES as i32;
        // Four that are to be in the same place, and two behind them.
        let timers = [7, 7 + far, 7 + 2 * far, 8, 9, 7 + 3 * far];
        for (guest, timer) in timers.into_iter().enumerate() {
            assert!(add_timer(timer, guest as i32));
        }
        for gone in [1, 0, 3] {
            remove_timer(timers[gone]);
            remove_timer(timers[gone]);
            let deleted = (timers[gone] != 7).then_some(NOBODY);
            assert_eq!(owner(timers[gone]), deleted);
        }
        for left in [2, 4, 5] {
            assert_eq!(owner(timers[left]), Some(left as i32));
        }
        assert_eq!(owner(-1), None);
        // Its overruns go with it.
        let mut info = Info::of_sender(34, libc::SI_TIMER, timers[5], 0);
        info.set_overrun(3);
        assert_eq!(overrun_of(timers[5]), None);
        was_taken(&info);
        remove_timer(timers[2]);
        assert_eq!(overrun_of(timers[5]), Some(3));
        assert_eq!(overrun_of(timers[4]), None);
        assert!(add_timer(timers[2], 2));
        // The last places and the first ones follow each other.
        for timer in [far - 3, 2 * far - 3, far - 2, far - 1, 0] {
            assert!(add_timer(timer, timer));
        }
        remove_timer(far - 3);
        for timer in [2 * far - 3, far - 2, far - 1, 0] {
            assert_eq!(owner(timer), Some(timer));
        }
        clear();
        assert_eq!(owner(7 + 2 * far), None);
    }
}
