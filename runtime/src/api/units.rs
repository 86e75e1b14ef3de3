//! The state of a semaphore: units and who waits for one. Lies behind its lock.

use super::waiters::Waiters;

/// While somebody waits there are no free units: one that is given back is handed over.
#[derive(Debug)]
pub(super) struct Units {
    free: usize,
    pub(super) waiters: Waiters,
}

impl Units {
    pub(super) const fn new(free: usize) -> Self {
        Units {
            free,
            waiters: Waiters::new(),
        }
    }

    /// Takes a free unit, if there is one.
    pub(super) fn take(&mut self) -> bool {
        let free = self.free > 0;
        self.free -= free as usize;
        free
    }

    /// Gives a unit back, to the first who waits.
    pub(super) fn give(&mut self, process: u32) {
        if !self.waiters.notify_one(process) {
            self.free = self.free.saturating_add(1);
        }
    }

    /// Units that nobody has.
    pub(super) fn free(&self) -> usize {
        self.free
    }
}
