//! Starts the kernel threads of further processors.
//!
//! They are threads of libc's that libc no longer lists or counts: a forked child must not
//! take their stacks, one of which is its host context, and they do not keep a program
//! alive. They are made before the program has a second guest.
#![allow(unsafe_code)]

use std::sync::mpsc;

use patch_events::events;

use super::{Hub, Processor, processor};
use crate::arch::{self, syscall0};
use crate::guest::Guest;
use crate::host::HOST_WORD;
use crate::libc_threads;
use crate::signal;

/// Bytes of a host context's stack.
const STACK: usize = 512 << 10;

/// Makes as many as there are to be, with the one that calls, up to
/// [`processor::MAX`]. Host context, for `guest`, the only one, with every signal blocked.
pub fn start(hub: &'static Hub, guest: &Guest, wanted: usize) {
    if wanted < 2 {
        return;
    }
    hub.begin_several(wanted, guest);
    let mut count = 1;
    while count < wanted && add(hub, processor::at(count)) {
        count += 1;
    }
    signal::look_at_descriptors();
    processor::set_count(count);
    if count < wanted {
        let reason = "there can be no further kernel threads";
        events::HubsLimited {
            hubs: count,
            reason,
        }
        .emit();
    }
    for processor in &processor::each()[1..] {
        events::HubStarted {
            // SAFETY: host context; the reference ends with the statement.
            reactor: unsafe { hub.reactor() }.name(),
            kernel_tid: processor.kernel_tid(),
        }
        .emit();
    }
}

fn add(hub: &'static Hub, processor: &'static Processor) -> bool {
    let (ready, outcome) = mpsc::channel();
    let spawned = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            let thread_pointer = arch::fs_base();
            // SAFETY: the TCB this runs on.
            unsafe { processor.settle_on(thread_pointer) };
            // SAFETY: the context is nobody's yet; no arguments.
            unsafe {
                (*processor.ctx.get()).fs = thread_pointer;
                processor.set_kernel_tid(syscall0(libc::SYS_gettid) as i32);
            }
            signal::take_own_stack();
            signal::take_mask();
            // The starter waits.
            let _ = ready.send(thread_pointer);
            drop(ready);
            arch::set_current_word(HOST_WORD);
            hub.join(processor)
        });
    let Ok(thread_pointer) = spawned
        .map_err(|_| ())
        .and_then(|_| outcome.recv().map_err(|_| ()))
    else {
        return false;
    };
    libc_threads::discount(1);
    // SAFETY: the thread never ends, and nobody makes or ends one now.
    unsafe { libc_threads::unlist(thread_pointer) };
    true
}
