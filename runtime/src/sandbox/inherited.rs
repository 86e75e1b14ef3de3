//! Calls for which a filter kills that was there before the program started (seccomp(2)).
//!
//! Such a filter cannot be read without privileges. One that answers with an errno is met by
//! making the call; one that kills is not to be met at all. So, where there is a filter, a
//! child process tries all calls when the program makes its first thread.
//!
//! # How
//! The child is a copy of the process, made by the call with which the program makes its
//! thread. It makes one call after the other, with arguments that the kernel refuses, or by
//! which nothing happens, and says in shared memory which one it is at. The parent goes on
//! when the child has ended (CLONE_VFORK); if that died of a call, another child goes on
//! behind it. No signal tells of their end. They have memory of their own because older
//! kernels (before 5.16) end every process that has the memory of one whose core is dumped.
//!
//! # What follows
//! The library makes none of these calls ([`refuses`](super::refuses)): they fail for it as
//! where a container denies them. The program's own go to the kernel ([`guard`](super::guard)),
//! which knows of arguments that it lets pass; or, where the kernel would end the thread alone
//! and with it everybody on the hub, the guest ends.
//!
//! # Synchronization
//! Written once, by the thread that starts the hub, before another one of ours runs.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use patch_events::events;

use crate::arch::{self, syscall1, syscall2, syscall3, syscall4};
use crate::ground::Ground;
use crate::raw;
use crate::syscalls;
use crate::wanted;

/// A word for each 64 numbers.
static KILLED: [AtomicU64; syscalls::LIMIT.div_ceil(64)] =
    [const { AtomicU64::new(0) }; syscalls::LIMIT.div_ceil(64)];
/// There is one.
static ANY: AtomicBool = AtomicBool::new(false);
/// What is killed is a thread, not the process.
static THREAD: AtomicBool = AtomicBool::new(false);

/// Whether a filter kills for this call, as far as is known. Async-signal-safe.
#[inline]
pub fn kills(nr: u64) -> bool {
    ANY.load(Ordering::Relaxed)
        && KILLED
            .get(nr as usize / 64)
            .is_some_and(|word| word.load(Ordering::Relaxed) >> (nr % 64) & 1 != 0)
}

/// Whether what it kills is a thread alone (SECCOMP_RET_KILL_THREAD).
pub fn kills_thread() -> bool {
    THREAD.load(Ordering::Relaxed)
}

/// Whether it does so for any call.
pub fn any() -> bool {
    ANY.load(Ordering::Relaxed)
}

/// No call takes these.
const BAD: [u64; 6] = [u64::MAX; 6];
const NONE: [u64; 6] = [0; 6];
/// No descriptor.
const NO_FD: u64 = u64::MAX;

const fn first(a: u64, b: u64, c: u64) -> [u64; 6] {
    [a, b, c, 0, 0, 0]
}

