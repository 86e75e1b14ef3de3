//! Timers that signal one thread (SIGEV_THREAD_ID, which libc uses for
//! SIGEV_THREAD).
//!
//! The kernel signals the kernel thread that all guests share; the timer's id,
//! which comes with the signal, tells which guest is meant.
//!
//! # Synchronization
//! As [`super`]. The signal handler reads the table while our code may be writing
//! an entry: an entry's guest is written before its timer.

use core::cell::Cell;
use core::sync::atomic::{Ordering, compiler_fence};

/// Timers of this kind a program may have.
const MAX: usize = 256;
/// Timer of an entry that is free.
const FREE: i32 = -1;

struct Table {
    timer: [Cell<i32>; MAX],
    guest: [Cell<i32>; MAX],
}

// SAFETY: see Synchronization.
#[allow(unsafe_code)]
unsafe impl Sync for Table {}

static TABLE: Table = Table {
    timer: [const { Cell::new(FREE) }; MAX],
    guest: [const { Cell::new(0) }; MAX],
};

/// Remembers whom a timer signals. False: no room.
pub fn add_timer(timer: i32, guest: i32) -> bool {
    let Some(at) = TABLE.timer.iter().position(|t| t.get() == FREE) else {
        return false;
    };
    TABLE.guest[at].set(guest);
    compiler_fence(Ordering::SeqCst);
    TABLE.timer[at].set(timer);
    true
}

/// Forgets a timer.
pub fn remove_timer(timer: i32) {
    if let Some(entry) = TABLE.timer.iter().find(|t| t.get() == timer) {
        entry.set(FREE);
    }
}

/// Id of the guest that a timer signals.
pub(super) fn owner(timer: i32) -> Option<i32> {
    let at = TABLE.timer.iter().position(|t| t.get() == timer)?;
    Some(TABLE.guest[at].get())
}

/// In a forked child, which inherits no timers.
pub(super) fn clear() {
    for entry in &TABLE.timer {
        entry.set(FREE);
    }
}
