//! Whether a processor runs the hub's guests, as its kernel thread and the monitor agree on it.

use super::sync::{AtomicU32, Ordering, sleep, wake};

/// It runs guests, or waits to.
const HAS: u32 = 0;
/// The monitor is deciding.
const ASKED: u32 = 1;
/// Others run its guests.
const GONE: u32 = 2;

/// See the file's first lines.
#[derive(Debug)]
pub(in super::super) struct Baton(AtomicU32);

impl Baton {
    /// It runs guests if the word is zero.
    pub(super) const fn of(word: AtomicU32) -> Self {
        Baton(word)
    }

    /// Whether others run its guests.
    pub(in super::super) fn is_out(&self) -> bool {
        self.0.load(Ordering::SeqCst) == GONE
    }

    /// Begins to decide. By the monitor.
    pub(super) fn ask(&self) {
        self.0.store(ASKED, Ordering::SeqCst);
    }

    /// Has decided.
    pub(super) fn decide(&self, out: bool) {
        let baton = if out { GONE } else { HAS };
        self.0.store(baton, Ordering::SeqCst);
        wake(&self.0);
    }

    /// Waits until it is decided. Whether others run its guests. On its own kernel thread.
    pub(super) fn settle(&self) -> bool {
        loop {
            match self.0.load(Ordering::SeqCst) {
                ASKED => sleep(&self.0, ASKED),
                baton => return baton == GONE,
            }
        }
    }

    /// It runs guests again. On its own kernel thread, or where there is no other.
    pub(in super::super) fn take_back(&self) {
        self.0.store(HAS, Ordering::SeqCst);
    }
}
