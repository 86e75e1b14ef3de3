//! Scheduling at random, from a seed: finds what depends on the order of guests.
//!
//! `GEVENT_SHIM_CHAOS` asks for it. Whoever is runnable is picked at random instead of
//! in turn, and a guest gives way at random before and after its calls. Both are what a
//! kernel may do with threads, so a program must not notice. The choices follow from the
//! seed and from the order in which the guests make their calls and the kernel's events
//! come, so a program without input and clocks takes the same way again.
//!
//! Off, it costs nothing that is not paid anyway: calls go through the table of
//! [`dispatch`](crate::dispatch), where the operations are then replaced by
//! [`around`], and give way where a preemption asks them to.
//!
//! # Synchronization
//! Used on the hub's kernel thread alone.
#![allow(unsafe_code)]

use core::cell::{Cell, UnsafeCell};

use crate::ops::{Call, Op, Outcome};
use crate::syscalls;

/// Guests among whom the next is chosen: how far one may fall behind stays bounded.
pub const AMONG: u64 = 8;

/// One call in so many gives way, before it and after it.
const OFTEN: u64 = 4;

/// The state of the generator; 0 when nothing is left to chance.
pub struct Chaos(Cell<u64>);

impl Chaos {
    /// Nothing is left to chance.
    pub const fn off() -> Self {
        Chaos(Cell::new(0))
    }

    /// Begins with a seed.
    pub fn begin(&self, seed: u64) {
        // Zero is "off", and small seeds are alike: xorshift64* wants bits.
        self.0.set(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    }

    /// Whether chance decides.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.0.get() != 0
    }

    /// A number below `n`, which is not 0.
    pub fn below(&self, n: u64) -> u64 {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        (x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % n
    }

    /// Whether a guest gives way here.
    pub fn gives_way(&self) -> bool {
        self.below(OFTEN) == 0
    }
}

/// The operations that [`around`] stands for, by number.
///
/// # Synchronization
/// Written where the table of [`dispatch`](crate::dispatch) is.
struct Behind(UnsafeCell<[Option<Op>; syscalls::LIMIT]>);

// SAFETY: see Synchronization.
unsafe impl Sync for Behind {}

static BEHIND: Behind = Behind(UnsafeCell::new([None; syscalls::LIMIT]));

/// Puts [`around`] in the place of every operation of `table`.
///
/// # Safety
/// No guest may run meanwhile.
pub unsafe fn surround(table: &mut [Option<Op>; syscalls::LIMIT]) {
    // SAFETY: the caller's contract.
    let behind = unsafe { &mut *BEHIND.0.get() };
    for (operation, behind) in table.iter_mut().zip(behind) {
        if operation.is_some_and(|operation| operation as usize != around as *const () as usize) {
            *behind = operation.replace(around);
        }
    }
}

/// Every operation, when chance decides: gives way at random, then carries the call out.
///
/// # Safety
/// As an operation's.
unsafe fn around(c: &mut Call<'_>) -> Outcome {
    if !c.hub.in_section() && c.hub.chaos.gives_way() {
        c.hub.give_way(c.guest);
    }
    // SAFETY: written before this function was put in the table.
    match unsafe { (*BEHIND.0.get())[c.frame.rax as usize] } {
        // SAFETY: the caller's contract.
        Some(operation) => unsafe { operation(c) },
        None => Outcome::Native,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_again_and_another_gives_another() {
        let run = |seed| {
            let chaos = Chaos::off();
            assert!(!chaos.is_on());
            chaos.begin(seed);
            assert!(chaos.is_on());
            (0..64).map(|_| chaos.below(8)).collect::<Vec<_>>()
        };
        assert_eq!(run(0), run(0));
        assert_eq!(run(7), run(7));
        assert_ne!(run(1), run(2));
        let seen = run(3);
        assert!((0..8).all(|n| seen.contains(&n)));
    }
}
