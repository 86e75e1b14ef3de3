//! fork: the child keeps the calling guest alone.
//!
//! POSIX gives the child one thread. The child goes back to being a program
//! without a hub: its one thread runs bare, and its first `pthread_create` adopts
//! it again, on the host context that fork copied. may is never entered again.
#![allow(unsafe_code)]

use patch_events::numbers;

use crate::arch::{self, syscall2};
use crate::catch;
use crate::control;
use crate::dispatch::{self, Phase};
use crate::foreign;
use crate::futex;
use crate::guest::Guest;
use crate::heap_lock::HEAP;
use crate::heir;
use crate::host;
use crate::hub::{hub, processor};
use crate::monitor;
use crate::offload;
use crate::ops::{Call, rseq, setxid};
use crate::owned_lock::Sleep;
use crate::preload;
use crate::private;
use crate::proc_files;
use crate::reactor::fds;
use crate::sandbox;
use crate::sharers;
use crate::signal;
use crate::trace::{self, sample};

/// A call that forks, as it is made in its caller's place: on our own stack, of which the child
/// has a copy, and with our thread pointer. What it asks for besides the child is given later.
struct Request {
    nr: u64,
    args: [u64; 6],
    flags: u64,
    /// What clone3(2) is given, where that is what the kernel can take.
    structure: Option<[u64; Request::WORDS]>,
    /// The child's stack pointer and thread pointer, where they are not the caller's.
    stack: Option<u64>,
    tls: Option<u64>,
}

impl Request {
    const WORDS: usize = 16;
    /// Of `struct clone_args`: its words.
    const STACK: usize = 5;
    const STACK_SIZE: usize = 6;
    const TLS: usize = 7;

    fn of(nr: u64, args: [u64; 6]) -> Request {
        let mut request = Request {
            nr,
            args,
            flags: 0,
            structure: None,
            stack: None,
            tls: None,
        };
        let (stack, tls);
        match nr as i64 {
            libc::SYS_clone => {
                (request.flags, stack, tls) = (args[0], args[1], args[4]);
                request.args[0] &= !(libc::CLONE_SETTLS as u64);
                request.args[1] = 0;
            }
            libc::SYS_clone3 => {
                let Some(mut words) = Self::structure(args[0], args[1]) else {
                    return request;
                };
                request.flags = words[0];
                // Where it begins, which is low.
                stack = words[Self::STACK].wrapping_add(words[Self::STACK_SIZE]);
                tls = words[Self::TLS];
                words[0] &= !(libc::CLONE_SETTLS as u64);
                words[Self::STACK..=Self::TLS].fill(0);
                request.structure = Some(words);
            }
            _ => return request,
        }
        request.stack = (stack != 0).then_some(stack);
        request.tls = (request.flags & libc::CLONE_SETTLS as u64 != 0).then_some(tls);
        request
    }

    /// Copies the structure. `None`: the kernel will refuse it.
    fn structure(from: u64, size: u64) -> Option<[u64; Request::WORDS]> {
        /// CLONE_ARGS_SIZE_VER0.
        const FIRST_SIZE: u64 = 64;
        let mut words = [0; Request::WORDS];
        let fits = (FIRST_SIZE..=size_of_val(&words) as u64).contains(&size);
        let to = words.as_mut_ptr().cast();
        // SAFETY: not longer than the copy; the program's own structure.
        if !fits || !unsafe { arch::copy(to, from as *const u8, size as usize) } {
            return None;
        }
        // One without the other.
        ((words[Self::STACK] == 0) == (words[Self::STACK_SIZE] == 0)).then_some(words)
    }

    /// Makes the call.
    ///
    /// # Safety
    /// As the caller's own call.
    unsafe fn make(&self) -> i64 {
        let mut args = self.args;
        if let Some(structure) = &self.structure {
            args[0] = structure.as_ptr() as u64;
        }
        // SAFETY: the caller's contract; the child goes on on a copy of this stack.
        unsafe { arch::syscall(self.nr, args) }
    }

    /// Whether the child shares its parent's table of descriptors.
    fn shares_descriptors(&self) -> bool {
        self.flags & libc::CLONE_FILES as u64 != 0
    }
}

