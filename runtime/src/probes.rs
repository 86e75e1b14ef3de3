//! Static probe points (USDT) for bpftrace, perf and SystemTap: the only file that knows
//! the crate for them.
//!
//! | probe of `gevent` | arguments |
//! |---|---|
//! | `park` | thread id, number of the call |
//! | `wake` | thread id |
//! | `spawn` | thread id, its creator's |
//! | `exit` | thread id |
//! | `patch` | address of the site |
//!
//! A probe that nobody watches is a load and a branch; its arguments are not computed.
//! `bpftrace -e 'usdt:./libgevent_shim.so:gevent:park { @[arg1] = count(); }'` counts what
//! parks. Guest mode and signal handlers may pass any of them.
#![allow(unsafe_code)]

use crate::guest::Guest;

/// A probe point, in a build that has any.
macro_rules! probe {
    ($name:ident, $($argument:expr),+) => {
        if cfg!(feature = "events") {
            probe::probe_lazy!(gevent, $name, $($argument),+);
        }
    };
}

/// A guest leaves the CPU in its present call.
#[inline(always)]
pub fn park(guest: &Guest) {
    probe!(park, guest.tid.get(), number(guest));
}

#[cold]
fn number(guest: &Guest) -> u64 {
    // SAFETY: a guest that parks is in a call, whose frame is on its stack.
    unsafe { guest.frame.get().as_ref() }.map_or(u64::MAX, |frame| frame.rax)
}

/// A parked guest becomes runnable.
#[inline(always)]
pub fn wake(guest: &Guest) {
    probe!(wake, guest.tid.get());
}

/// A guest is made.
#[inline(always)]
pub fn spawn(guest: &Guest, creator: &Guest) {
    probe!(spawn, guest.tid.get(), creator.tid.get());
}

/// A guest ends.
#[inline(always)]
pub fn exit(guest: &Guest) {
    probe!(exit, guest.tid.get());
}

/// A site leads to us from now on. The address is where it is in the process.
#[inline(always)]
pub fn patch(address: u64) {
    probe!(patch, address);
}