/// Calls that are tried with other arguments than [`BAD`]: some take these, and filters look
/// at those of some.
const ARGUMENTS: &[(i64, [u64; 6])] = &[
    // Shared handlers without shared memory there cannot be.
    (libc::SYS_clone, first(libc::CLONE_SIGHAND as u64, 0, 0)),
    (libc::SYS_clone3, NONE),
    (libc::SYS_fcntl, first(NO_FD, libc::F_GETFL as u64, 0)),
    (
        libc::SYS_futex,
        first(0, (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64, 0),
    ),
    (libc::SYS_ioctl, first(NO_FD, libc::TCGETS2, 0)),
    // No process has this id.
    (libc::SYS_kill, first(i32::MAX as u64, 0, 0)),
    (libc::SYS_madvise, first(0, 0, libc::MADV_DONTNEED as u64)),
    (
        libc::SYS_mmap,
        [
            0,
            0,
            (libc::PROT_READ | libc::PROT_WRITE) as u64,
            (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64,
            NO_FD,
            0,
        ],
    ),
    (
        libc::SYS_mprotect,
        first(0, 0, (libc::PROT_READ | libc::PROT_WRITE) as u64),
    ),
    (libc::SYS_munlock, NONE),
    (libc::SYS_poll, NONE),
    (libc::SYS_prctl, first(libc::PR_GET_DUMPABLE as u64, 0, 0)),
    (libc::SYS_sched_getaffinity, NONE),
    (libc::SYS_sched_getscheduler, NONE),
    (libc::SYS_set_tid_address, NONE),
    (libc::SYS_socket, first(libc::AF_UNIX as u64, 0, 0)),
];

/// Calls that are not tried: they do something, or never end, whatever they are told.
/// The last two are made by the kernel's own code (uretprobe, uprobe), and are a fault elsewhere.
const LEFT_OUT: [i64; 11] = [
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_pause,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigreturn,
    libc::SYS_sync,
    libc::SYS_vhangup,
    335,
    336,
];

/// What a child tries at this place: a call and its arguments, if any. The first two are those
/// by which children are buried.
fn call_at(place: u32) -> Option<(i64, [u64; 6])> {
    let nr = match place {
        0 => libc::SYS_wait4,
        1 => libc::SYS_waitid,
        _ => i64::from(place) - 2,
    };
    let tried = syscalls::lookup(nr as u64).is_some() && !LEFT_OUT.contains(&nr);
    let known = ARGUMENTS.iter().find(|&&(of, _)| of == nr);
    tried.then(|| (nr, known.map_or(BAD, |&(_, args)| args)))
}

/// Places that there are.
const PLACES: u32 = 2 + syscalls::LIMIT as u32;

/// Whether the process has a filter of system calls, by calls that the dynamic linker has made.
fn has_filter() -> bool {
    let (path, mut text) = (c"/proc/self/status", [0u8; 4096]);
    let here = i64::from(libc::AT_FDCWD) as u64;
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as u64;
    // SAFETY: a string and a buffer of ours.
    let read = unsafe {
        let fd = syscall3(libc::SYS_openat, here, path.as_ptr() as u64, flags);
        if fd < 0 {
            return false;
        }
        let (at, len) = (text.as_mut_ptr() as u64, text.len() as u64);
        let read = syscall3(libc::SYS_read, fd as u64, at, len);
        raw::close(fd as i32);
        read
    };
    let text = text.get(..read.max(0) as usize).unwrap_or_default();
    says_filter(text)
}

/// Whether the text of a `status` file (proc(5)) says so.
fn says_filter(text: &[u8]) -> bool {
    const MODE: &[u8] = b"Seccomp:\t2";
    text.split(|&byte| byte == b'\n').any(|line| line == MODE)
}

/// Makes a copy of this process by call `nr`, which is clone(2) or clone3(2), has it go on in
/// `there` and end, and waits until it has ended. Its id, if there is one.
///
/// # Safety
/// The copy has one thread, and may make system calls alone.
unsafe fn copy(nr: i64, there: impl FnOnce()) -> Option<i64> {
    let flags = libc::CLONE_VFORK as u64;
    // The kernel's `struct clone_args`, as far as it went at first.
    let mut args = [0u64; 8];
    args[0] = flags;
    // SAFETY: a stack of 0 is the caller's own, of which the copy has one.
    let ret = unsafe {
        if nr == libc::SYS_clone {
            syscall2(nr, flags, 0)
        } else {
            syscall2(nr, args.as_ptr() as u64, size_of_val(&args) as u64)
        }
    };
    if ret == 0 {
        there();
        end(0);
    }
    (ret > 0).then_some(ret)
}

/// What a child does: makes the calls from the place that `at` says.
fn try_calls(at: &AtomicU32) {
    // SAFETY: no call does anything (see `ARGUMENTS`).
    unsafe {
        leave_no_core();
        loop {
            let place = at.load(Ordering::Relaxed);
            if place >= PLACES {
                break;
            }
            if let Some((nr, args)) = call_at(place) {
                arch::syscall(nr as u64, args);
            }
            at.store(place + 1, Ordering::Relaxed);
        }
    }
}

/// In a child.
fn leave_no_core() {
    let limit = [0u64; 2];
    let at = limit.as_ptr() as u64;
    // SAFETY: a limit of the calling process alone.
    unsafe { syscall4(libc::SYS_prlimit64, 0, libc::RLIMIT_CORE.into(), at, 0) };
}

/// Ends a child.
fn end(status: u64) -> ! {
    loop {
        // SAFETY: the calling process is to end.
        unsafe { syscall1(libc::SYS_exit_group, status) };
    }
}

/// What a child does to find out whether the whole process ends or a thread alone: makes a call
/// that kills, beside another thread that ends the process with a status.
fn die_beside_another(nr: i64, args: [u64; 6]) {
    static ALIVE: AtomicU32 = AtomicU32::new(1);

    unsafe extern "C" fn outlive(_: usize) {
        while ALIVE.load(Ordering::Acquire) != 0 {
            let (at, wait) = (ALIVE.as_ptr() as u64, libc::FUTEX_WAIT as u64);
            // SAFETY: a word of ours. The kernel wakes who waits for a thread's end so.
            unsafe { syscall4(libc::SYS_futex, at, wait, 1, 0) };
        }
        end(OUTLIVED as u64)
    }

    leave_no_core();
    // SAFETY: ours alone, and of this process; the body uses no libc.
    unsafe {
        syscall1(libc::SYS_set_tid_address, ALIVE.as_ptr() as u64);
        if let Some(ground) = Ground::new()
            && ground.start(arch::spawn_thread, outlive, 0) > 0
        {
            arch::syscall(nr as u64, args);
        }
    }
}

/// Status of a process of which a thread alone has ended.
const OUTLIVED: i32 = 1;

/// Waits for a child that has ended. Its status if it can be had.
fn bury(child: i64) -> Option<i32> {
    let mut status = 0i32;
    let any_kind = libc::__WALL as u64;
    if !kills(libc::SYS_wait4 as u64) {
        // SAFETY: a child of ours and a word of ours.
        let ret = unsafe {
            let at = &raw mut status as u64;
            syscall4(libc::SYS_wait4, child as u64, at, any_kind, 0)
        };
        return (ret == child).then_some(status);
    }
    if !kills(libc::SYS_waitid as u64) {
        let (kind, how) = (libc::P_PID.into(), libc::WEXITED as u64 | any_kind);
        // SAFETY: a child of ours; nothing is to be told of it.
        unsafe { syscall4(libc::SYS_waitid, kind, child as u64, 0, how) };
    }
    None
}

/// The program makes its first thread with call `nr`: finds out for which calls it would be
/// killed. Every signal must be blocked.
pub fn look(nr: u64) {
    static LOOKED: AtomicBool = AtomicBool::new(false);
    let nr = nr as i64;
    if LOOKED.swap(true, Ordering::Relaxed)
        || !matches!(nr, libc::SYS_clone | libc::SYS_clone3)
        || !has_filter()
    {
        return;
    }
    let access = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let flags = (libc::MAP_SHARED | libc::MAP_ANONYMOUS) as u64;
    let len = size_of::<AtomicU32>() as u64;
    // SAFETY: a new mapping.
    let shared = unsafe {
        let a = [0, len, access, flags, NO_FD, 0];
        arch::syscall(libc::SYS_mmap as u64, a)
    };
    if (-4095..0).contains(&shared) {
        return;
    }
    // SAFETY: the mapping, which is zero at first and stays until the end of this function.
    let at = unsafe { &*(shared as *const AtomicU32) };
    let mut killed = None;
    // SAFETY: the copy goes on in a function that makes system calls alone.
    while let Some(child) = unsafe { copy(nr, || try_calls(at)) } {
        let place = at.load(Ordering::Relaxed);
        let Some((died_of, args)) = call_at(place) else {
            bury(child);
            break;
        };
        note(died_of);
        if bury(child).is_some_and(|status| status & 0x7f != libc::SIGSYS) {
            // It was something else.
            forget(died_of);
            break;
        }
        killed = Some((died_of, args));
        at.store(place + 1, Ordering::Relaxed);
    }
    // SAFETY: the mapping of above; the copy as there.
    unsafe {
        syscall2(libc::SYS_munmap, shared as u64, len);
        if let Some((of, args)) = killed
            && let Some(child) = copy(nr, || die_beside_another(of, args))
        {
            let status = bury(child);
            THREAD.store(status == Some(OUTLIVED << 8), Ordering::Relaxed);
        }
    }
    ANY.store(killed.is_some(), Ordering::Relaxed);
    if killed.is_some() {
        arch::ask_before_calls(super::refuses);
    }
}

fn note(nr: i64) {
    KILLED[nr as usize / 64].fetch_or(1 << (nr % 64), Ordering::Relaxed);
    ANY.store(true, Ordering::Relaxed);
}

fn forget(nr: i64) {
    KILLED[nr as usize / 64].fetch_and(!(1 << (nr % 64)), Ordering::Relaxed);
}

/// Has every such call of the program's come to [`guard`](super::guard).
pub fn want() {
    for nr in 0..wanted::TABLE_LEN {
        if kills(nr as u64) {
            wanted::want(nr, true);
        }
    }
}

/// Reports what was found, if anything.
pub fn tell() {
    if !any() {
        return;
    }
    let names: Vec<&str> = (0..syscalls::LIMIT as u64)
        .filter(|&nr| kills(nr))
        .filter_map(syscalls::lookup)
        .map(|call| call.name)
        .collect();
    events::FilterInherited {
        calls: &names.join(", "),
    }
    .emit();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_buries_a_child_is_tried_first() {
        assert_eq!(call_at(0).unwrap().0, libc::SYS_wait4);
        assert_eq!(call_at(1).unwrap().0, libc::SYS_waitid);
        assert!((0..PLACES).filter_map(call_at).count() > 200);
        assert!(LEFT_OUT.iter().all(|&nr| call_at(nr as u32 + 2).is_none()));
    }

    #[test]
    fn a_filter_is_seen_in_the_status() {
        assert!(says_filter(
            b"NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"
        ));
        assert!(!says_filter(
            b"NoNewPrivs:\t0\nSeccomp:\t0\nSeccomp_filters:\t0\n"
        ));
        assert!(!says_filter(b""));
    }

    #[test]
    fn no_call_that_is_tried_does_anything() {
        let page = raw::reserve(4096).unwrap();
        // SAFETY: our own new page.
        let at = unsafe { &*page.cast::<AtomicU32>() };
        // SAFETY: the copy goes on in `try_calls`.
        let child = unsafe { copy(libc::SYS_clone, || try_calls(at)) }.unwrap();
        assert_eq!(bury(child), Some(0));
    }
}