/// What a child begins with: whether the ring of events was held, and the mask of signals.
struct Child {
    held: bool,
    mask: u64,
}

/// Forks by `native`, with what the child must not find half changed held still. `Ok`: the
/// parent, or no child.
fn split(native: impl FnOnce() -> i64) -> Result<i64, Child> {
    numbers::hold();
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
    numbers::release();
    Ok(ret)
}

/// Whether the child of such a call begins on a stack of its own.
pub fn gives_stack(nr: u64, args: [u64; 6]) -> bool {
    Request::of(nr, args).stack.is_some()
}

/// Forks on a kernel thread that is no guest, by `native`, while there is a hub. The child has
/// this thread alone and stays bare: there is no host context on it.
pub fn fork_foreign(native: impl FnOnce() -> i64) -> i64 {
    let Child { held, mask } = match split(native) {
        Ok(ret) => return ret,
        Err(child) => child,
    };
    // First: everything of ours that is given back here asks it.
    sandbox::reset_after_fork();
    signal::relatives::forked_from(hub().pid.get());
    preload::forget_children();
    let _floats = arch::DefaultFloats::begin();
    arch::set_current_word(0);
    dispatch::set_phase(Phase::Off);
    HEAP.forget_waiting();
    host::keep_timer_stack();
    monitor::reset_after_fork();
    numbers::reset_after_fork();
    proc_files::close_after_fork();
    control::reset_after_fork();
    foreign::reset_after_fork();
    // SAFETY: the only thread of the child, and every waiter's owner is gone.
    unsafe { futex::TABLE.reset() };
    sample::reset_after_fork();
    sharers::reset_after_fork();
    // SAFETY: no arguments.
    trace::forked(held, unsafe { arch::syscall0(libc::SYS_getpid) } as i32);
    signal::restore_kernel_mask(mask);
    0
}

/// Gives the kernel thread of a child what was its guest's alone.
fn become_kernel_thread(guest: &Guest) {
    guest.sched.give_to_child();
    let name = guest.name.get();
    let at = name.as_ptr() as u64;
    // SAFETY: a string of ours, which ends within 16 bytes.
    unsafe { syscall2(libc::SYS_prctl, libc::PR_SET_NAME as u64, at) };
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
    let request = Request::of(c.frame.rax, c.a);
    // SAFETY: the guest's own call.
    let Child { held, .. } = match split(|| unsafe { request.make() }) {
        Ok(ret) => {
            if ret > 0 {
                signal::note_child(ret as i32, c.guest);
            }
            return ret;
        }
        Err(child) => child,
    };
    sandbox::reset_after_fork();
    signal::relatives::forked_from(c.hub.pid.get());
    preload::forget_children();
    numbers::reset_after_fork();
    private::set_shared(request.shares_descriptors());
    if let Some(stack) = request.stack {
        c.frame.rsp = stack;
    }
    signal::become_bare(c.guest);
    if !c.guest.is_initial() {
        become_kernel_thread(c.guest);
        rseq::give_to_child(c.guest, processor::here());
    }
    catch::reset_after_fork();
    arch::set_current_word(0);
    dispatch::set_phase(Phase::Bare);
    HEAP.forget_waiting();
    host::keep_timer_stack();
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
    setxid::reset_after_fork();
    heir::reset_after_fork();
    foreign::reset_after_fork();
    dispatch::start_anywhere();
    control::reset_after_fork();
    // SAFETY: the only thread of the child, and every waiter's owner is gone.
    unsafe { futex::TABLE.reset() };
    sample::reset_after_fork();
    sharers::reset_after_fork();
    trace::forked(held, hub.pid.get());
    hub.leave_shim();
    signal::restore_kernel_mask(signal::mask_of_bare());
    if let Some(tls) = request.tls {
        // SAFETY: what the program asked for; nothing of ours is used any more.
        unsafe { syscall2(libc::SYS_arch_prctl, ARCH_SET_FS, tls) };
    }
    0
}

/// asm/prctl.h.
const ARCH_SET_FS: u64 = 0x1002;
