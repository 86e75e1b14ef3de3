//! Kernel threads of the program's own beside a hub: those that were there before it, if
//! the program patched late, the threads they make, and those of a
//! [`ThreadPool`](crate::api::ThreadPool).
//!
//! They are no guests: what they wait for the kernel waits for. But they share
//! descriptors, handlers, memory and locks with guests, so these calls of theirs are not
//! the kernel's alone:
//!
//! | call | because |
//! |---|---|
//! | futex | guests wait in the table, which wakes and lets wait both |
//! | close, close_range, dup2, dup3 | what the hub knows of a descriptor is not its successor's, unless the thread has a table of its own |
//! | fcntl, ioctl, setsockopt | what the hub knows of flags and time-outs changes |
//! | rt_sigaction | the kernel has the hub's handlers |
//! | tkill, tgkill, rt_tgsigqueueinfo | the kernel does not know guests |
//! | mmap, shmat, munmap, mprotect | memory that is shared, code, stacks of guests |
//! | clone, fork | the new thread is no guest either; a child has no hub |
//! | exit | who waits for a robust lock may be a guest |
//!
//! A child that such a thread makes with vfork or posix_spawn is on the thread's TCB for a
//! while, and all of its calls are the kernel's.
//!
//! # Errands
//! What the hub keeps belongs to our code, on one kernel thread at a time. So a foreign
//! thread hands a function over and sleeps until a host context has run it. A hub that
//! works looks when a guest parks or gives way; one that goes on for longer is asked to.
//!
//! # Synchronization
//! An errand lies on its maker's stack and is the hub's from the push until its sleeper is
//! woken; every signal is blocked meanwhile, so that no handler leaves that stack. A
//! sleeping hub looks at the list between the publication of `sleeping` and its sleep, as it
//! does at its inbox.
#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

use patch_events::numbers;

use crate::arch::{self, syscall0, syscall3};
use crate::deadline::Deadline;
use crate::dispatch;
use crate::fork;
use crate::frame::Frame;
use crate::futex::{Shared, TABLE};
use crate::guest::life;
use crate::hub::{Hub, hub, processor};
use crate::ops::{self, Outcome};
use crate::parking::{self, Sleeper};
use crate::raw;
use crate::reactor::fds::{self, Doubt};
use crate::sharing;
use crate::signal;
use crate::trace;
use crate::wanted::{self, ExecMapping};

/// The thread-local word of such a thread.
pub const FOREIGN_WORD: usize = 3;

/// How long a hub may take before it is asked with a signal, in nanoseconds.
const PATIENCE: u64 = 2_000_000;

mod errand;
pub mod objects;
mod sync {
    pub(super) use core::sync::atomic::AtomicPtr;
}

use errand::{List, Node};

