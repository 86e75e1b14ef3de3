//! The futex: wait queues keyed by address, in user space.
//!
//! | file | subject |
//! |---|---|
//! | `table` | the hash table: wait, wake, cancel, and the rules of the hand-off |
//! | `bucket` | one queue and its lock |
//! | `requeue` | operations on two words |
//! | `pi` | futexes that carry their owner's thread id |
//! | `waitv` | one wait on several words |
//! | `robust` | what a dying thread leaves locked |
//! | `waiter` | the node of a wait |
//! | `memory` | how words are read and changed |
//! | `sync` | the atomics underneath |
//!
//! Everything here may run inside a guest's system call: it allocates nothing,
//! takes only its own spin locks, uses no thread-local storage and does not
//! panic. Words are keyed by their address in this process: a word that two
//! processes share, or that is mapped twice, needs the kernel's futex as well.
#![allow(unsafe_code)]

mod bucket;
mod memory;
mod pi;
mod requeue;
mod robust;
mod sync;
mod table;
mod waiter;
mod waitv;

pub use memory::{AtomicOp, Checked, Direct, Memory, Shared};
pub use pi::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS, PiLock};
pub use requeue::WakeOp;
pub use robust::ROBUST_HEAD_SIZE;
pub use table::{MATCH_ANY, Table};
pub use waiter::{Kind, Waiter};
pub use waitv::{WAITV_MAX, WaitEntry};

use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::arch::syscall2;
use bucket::Bucket;
use sync::AtomicU32;

/// Queues of the process's table: 32 bytes each in `.bss`, which count as address space.
pub const BUCKETS: usize = 16_384;

/// So many are enough where memory is limited to less than [`LITTLE`] bytes.
const FEW_BUCKETS: usize = 4096;
const LITTLE: u64 = 1 << 30;

impl<const N: usize> Table<N> {
    /// An empty table.
    #[allow(clippy::new_without_default)] // its only uses are statics
    pub const fn new() -> Self {
        Self::with_buckets([const { Bucket::new(AtomicU32::new(0), AtomicU32::new(0)) }; N])
    }
}

/// The futexes of this process.
pub static TABLE: Table<BUCKETS> = Table::new();

/// Gives back what of the table a process with this limit of memory, in bytes, does not need.
/// Before anybody waits.
pub fn fit(limit: u64) {
    if limit < LITTLE {
        leave(FEW_BUCKETS);
    }
}

/// Gives back nearly all of the table: nobody will wait.
pub fn give_up() {
    leave(1);
}

fn leave(queues: usize) {
    static LEFT: AtomicBool = AtomicBool::new(false);
    if LEFT.swap(true, Ordering::Relaxed) {
        // What was given back may be the program's now.
        return;
    }
    // SAFETY: nobody waits, by the callers' contract, and what is left over is not used again.
    let Range { start, end } = unsafe { TABLE.shrink(queues) };
    let (from, to) = (start.next_multiple_of(PAGE), end & !(PAGE - 1));
    if from < to {
        // SAFETY: whole pages of `.bss` that only the table has.
        unsafe { syscall2(libc::SYS_munmap, from as u64, (to - from) as u64) };
    }
}

const PAGE: usize = 4096;

#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod pi_tests;
#[cfg(test)]
mod tests;
