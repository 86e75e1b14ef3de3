//! Filters of system calls (seccomp(2)): those that the program installs while it has a hub.
//! What is done about one that was there before is in [`inherited`].
//!
//! A filter binds the kernel thread that installs it, and the threads that this one makes.
//! Here that kernel thread runs all guests, so that the kernel holds all of them to a filter
//! that only one has asked for. What is done about that:
//!
//! 1. All guests gather on the first hub's kernel thread, which alone is bound. Before the
//!    filter is installed, [`bpf`] tells which calls of the library's own it does not
//!    let pass. Without those of the reactor the hub *stands down* ([`install`]): it lets go
//!    of io_uring and of its epoll instance, sleeps on a futex, and calls that wait are made as
//!    they are on threads of the pool, which are made before the filter binds anybody.
//! 2. Afterwards every call of the library's own asks [`refuses`] first and fails with EPERM
//!    instead of meeting the filter: no signal for the program, no death. What such a call
//!    stood for gives way to the program's own call, as where a container denies it.
//! 3. The program's own calls pass through [`guard`], which asks the filters of the guest: those
//!    it installed, inherited, or got from one that was for all. What they do not let pass goes
//!    to the kernel unchanged, which answers with the error, the signal or the death that the
//!    program has asked for. A call that only the filters of others do not let pass is
//!    made on a thread of the pool; and where theirs are stricter than its own, the guest is given
//!    the error or the signal, or ends, as its own ask for. One for which a
//!    supervisor answers (seccomp_unotify(2)), which may be another guest, is made on a kernel
//!    thread that is made for it and so has the filter; if that lets pass what such a thread
//!    does itself, and the call is not about the thread that makes it.
//!
//! # Synchronization
//! The list of filters only grows, and is written by a guest in our code, under the giant
//! lock. `BINDS` is set after the kernel has taken the filter.
#![allow(unsafe_code)]

pub mod bpf;
pub mod elsewhere;
pub mod guard;
pub mod inherited;
pub mod install;
pub mod unseen;

use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering};

use crate::arch;
use crate::dispatch;
use crate::foreign::FOREIGN_WORD;
use crate::host::POOL_WORD;
use bpf::{Data, Instruction};

/// SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_THREAD.
const ALLOW: u32 = 0x7fff_0000;
const KILL_THREAD: u32 = 0;
/// SECCOMP_RET_KILL_PROCESS.
const KILL_PROCESS: u32 = 0x8000_0000;
/// SECCOMP_RET_ACTION_FULL and SECCOMP_RET_DATA: the parts of an answer.
const ACTION: u32 = 0xffff_0000;
const DATA: u32 = 0xffff;
/// SECCOMP_RET_ERRNO.
const ERRNO: u32 = 0x0005_0000;
/// SECCOMP_RET_TRAP.
const TRAP: u32 = 0x0003_0000;
/// SECCOMP_RET_USER_NOTIF.
const NOTIFY: u32 = 0x7fc0_0000;
/// AUDIT_ARCH_X86_64.
const ARCH: u32 = 0xc000_003e;

/// A filter that is installed; never freed.
pub struct Filter {
    /// What the program has asked for.
    code: Vec<Instruction>,
    /// What the kernel has been given, if that is something else.
    given: Option<Vec<Instruction>>,
    /// The one that was installed before, whoever it is for.
    older: *const Filter,
    /// The one that bound the thread that installed this one.
    parent: *const Filter,
}

impl Filter {
    /// Whether `this`, or none, is among `newest` and those that bind with it.
    fn is_among(this: *const Filter, newest: *const Filter) -> bool {
        let mut at = newest;
        loop {
            if ptr::eq(at, this) {
                return true;
            }
            // SAFETY: filters are never freed.
            match unsafe { at.as_ref() } {
                Some(filter) => at = filter.parent,
                None => return false,
            }
        }
    }
}

static NEWEST: AtomicPtr<Filter> = AtomicPtr::new(ptr::null_mut());

