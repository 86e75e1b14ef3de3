//! The lock of the library's own heap.
//!
//! It is not one of libc's or std's: fork must hold it while the child is made, or the
//! child may find the heap as a thread of the pool has just left it. Around the call
//! itself only, in our code, where the guest that forks is not switched out: a handler
//! of `pthread_atfork` would keep it while other guests run, and the monitor, which
//! allocates, would wait for a guest that only the monitor can make room for.
//!
//! # Synchronization
//! That of [`owned_lock`](crate::owned_lock). Who holds it is host code, a thread of ours, a
//! guest's stretch of a few instructions, or a fork; none of them waits for a guest
//! meanwhile.

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use patch_events::{channel, events};

use crate::heap_reserve;
use crate::owned_lock::OwnedLock;
use crate::raw;

/// The heap's.
pub static HEAP: OwnedLock = OwnedLock::new();

/// What is to be told of the heap: 0 nothing, 1 that the kernel gave it no more memory, 2
/// that this was told.
static SHORT: AtomicU8 = AtomicU8::new(0);

/// Not even a little memory was to be had: events, which take some, are left out.
static SPARING: AtomicBool = AtomicBool::new(false);

/// Bytes that are a little; and that there is to be room for until events are told again.
const LITTLE: usize = 1 << 20;
const ENOUGH: usize = 16 << 20;

/// The kernel gave the heap no more memory for `size` bytes. Called with the heap's lock held.
pub fn note_short(size: usize) {
    // Told before, or about to be.
    let _ = SHORT.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
    if size <= LITTLE {
        SPARING.store(true, Ordering::Relaxed);
        // At once: host code may make more of them than the reserve holds.
        channel::spare_memory(true);
    }
}

/// Tells so, once, and then spares what is left until there is more. Called by the monitor.
pub fn tell() {
    if SHORT.load(Ordering::Relaxed) == 1 {
        SHORT.store(2, Ordering::Relaxed);
        // This one is to be told.
        channel::spare_memory(false);
        events::MemoryShort {}.emit();
        channel::spare_memory(SPARING.load(Ordering::Relaxed));
        return;
    }
    if SPARING.load(Ordering::Relaxed) {
        let enough = raw::has_room(ENOUGH);
        SPARING.store(!enough, Ordering::Relaxed);
        channel::spare_memory(!enough);
        if enough {
            heap_reserve::begin();
        }
    }
}
