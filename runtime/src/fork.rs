//! fork: the child keeps the calling guest alone.
//!
//! POSIX gives the child one thread. The child goes back to being a program
//! without a hub: its one thread runs bare, and its first `pthread_create` adopts
//! it again, on the host context that fork copied. may is never entered again.
#![allow(unsafe_code)]

use crate::arch;
use crate::catch;
use crate::control;
use crate::dispatch::{self, Phase};
use crate::foreign;
use crate::futex;
use crate::heap_lock::HEAP;
use crate::heir;
use crate::hub::processor;
use crate::monitor;
use crate::offload;
use crate::ops::Call;
use crate::owned_lock::Sleep;
use crate::proc_files;
use crate::reactor::fds;
use crate::signal;
use crate::trace::{self, sample};

/// What a child begins with: whether the ring of events was held, and the mask of signals.
struct Child {
    held: bool,
    mask: u64,
}

/// Forks by `native`, with what the child must not find half changed held still. `Ok`: the
/// parent, or no child.
fn split(native: impl FnOnce() -> i64) -> Result<i64, Child> {
    let held = trace::before_fork();
    let mask = signal::block_all();
    let held_heap = HEAP.lock(Sleep::Kernel);
    let ret = native();
    if held_heap.is_ok() {
        HEAP.unlock(Sleep::Kernel);
    }
    if ret == 0 {
        return Err(Child { held, mask });
    }
    signal::restore_kernel_mask(mask);
    trace::stayed(held);
    Ok(ret)
}

/// Forks on a kernel thread that is no guest, by `native`, while there is a hub. The child has
/// this thread alone and stays bare: there is no host context on it.
pub fn fork_foreign(native: impl FnOnce() -> i64) -> i64 {
    let Child { held, mask } = match split(native) {
        Ok(ret) => return ret,
        Err(child) => child,
    };
    arch::set_current_word(0);
    dispatch::set_phase(Phase::Off);
    HEAP.forget_waiting();
    monitor::reset_after_fork();
    proc_files::close_after_fork();
    control::reset_after_fork();
    foreign::reset_after_fork();
    // SAFETY: the only thread of the child, and every waiter's owner is gone.
    unsafe { futex::TABLE.reset() };
    sample::reset_after_fork();
    // SAFETY: no arguments.
    trace::forked(held, unsafe { arch::syscall0(libc::SYS_getpid) } as i32);
    signal::restore_kernel_mask(mask);
    0
}

/// Forks. Returns the child's id in the parent and 0 in the child.
///
/// # Safety
/// Called by dispatch with a guest's present call that asks for a new process
/// with memory of its own.
pub unsafe fn fork(c: &mut Call<'_>) -> i64 {
    // The kernel knows a parent, and a tracer of its child, as a kernel thread.
    c.guest.stay_on(processor::here());
    fds::table().are_shared();
    // SAFETY: the guest's own call; the child continues on a copy of this stack.
    let Child { held, .. } = match split(|| unsafe { arch::syscall(c.frame.rax, c.a) }) {
        Ok(ret) => return ret,
        Err(child) => child,
    };
    signal::become_bare(c.guest);
    catch::reset_after_fork();
    arch::set_current_word(0);
    dispatch::set_phase(Phase::Bare);
    HEAP.forget_waiting();
    let hub = c.hub;
    // SAFETY: the only thread of the child.
    if let Some(reactor) = unsafe { hub.take_reactor() } {
        reactor.abandon();
    }
    hub.reset_after_fork();
    fds::table().reset_after_fork();
    offload::reset_after_fork();
    monitor::reset_after_fork();
    proc_files::close_after_fork();
    heir::reset_after_fork();
    foreign::reset_after_fork();
    dispatch::start_anywhere();
    control::reset_after_fork();
    // SAFETY: the only thread of the child, and every waiter's owner is gone.
    unsafe { futex::TABLE.reset() };
    sample::reset_after_fork();
    trace::forked(held, hub.pid.get());
    hub.leave_shim();
    signal::restore_kernel_mask(signal::mask_of_bare());
    0
}