/// Kernel threads that filters bind: [`NOBODY`], [`HUBS`] or [`ALL`].
static BINDS: AtomicU8 = AtomicU8::new(NOBODY);
const NOBODY: u8 = 0;
/// Those that run guests.
const HUBS: u8 = 1;
/// Ours too.
const ALL: u8 = 2;

/// The hub waits without a reactor.
static DOWN: AtomicBool = AtomicBool::new(false);

/// A guest is in strict mode: who then makes another call is killed as by SIGKILL.
static STRICT: AtomicBool = AtomicBool::new(false);

/// Whether the hub has stood down.
pub fn is_down() -> bool {
    DOWN.load(Ordering::Relaxed)
}

/// Whether a filter is installed that is known.
pub fn is_on() -> bool {
    BINDS.load(Ordering::Relaxed) != NOBODY
}

/// What a guest's own filters, of which this is the newest, answer to a call: SECCOMP_RET_*.
fn action(newest: *const Filter, nr: u64, args: &[u64; 6]) -> u32 {
    ask(newest, nr, args, |filter| (&filter.code, filter.parent))
}

/// What the kernel answers to a call: SECCOMP_RET_*.
fn answer(nr: u64, args: &[u64; 6]) -> u32 {
    let newest = NEWEST.load(Ordering::Acquire);
    ask(newest, nr, args, |filter| {
        (filter.given.as_ref().unwrap_or(&filter.code), filter.older)
    })
}

/// Whether the kernel lets a call pass.
fn lets_pass(nr: u64, args: &[u64; 6]) -> bool {
    bpf::lets_pass(answer(nr, args))
}

/// Whether an answer is an error that says that something is used up, which the library knows
/// to do without.
fn is_shortage(action: u32) -> bool {
    let errno = (action & DATA) as i32;
    action & ACTION == ERRNO
        && matches!(
            errno,
            libc::ENOSPC | libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::EAGAIN
        )
}

/// Asks a filter, and the others to which the second part of what `step` gives leads.
fn ask(
    mut at: *const Filter,
    nr: u64,
    args: &[u64; 6],
    step: impl Fn(&'static Filter) -> (&'static Vec<Instruction>, *const Filter),
) -> u32 {
    let data = Data {
        nr: nr as u32,
        arch: ARCH,
        instruction_pointer: 0,
        args: *args,
    };
    let mut action = ALLOW;
    // SAFETY: filters are never freed.
    while let Some(filter) = unsafe { at.as_ref() } {
        let (code, next) = step(filter);
        // The kernel has taken the filter, so there is no error.
        let its = bpf::run(code, &data).unwrap_or(KILL_THREAD);
        action = bpf::stricter(action, its);
        at = next;
    }
    action
}

/// Whether a call of the library's own must not be made on the calling kernel thread.
/// Async-signal-safe.
pub fn refuses(nr: u64, args: &[u64; 6]) -> bool {
    let bound = match BINDS.load(Ordering::Relaxed) {
        NOBODY => false,
        HUBS => !matches!(arch::current_word(), 0 | POOL_WORD | FOREIGN_WORD),
        _ => true,
    };
    inherited::kills(nr)
        || bound && {
            let answer = answer(nr, args);
            !bpf::lets_pass(answer) && !is_shortage(answer)
        }
}

/// In a forked child, whose only thread has the filters of the hub's.
pub fn reset_after_fork() {
    if is_on() {
        BINDS.store(ALL, Ordering::Relaxed);
    }
    DOWN.store(false, Ordering::Relaxed);
}

/// Whether a hub may be started although there are filters.
///
/// # Errors
/// That there are: a child of a program that has filters makes its threads as it would
/// without the library.
pub fn may_start() -> Result<(), &'static str> {
    if is_on() {
        return Err("a filter of system calls is installed");
    }
    Ok(())
}

/// Puts [`guard`] before every operation of the guests.
fn guard_operations() {
    dispatch::guard_operations();
}