/// A function for a host context, and who waits for it.
struct Errand {
    run: unsafe fn(*mut (), &'static Hub),
    with: *mut (),
    done: Sleeper,
}

static ERRANDS: List<Errand> = List::new(sync::AtomicPtr::new(ptr::null_mut()));

/// Whether somebody waits for a host context.
pub fn asks() -> bool {
    !ERRANDS.is_empty()
}

/// Host context: runs what was handed over, oldest first.
pub fn answer(hub: &'static Hub) {
    if ERRANDS.is_empty() {
        return;
    }
    ERRANDS.take(|node| {
        // SAFETY: an errand whose maker sleeps until it is woken here.
        unsafe {
            let errand = &(*node).task;
            (errand.run)(errand.with, hub);
            parking::wake_owner(errand.done.owner(), true);
        }
    });
}

/// The caller, which may have been marked as such a thread by a patching in vain, is none:
/// it is to start a hub.
pub fn becomes_first() {
    if arch::current_word() == FOREIGN_WORD {
        arch::set_current_word(0);
    }
}

/// In a forked child, which has none of those that ask.
pub fn reset_after_fork() {
    ERRANDS.clear();
}

/// Has a host context run `f`, and waits for its result. For a foreign thread, while there
/// is a hub.
fn ask<R>(f: impl FnOnce(&'static Hub) -> R) -> R {
    struct Task<F, R> {
        f: Option<F>,
        result: Option<R>,
    }
    unsafe fn run<F: FnOnce(&'static Hub) -> R, R>(task: *mut (), hub: &'static Hub) {
        // SAFETY: the task below, whose maker sleeps.
        let task = unsafe { &mut *task.cast::<Task<F, R>>() };
        if let Some(f) = task.f.take() {
            task.result = Some(f(hub));
        }
    }
    fn runner<F: FnOnce(&'static Hub) -> R, R>(_: &Task<F, R>) -> unsafe fn(*mut (), &'static Hub) {
        run::<F, R>
    }
    let mask = signal::block_all();
    let task = UnsafeCell::new(Task {
        f: Some(f),
        result: None,
    });
    // SAFETY: nobody else has it yet.
    let run = runner(unsafe { &*task.get() });
    let errand = UnsafeCell::new(Node::new(Errand {
        run,
        with: task.get().cast(),
        done: Sleeper::new(),
    }));
    let own = errand.get();
    // SAFETY: it stays until the hub is done with it.
    unsafe { ERRANDS.push(own) };
    let hub = hub();
    hub.notify();
    loop {
        let until = Deadline::monotonic(raw::now() + PATIENCE);
        // SAFETY: `done` is shared with the hub, which writes it as an atomic.
        if unsafe { &(*own).task.done }.sleep(Some(until)) == 0 {
            break;
        }
        hub.urge();
    }
    signal::restore_kernel_mask(mask);
    match task.into_inner().result {
        Some(result) => result,
        // Woken by the hub alone, after the function.
        None => unreachable!("an errand that was not run"),
    }
}

/// A call of a thread that is no guest is about to be made: whether others may close descriptors
/// from then on, past us.
pub fn note_shared_descriptors(nr: i64, frame: &Frame) {
    let of_clone = |flag: i32| life::clone_flags(frame) & flag as u64 != 0;
    let shares = match nr {
        libc::SYS_io_uring_setup => true,
        libc::SYS_clone | libc::SYS_clone3 => {
            of_clone(libc::CLONE_FILES) && !of_clone(libc::CLONE_THREAD)
        }
        _ => false,
    };
    if shares {
        fds::doubt(Doubt::Likely);
    }
}

/// Threads of this kind may have a table of descriptors that is not the hub's.
static APART: AtomicBool = AtomicBool::new(false);

/// Whether the calling thread has one.
fn is_apart() -> bool {
    /// linux/kcmp.h.
    const KCMP_FILES: u64 = 2;
    if !APART.load(Ordering::Relaxed) {
        return false;
    }
    let hubs = processor::first().kernel_tid() as u64;
    // SAFETY: no pointers. Refused, it is as if the table were one.
    unsafe {
        let own = syscall0(libc::SYS_gettid) as u64;
        arch::syscall(libc::SYS_kcmp as u64, [own, hubs, KCMP_FILES, 0, 0, 0]) > 0
    }
}

/// close_range(2) with CLOSE_RANGE_UNSHARE: what is ours stays, as the thread rings the hub's
/// bell.
fn close_range_apart(a: [u64; 6]) -> Option<i64> {
    let (first, last) = (a[0] as u32, a[1] as u32);
    let flags = a[2] & !u64::from(libc::CLOSE_RANGE_UNSHARE);
    if first > last || flags & !u64::from(libc::CLOSE_RANGE_CLOEXEC) != 0 {
        return None;
    }
    APART.store(true, Ordering::Relaxed);
    // SAFETY: no pointers.
    let ret = unsafe { arch::syscall1(libc::SYS_unshare, libc::CLONE_FILES as u64) };
    Some(if ret == 0 {
        ops::fd::close_around_ours(first, last, flags)
    } else {
        ret
    })
}

/// A call of such a thread.
///
/// # Safety
/// `frame` must be of the present call.
pub unsafe fn call(frame: &mut Frame) {
    let nr = frame.rax as i64;
    note_shared_descriptors(nr, frame);
    if matches!(nr, libc::SYS_clone | libc::SYS_clone3) {
        // SAFETY: the present call.
        if let Some(args) = unsafe { life::thread_args(frame) } {
            // SAFETY: the TCB that libc made for the new thread.
            unsafe { arch::set_word_of(args.tls, FOREIGN_WORD) };
            frame.run_native();
            return;
        }
    }
    // SAFETY: no arguments.
    if dispatch::is_running() && unsafe { syscall0(libc::SYS_getpid) } != hub().pid.get() as i64 {
        // The child of a vfork, on its parent's TCB: descriptors and handlers are its own.
        trace::program::about_to_exec(frame);
        // SAFETY: the child's present call.
        if !unsafe { dispatch::of_vforks_child(frame) } {
            frame.run_native();
        }
        return;
    }
    if !dispatch::is_running() {
        dispatch::tell_of_end(frame);
        // SAFETY: the present call.
        if !unsafe { dispatch::of_no_guest(frame) } {
            frame.run_native();
        }
        return;
    }
    // SAFETY: the present call.
    match unsafe { beside_a_hub(nr, frame) } {
        Some(ret) => frame.rax = ret as u64,
        // SAFETY: the present call.
        None if unsafe { dispatch::of_no_guest(frame) } => {}
        None => frame.run_native(),
    }
}

/// `None`: the call is the kernel's. Apart, so that others have a small frame.
///
/// # Safety
/// As [`call`].
#[inline(never)]
unsafe fn beside_a_hub(nr: i64, frame: &mut Frame) -> Option<i64> {
    let a = frame.args();
    let native = || {
        // SAFETY: the thread's own call, unchanged.
        unsafe { arch::syscall(nr as u64, a) }
    };
    match nr {
        libc::SYS_futex => {
            // SAFETY: the present call.
            unsafe { ops::futex::foreign(frame) };
            Some(frame.rax as i64)
        }
        libc::SYS_unshare => {
            if a[0] & libc::CLONE_FILES as u64 != 0 {
                APART.store(true, Ordering::Relaxed);
            }
            None
        }
        libc::SYS_close_range if a[2] & u64::from(libc::CLOSE_RANGE_UNSHARE) != 0 => {
            close_range_apart(a)
        }
        libc::SYS_close_range if is_apart() => {
            let (first, last) = (a[0] as u32, a[1] as u32);
            (first <= last).then(|| ops::fd::close_around_ours(first, last, a[2]))
        }
        libc::SYS_close | libc::SYS_dup2 | libc::SYS_dup3 | libc::SYS_fcntl | libc::SYS_ioctl
            if is_apart() =>
        {
            None
        }
        libc::SYS_close => ask(|hub| ops::fd::close_here(hub, a[0] as i32)).or_else(|| {
            let ret = native();
            ask(|_| ops::fd::closed_elsewhere(a[0] as i32));
            Some(ret)
        }),
        libc::SYS_close_range => ask(|hub| ops::fd::close_range_here(hub, a)),
        libc::SYS_dup2 | libc::SYS_dup3 => ask(|hub| {
            ops::fd::before_dup2(hub, a[0] as i32, a[1] as i32).or_else(|| Some(native()))
        }),
        libc::SYS_fcntl | libc::SYS_ioctl | libc::SYS_setsockopt => {
            let ret = native();
            if ops::fd::changes_flags(nr, a) {
                ask(|_| fds::table().flags_change());
            }
            if ops::connect::changes_options(nr, a) {
                ask(|_| fds::table().options_change());
            }
            Some(ret)
        }
        libc::SYS_getrlimit | libc::SYS_setrlimit | libc::SYS_prlimit64 => {
            let resource = a[(nr == libc::SYS_prlimit64) as usize] as u32;
            (resource == libc::RLIMIT_NOFILE).then(|| ask(|_| numbers::as_program(native)))
        }
        libc::SYS_rt_sigaction => Some(ask(|hub| ops::signal::sigaction(hub, a))),
        libc::SYS_tkill | libc::SYS_tgkill | libc::SYS_rt_tgsigqueueinfo => {
            // SAFETY: no arguments.
            let from = unsafe { arch::syscall0(libc::SYS_gettid) } as i32;
            match ask(|hub| ops::signal::to_thread(hub, from, nr, a)) {
                Outcome::Done(ret) => Some(ret),
                _ => None,
            }
        }
        libc::SYS_munmap | libc::SYS_mprotect => {
            if nr == libc::SYS_mprotect && a[2] & libc::PROT_EXEC as u64 != 0 {
                fds::doubt(Doubt::Possible);
            }
            if !hub().stacks.may_hold(a[0] as usize) {
                let (addr, len) = (a[0] as usize, a[1] as usize);
                if nr == libc::SYS_mprotect || !ops::memory::concerns(addr, len) {
                    return None;
                }
                ask(|_| ops::memory::begin_unmap(addr, len));
                let ret = native();
                ask(|_| ops::memory::end_unmap(ret));
                return Some(ret);
            }
            ask(|hub| match nr {
                libc::SYS_munmap => hub.stacks.unmap(a[0] as usize, a[1] as usize),
                _ => hub
                    .stacks
                    .protect(a[0] as usize, a[1] as usize, a[2] as i32),
            })
        }
        libc::SYS_mmap => {
            let maps = ops::memory::Mapped::of(a);
            let mut addr = native();
            if addr == raw::err(libc::ENOMEM) && ask(|hub| hub.stacks.release()) {
                addr = native();
            }
            if !(-4095..0).contains(&addr) {
                if maps.made_code {
                    fds::doubt(Doubt::Possible);
                }
                if maps.concerns(addr as usize) {
                    ask(|_| maps.note(addr as usize));
                }
                if maps.code {
                    wanted::on_exec_mapping(&ExecMapping::of(a, addr as usize));
                }
            }
            Some(addr)
        }
        libc::SYS_shmat => {
            let addr = native();
            if !(-4095..0).contains(&addr) {
                ask(|_| ops::memory::note_segment(a[0], addr as usize));
            }
            Some(addr)
        }
        libc::SYS_shmdt => {
            ask(|_| sharing::detaching(a[0] as usize));
            None
        }
        libc::SYS_mremap => {
            let moved = ops::memory::Moved::of(a);
            if !moved.concerns() {
                return None;
            }
            ask(|_| moved.begin());
            let ret = native();
            ask(|_| moved.end(ret));
            Some(ret)
        }
        libc::SYS_clone | libc::SYS_clone3 | libc::SYS_fork
            if (life::clone_flags(frame) & libc::CLONE_VM as u64 == 0 || nr == libc::SYS_fork)
                && !fork::gives_stack(nr as u64, a) =>
        {
            ask(|_| fds::table().are_shared());
            Some(fork::fork_foreign(native))
        }
        libc::SYS_clone | libc::SYS_clone3
            if life::clone_flags(frame) & libc::CLONE_CHILD_CLEARTID as u64 != 0 =>
        {
            let word = life::child_tid(frame);
            ask(|_| sharing::cleared_by_kernel(word));
            None
        }
        _ if ops::setxid::is_repeated(nr as u64) => {
            let ret = native();
            // SAFETY: no arguments.
            let tid = unsafe { syscall0(libc::SYS_gettid) } as i32;
            ask(|_| ops::setxid::made_by_foreign(tid));
            Some(ret)
        }
        libc::SYS_exit => {
            release_locks();
            None
        }
        _ => {
            dispatch::tell_of_end(frame);
            None
        }
    }
}

/// What this thread's end does to the robust locks it holds. The kernel, which does it
/// again, wakes no guest.
fn release_locks() {
    let (mut head, mut len) = (0usize, 0usize);
    // SAFETY: the kernel writes two words.
    let (ret, tid) = unsafe {
        (
            syscall3(
                libc::SYS_get_robust_list,
                0,
                &raw mut head as u64,
                &raw mut len as u64,
            ),
            syscall0(libc::SYS_gettid) as u32,
        )
    };
    if ret == 0 && head != 0 {
        // A broken list ends the walk; the kernel is silent about it too.
        let _ = TABLE.exit_robust_list(&Shared, head, tid, |owner| {
            parking::wake_owner(owner, false);
        });
    }
}

#[cfg(test)]
mod interleavings;
