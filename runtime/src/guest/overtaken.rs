//! A guest that is woken for a lock again and again, and finds it taken each time.
//!
//! On a kernel a woken thread soon runs beside who woke it. Here that one goes on until it
//! parks, and if it takes the lock again before, whoever was woken comes too late, every
//! time: a lock that is held during most waits is never anybody else's. Such a waiter shows
//! by its calls: it waits for the same word to change from the same value, and wakes nobody
//! between. Whoever wakes it then gives way at once, while the lock is free. A consumer that
//! only ever waits looks the same; there the price is one switch in [`PATIENCE`] wakes.
//!
//! # Synchronization
//! Read and written by library code alone, under its lock.

use core::cell::Cell;

/// Wakes for nothing before that is done.
const PATIENCE: u32 = 4;

/// The waits of a guest on futexes. All zero: none.
#[derive(Debug, Default)]
pub struct Overtaken {
    word: Cell<usize>,
    value: Cell<u32>,
    times: Cell<u32>,
}

impl Overtaken {
    /// The guest begins to wait for the word at `address` to change from `value`.
    #[inline]
    pub fn waits(&self, address: usize, value: u32) {
        if (self.word.get(), self.value.get()) == (address, value) {
            self.times.set(self.times.get() + 1);
        } else {
            self.word.set(address);
            self.value.set(value);
            self.times.set(1);
        }
    }

    /// The guest wakes somebody: it had what it waited for.
    #[inline]
    pub fn wakes(&self) {
        self.times.set(0);
    }

    /// The guest is woken. Whether whoever does it is to give way.
    #[inline]
    pub fn is_woken(&self) -> bool {
        let due = self.times.get() >= PATIENCE;
        if due {
            self.times.set(0);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `waits`, each ended by a wake, had the waker give way.
    fn given_way(guest: &Overtaken, waits: impl IntoIterator<Item = (usize, u32)>) -> usize {
        waits
            .into_iter()
            .filter(|&(address, value)| {
                guest.waits(address, value);
                guest.is_woken()
            })
            .count()
    }

    #[test]
    fn a_waiter_that_finds_its_lock_taken_is_given_way_to_now_and_then() {
        let guest = Overtaken::default();
        assert_eq!(given_way(&guest, [(8, 2); PATIENCE as usize - 1]), 0);
        assert_eq!(given_way(&guest, [(8, 2)]), 1);
        assert_eq!(given_way(&guest, [(8, 2); 10 * PATIENCE as usize]), 10);
    }

    #[test]
    fn other_words_and_other_values_are_other_waits() {
        let guest = Overtaken::default();
        let words = (0..100).map(|i| (8 + i % 2 * 4, 2));
        assert_eq!(given_way(&guest, words), 0);
        let values = (0..100).map(|i| (8, i));
        assert_eq!(given_way(&guest, values), 0);
    }

    #[test]
    fn who_wakes_others_had_its_lock() {
        let guest = Overtaken::default();
        for _ in 0..100 {
            guest.waits(8, 2);
            assert!(!guest.is_woken());
            guest.wakes();
        }
    }
}
