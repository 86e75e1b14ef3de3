//! Robust locks of a process that is killed.
//!
//! When a kernel thread ends, the kernel marks the robust locks it holds, so that another
//! process learns that their owner died (set_robust_list(2)). It knows the list of the
//! initial thread alone, and only locks with a kernel thread's id in them: those of guests
//! would stay locked for ever in memory that other processes share.
//!
//! So once a guest holds a robust lock while the process has shared memory, an *heir* is
//! made: a process that shares the memory and nothing else, asleep until this one has
//! ended or executed another program. Then it does what the kernel does, and ends. It is
//! no child of the program's, has none of its descriptors and takes no signal.
//!
//! # Synchronization
//! `WANTED` and `STARTED` belong to the hub's kernel thread. The heir looks at the guests'
//! records when nobody changes them any more.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use patch_events::events;

use crate::arch::{self, syscall0, syscall1, syscall2, syscall3, syscall4};
use crate::futex::{Shared, Table};
use crate::ground::Ground;
use crate::guest::Guest;
use crate::hub::{Hub, hub};
use crate::private;
use crate::raw;
use crate::signal;

/// There is shared memory, and no heir yet.
static WANTED: AtomicBool = AtomicBool::new(false);
static STARTED: AtomicBool = AtomicBool::new(false);
/// What the heir waits for: the end of the process, and of a pipe that the program has
/// the other end of.
static PROCESS: AtomicI32 = AtomicI32::new(-1);
static PIPE: AtomicI32 = AtomicI32::new(-1);
/// That end.
static END: AtomicI32 = AtomicI32::new(-1);
/// The heir's id, or `-errno`.
static HEIR: AtomicI32 = AtomicI32::new(0);

/// Memory is shared from now on with other processes, for writing.
pub fn memory_is_shared() {
    if !STARTED.load(Ordering::Relaxed) {
        WANTED.store(true, Ordering::Relaxed);
    }
}

/// Whether [`look`] is to be called.
#[inline]
pub fn is_wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}

/// Makes the heir if `guest`, the caller, holds a robust lock that it would inherit.
#[cold]
pub fn look(guest: &'static Guest) {
    let head = guest.robust_list.get() as u64;
    if head == 0 || guest.is_initial() {
        return;
    }
    // SAFETY: the list is libc's own; an address that is bad is an answer.
    let first = unsafe { arch::read_word(head) };
    if first.is_none_or(|first| first == head) {
        return;
    }
    WANTED.store(false, Ordering::Relaxed);
    STARTED.store(true, Ordering::Relaxed);
    guest.hub().call(guest, || match start() {
        Ok(process) => events::LocksGuarded { process }.emit(),
        Err(errno) => events::LocksNotGuarded { errno }.emit(),
    });
}

/// In a forked child, whose locks have no heir.
pub fn reset_after_fork() {
    if STARTED.swap(false, Ordering::Relaxed) {
        private::close(END.swap(-1, Ordering::Relaxed));
        WANTED.store(true, Ordering::Relaxed);
    }
}

/// Host context. The heir's id, or the errno.
fn start() -> Result<i32, i32> {
    let mask = signal::block_all();
    let made = make();
    signal::restore_kernel_mask(mask);
    made
}

fn make() -> Result<i32, i32> {
    let grounds = (Ground::new(), Ground::new());
    let (Some(first), Some(second)) = grounds else {
        return Err(libc::ENOMEM);
    };
    let _room = private::room();
    let mut pipe = [0i32; 2];
    // SAFETY: the kernel fills `pipe`.
    let ret = unsafe {
        syscall2(
            libc::SYS_pipe2,
            pipe.as_mut_ptr() as u64,
            libc::O_CLOEXEC as u64,
        )
    };
    check(ret)?;
    // SAFETY: no pointers.
    let process = unsafe { syscall2(libc::SYS_pidfd_open, syscall0(libc::SYS_getpid) as u64, 0) };
    let result = check(process).and_then(|process| {
        PROCESS.store(process, Ordering::Relaxed);
        PIPE.store(pipe[0], Ordering::Relaxed);
        // In between, so that the heir is nobody's child that the program could wait for.
        let second = &raw const second as usize;
        // SAFETY: the grounds are new; the body uses no libc, and ends before we go on.
        let child = unsafe { first.start(arch::spawn_process, in_between, second) };
        let child = check(child)?;
        // SAFETY: no pointers.
        unsafe { syscall4(libc::SYS_wait4, child as u64, 0, libc::__WCLONE as u64, 0) };
        raw::close(process);
        check(HEIR.load(Ordering::Relaxed) as i64)
    });
    raw::close(pipe[0]);
    match result {
        Ok(_) => END.store(private::open(|| pipe[1] as i64) as i32, Ordering::Relaxed),
        Err(_) => raw::close(pipe[1]),
    }
    result
}

fn check(ret: i64) -> Result<i32, i32> {
    if ret < 0 {
        Err(-ret as i32)
    } else {
        Ok(ret as i32)
    }
}

unsafe extern "C" fn in_between(ground: usize) {
    // SAFETY: `make` waits for us with the ground in place, and leaves its memory to the
    // heir for ever.
    let heir = unsafe { (*(ground as *const Ground)).start(arch::spawn_process, wait, 0) };
    HEIR.store(heir as i32, Ordering::Relaxed);
}

/// The heir: waits for the end of the process and marks the locks of its guests.
unsafe extern "C" fn wait(_: usize) {
    // Away from the process group, or what kills all of it kills us; and with no
    // descriptor but these two, as 0 and 1.
    // SAFETY: our own copy of the descriptors; structures of ours.
    unsafe {
        syscall0(libc::SYS_setsid);
        let name = c"gevent-heir";
        syscall2(
            libc::SYS_prctl,
            libc::PR_SET_NAME as u64,
            name.as_ptr() as u64,
        );
        // Out of the way of each other first.
        let copy = |fd: &AtomicI32| {
            let fd = fd.load(Ordering::Relaxed) as u64;
            syscall3(libc::SYS_fcntl, fd, libc::F_DUPFD as u64, 2)
        };
        let (a, b) = (copy(&PROCESS), copy(&PIPE));
        syscall2(libc::SYS_dup2, a as u64, 0);
        syscall2(libc::SYS_dup2, b as u64, 1);
        syscall3(libc::SYS_close_range, 2, u32::MAX as u64, 0);
        let mut set = [0, 1].map(|fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        });
        while syscall3(libc::SYS_poll, set.as_mut_ptr() as u64, 2, u64::MAX) < 0 {}
        // A list may lead anywhere.
        signal::restore_kernel_mask(!signal::FAULTS);
        inherit(hub());
        syscall1(libc::SYS_exit_group, 0);
    }
}

fn inherit(hub: &Hub) {
    /// Nobody waits in it: waiters of other processes are the kernel's.
    static NOBODY: Table<1> = Table::new();
    for guest in hub.guests().filter(|guest| !guest.is_initial()) {
        let head = guest.robust_list.get();
        if head != 0 {
            let tid = guest.tid.get() as u32;
            // What is wrong with a list ends its walk, silently in the kernel too.
            let _ = NOBODY.exit_robust_list(&Shared, head, tid, |_| {});
        }
    }
}
