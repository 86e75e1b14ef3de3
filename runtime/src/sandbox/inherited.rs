//! Calls for which a filter kills that was there before the program started (seccomp(2)).
//!
//! Such a filter cannot be read without privileges. One that answers with an errno is met by
//! making the call; one that kills is not to be met at all. So, where there is a filter, a
//! child process tries all calls when the program makes its first thread.
//!
//! # When not
//! - The program has installed a filter itself, before it had a thread: who answers for one
//!   (SECCOMP_RET_USER_NOTIF) may be the very thread that is about to be made. Their number
//!   tells, which is noted at load (`Seccomp_filters` of proc(5), since Linux 5.9).
//! - The thread is not made by clone3(2). A filter sees the flags of clone(2), and may kill for
//!   a clone that makes no thread; those of clone3 it cannot see, and lets all pass or none.
//! - There is no /proc to tell of filters ([`super::unseen`]).
//! - Children are made in another pid namespace, whose first process the child would be.
//!
//! # How
//! The child is a copy of the process. It makes one call after the other, with arguments that
//! the kernel refuses, or by which nothing happens outside of it, and says in shared memory
//! which one it is at. The parent goes on when the child has ended (CLONE_VFORK); if that died
//! of a call, another child goes on behind it. No signal tells of their end. They have memory
//! of their own because older kernels (before 5.16) end every process that has the memory of
//! one whose core is dumped.
//!
//! First a child sees to it that its core is not dumped, and that a timer ends it if a call
//! does not return. The filter may kill for that too: the next child goes without. After
//! [`TIME`] or [`MOST_DEAD`] children, calls that were not tried count as let pass.
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

use core::hint;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use patch_events::events;

use super::unseen;
use crate::arch::{self, syscall1, syscall2, syscall3, syscall4};
use crate::ground::Ground;
use crate::ops::thread::leaves_pid_namespace;
use crate::raw;
use crate::syscalls;
use crate::wanted;

/// A word for each 64 numbers.
static KILLED: [AtomicU64; syscalls::LIMIT.div_ceil(64)] =
    [const { AtomicU64::new(0) }; syscalls::LIMIT.div_ceil(64)];
/// There is one.
static ANY: AtomicBool = AtomicBool::new(false);
/// What is killed is a thread, not the process, as far as is known.
static THREAD: AtomicBool = AtomicBool::new(false);
/// Calls that there was no time to try.
static UNTRIED: AtomicU32 = AtomicU32::new(0);
/// Filters that were there at load.
static AT_LOAD: AtomicU32 = AtomicU32::new(UNKNOWN);
const UNKNOWN: u32 = u32::MAX;

/// How long finding out may take altogether, in nanoseconds.
const TIME: u64 = raw::NS_PER_S;
/// How many children may die of it.
const MOST_DEAD: u32 = 64;

/// Whether a filter kills for this call, as far as is known. Async-signal-safe.
#[inline]
pub fn kills(nr: u64) -> bool {
    ANY.load(Ordering::Relaxed)
        && KILLED
            .get(nr as usize / 64)
            .is_some_and(|word| word.load(Ordering::Relaxed) >> (nr % 64) & 1 != 0)
}

/// Whether what it kills is a thread alone (SECCOMP_RET_KILL_THREAD), or that is not known.
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
pub(super) const NO_FD: u64 = u64::MAX;

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
    // A key of System V's, without IPC_CREAT.
    (libc::SYS_msgget, first(u32::MAX as u64, 0, 0)),
    (libc::SYS_munlock, NONE),
    (libc::SYS_poll, NONE),
    (libc::SYS_prctl, first(libc::PR_GET_DUMPABLE as u64, 0, 0)),
    // No set.
    (
        libc::SYS_rt_sigprocmask,
        [libc::SIG_SETMASK as u64, 0, 0, 8, 0, 0],
    ),
    (libc::SYS_sched_getaffinity, NONE),
    (libc::SYS_sched_getscheduler, NONE),
    (libc::SYS_semget, first(u32::MAX as u64, 0, 0)),
    (libc::SYS_set_tid_address, NONE),
    (libc::SYS_shmget, first(u32::MAX as u64, 0, 0)),
    (libc::SYS_socket, first(libc::AF_UNIX as u64, 0, 0)),
];

/// Calls that are not tried: they do something, or never end, whatever they are told (the kernel
/// notes in its log who calls `remap_file_pages`). The last two are made by the kernel's own code (uretprobe, uprobe), and are a fault elsewhere.
const LEFT_OUT: [i64; 12] = [
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_pause,
    libc::SYS_remap_file_pages,
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
        _ => i64::from(place - BURIAL),
    };
    let tried = syscalls::lookup(nr as u64).is_some() && !LEFT_OUT.contains(&nr);
    let known = ARGUMENTS.iter().find(|&&(of, _)| of == nr);
    tried.then(|| (nr, known.map_or(BAD, |&(_, args)| args)))
}

/// Places of calls by which children are buried.
const BURIAL: u32 = 2;
/// Places that there are.
const PLACES: u32 = BURIAL + syscalls::LIMIT as u32;

/// The library is loaded, and the process's `status` file (proc(5)) has this text.
pub fn note_at_load(status: &[u8]) {
    let (now, order) = (filters(status), Ordering::Relaxed);
    // It was noted already otherwise.
    let _: Result<u32, u32> = AT_LOAD.compare_exchange(UNKNOWN, now, order, order);
}

/// Whether these are the filters of system calls that the process had at load, and it had some.
fn is_inherited(filters: u32) -> bool {
    filters != 0 && filters == AT_LOAD.load(Ordering::Relaxed)
}

/// How many filters the process has, if that can be read.
fn filters_now() -> Option<u32> {
    let (path, mut text) = (c"/proc/self/status", [0u8; 4096]);
    let here = i64::from(libc::AT_FDCWD) as u64;
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as u64;
    // SAFETY: a string and a buffer of ours. The dynamic linker has made these calls.
    let read = unsafe {
        let fd = syscall3(libc::SYS_openat, here, path.as_ptr() as u64, flags);
        if fd < 0 {
            return None;
        }
        let (at, len) = (text.as_mut_ptr() as u64, text.len() as u64);
        let read = syscall3(libc::SYS_read, fd as u64, at, len);
        raw::close(fd as i32);
        read
    };
    let text = text.get(..read.max(0) as usize).unwrap_or_default();
    (!text.is_empty()).then(|| filters(text))
}

/// How many filters the text of a `status` file tells of: 1 if it says only that there are some.
fn filters(status: &[u8]) -> u32 {
    let value = |name: &[u8]| {
        let mut lines = status.split(|&byte| byte == b'\n');
        let digits = lines.find_map(|line| line.strip_prefix(name))?;
        str::from_utf8(digits).ok()?.trim().parse::<u32>().ok()
    };
    value(b"Seccomp_filters:").unwrap_or_else(|| (value(b"Seccomp:") == Some(2)).into())
}

/// What a child tells its parent, in memory that they share; zero at first.
#[repr(C)]
struct Told {
    /// The place that it is at.
    at: AtomicU32,
    /// Which of its preparations it is at, from 1; 0: none.
    preparing: AtomicU32,
    /// Preparations that kill: a bit for each.
    killing: AtomicU32,
    /// Not zero: what comes next is the call by which it is to die.
    ready: AtomicU32,
}

impl Told {
    /// A preparation of a child's, unless one has died of it.
    fn prepare(&self, number: u32, step: impl FnOnce()) {
        if self.killing.load(Ordering::Relaxed) >> number & 1 == 0 {
            self.preparing.store(number + 1, Ordering::Relaxed);
            step();
            self.preparing.store(0, Ordering::Relaxed);
        }
    }
}

/// Preparations that a child makes.
const PREPARATIONS: usize = 4;

/// What a child does first: has no core dumped, and a timer end it at the time `until`.
fn prepare(told: &Told, until: u64) {
    let mut timer = -1i32;
    // SAFETY: words of ours, and settings of the calling process alone.
    unsafe {
        told.prepare(0, || {
            // Unlike the limit, it keeps the core from a program that takes cores, too.
            syscall2(libc::SYS_prctl, libc::PR_SET_DUMPABLE as u64, 0);
        });
        told.prepare(1, || {
            let limit = [0u64; 2];
            let at = limit.as_ptr() as u64;
            syscall4(libc::SYS_prlimit64, 0, libc::RLIMIT_CORE.into(), at, 0);
        });
        told.prepare(2, || {
            // The kernel's `struct sigevent`: a value, a signal, and SIGEV_SIGNAL.
            let event = [0, libc::SIGKILL as u64, 0, 0, 0, 0, 0, 0];
            let (clock, at) = (libc::CLOCK_MONOTONIC as u64, &raw mut timer as u64);
            let made = syscall3(libc::SYS_timer_create, clock, event.as_ptr() as u64, at);
            if made < 0 {
                timer = -1;
            }
        });
        if timer >= 0 {
            told.prepare(3, || {
                let span = [0, 0, until / raw::NS_PER_S, until % raw::NS_PER_S];
                let (how, at) = (libc::TIMER_ABSTIME as u64, span.as_ptr() as u64);
                syscall4(libc::SYS_timer_settime, timer as u64, how, at, 0);
            });
        }
    }
}

/// The word that the kernel clears when the first thread of a child ends beside another.
static ALIVE: AtomicU32 = AtomicU32::new(1);

/// Makes a copy of this process, has it go on in `there` and end, and waits until it has ended.
/// Its id, if there is one.
///
/// # Safety
/// The copy has one thread, and may make system calls alone.
pub(super) unsafe fn copy(there: impl FnOnce()) -> Option<i64> {
    // The kernel's `struct clone_args`, as far as it went at first.
    let mut args = [0u64; 8];
    args[0] = (libc::CLONE_VFORK | libc::CLONE_CHILD_CLEARTID) as u64;
    args[2] = ALIVE.as_ptr() as u64;
    let (at, size) = (args.as_ptr() as u64, size_of_val(&args) as u64);
    // SAFETY: a stack of 0 is the caller's own, of which the copy has one.
    let ret = unsafe { syscall2(libc::SYS_clone3, at, size) };
    if ret == 0 {
        there();
        end(0);
    }
    (ret > 0).then_some(ret)
}

/// What a child does: makes the calls from the place on that it was told.
fn try_calls(told: &Told, until: u64) {
    prepare(told, until);
    loop {
        let place = told.at.load(Ordering::Relaxed);
        if place >= PLACES {
            break;
        }
        if let Some((nr, args)) = call_at(place) {
            // SAFETY: no call does anything (see `ARGUMENTS`).
            unsafe { arch::syscall(nr as u64, args) };
        }
        told.at.store(place + 1, Ordering::Relaxed);
    }
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
fn die_beside_another(told: &Told, until: u64, (nr, args): (i64, [u64; 6])) {
    unsafe extern "C" fn outlive(_: usize) {
        // The filter may kill for waiting.
        while ALIVE.load(Ordering::Acquire) != 0 {
            hint::spin_loop();
        }
        end(OUTLIVED as u64)
    }

    prepare(told, until);
    // SAFETY: ours alone, and of this process; the body uses no libc.
    unsafe {
        if let Some(ground) = Ground::new()
            && ground.start(arch::spawn_thread, outlive, 0) > 0
        {
            told.ready.store(1, Ordering::Relaxed);
            arch::syscall_unasked(nr as u64, args);
        }
    }
}

/// Status of a process of which a thread alone has ended.
const OUTLIVED: i32 = 1;

/// Waits for a child that has ended, or is about to. Its status if it can be had.
pub(super) fn bury(child: i64) -> Option<i32> {
    let any_kind = libc::__WALL as u64;
    if !kills(libc::SYS_wait4 as u64) {
        let mut status = 0i32;
        let at = &raw mut status as u64;
        // SAFETY: a child of ours and a word of ours.
        let ret = unsafe { syscall4(libc::SYS_wait4, child as u64, at, any_kind, 0) };
        return (ret == child).then_some(status);
    }
    if kills(libc::SYS_waitid as u64) {
        return None;
    }
    // The kernel's `siginfo_t`: the code is its third word, the status its seventh.
    let mut info = [0i32; 32];
    let (kind, how) = (libc::P_PID.into(), libc::WEXITED as u64 | any_kind);
    let at = info.as_mut_ptr() as u64;
    // SAFETY: a child of ours and memory of ours.
    let ret = unsafe { syscall4(libc::SYS_waitid, kind, child as u64, at, how) };
    let exited = info[2] == libc::CLD_EXITED;
    (ret == 0).then_some(if exited { info[6] << 8 } else { info[6] })
}

/// Whether a process with this status was ended by a filter.
fn is_killed(status: i32) -> bool {
    status & 0x7f == libc::SIGSYS
}

/// The program makes its first thread with call `nr`: finds out for which calls it would be
/// killed. Every signal must be blocked.
pub fn look(nr: u64) {
    static LOOKED: AtomicBool = AtomicBool::new(false);
    if LOOKED.swap(true, Ordering::Relaxed) || nr as i64 != libc::SYS_clone3 {
        return;
    }
    let Some(filters) = filters_now() else {
        unseen::look();
        return;
    };
    if !is_inherited(filters) || leaves_pid_namespace() {
        return;
    }
    let access = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let flags = (libc::MAP_SHARED | libc::MAP_ANONYMOUS) as u64;
    let len = size_of::<Told>() as u64;
    // SAFETY: a new mapping.
    let shared = unsafe {
        let a = [0, len, access, flags, NO_FD, 0];
        arch::syscall(libc::SYS_mmap as u64, a)
    };
    if (-4095..0).contains(&shared) {
        return;
    }
    // SAFETY: the mapping, which is zero at first and stays until the end of this function.
    let told = unsafe { &*(shared as *const Told) };
    let until = raw::now() + TIME;
    try_all(told, until);
    let mut calls = (0..PLACES).rev().filter_map(call_at);
    let last = calls.find(|&(nr, _)| kills(nr as u64));
    ANY.store(last.is_some(), Ordering::Relaxed);
    if let Some(call) = last {
        arch::ask_before_calls(super::refuses);
        // SAFETY: the copy goes on in a function that makes system calls alone.
        let child = unsafe { copy(|| die_beside_another(told, until, call)) };
        let status = child.and_then(bury);
        let ready = told.ready.load(Ordering::Relaxed) != 0;
        let process = ready && status.is_some_and(is_killed);
        THREAD.store(!process, Ordering::Relaxed);
    }
    // SAFETY: the mapping of above, which nobody uses any more.
    unsafe { syscall2(libc::SYS_munmap, shared as u64, len) };
}

/// Has children try the calls, until all are tried or the time is `until`.
fn try_all(told: &Told, until: u64) {
    // Those that died before it was known how they can be buried, and of which call.
    let mut unburied = [(0i64, None); PREPARATIONS + BURIAL as usize];
    let mut waiting = unburied.iter_mut();
    let mut dead = 0;
    while dead < MOST_DEAD && raw::now() < until {
        // SAFETY: the copy goes on in a function that makes system calls alone.
        let Some(child) = (unsafe { copy(|| try_calls(told, until)) }) else {
            break;
        };
        dead += 1;
        let place = told.at.load(Ordering::Relaxed);
        let call = call_at(place).map(|(nr, _)| nr);
        let preparing = told.preparing.swap(0, Ordering::Relaxed);
        if preparing != 0 {
            told.killing
                .fetch_or(1 << (preparing - 1), Ordering::Relaxed);
            if place >= BURIAL {
                bury(child);
            } else if let Some(one) = waiting.next() {
                *one = (child, None);
            }
        } else if place < BURIAL {
            // What ends a child at that time may be its timer.
            if raw::now() >= until {
                break;
            }
            call.into_iter().for_each(note);
            told.at.store(place + 1, Ordering::Relaxed);
            if let Some(one) = waiting.next() {
                *one = (child, call);
            }
        } else {
            let status = bury(child);
            let Some(nr) = call.filter(|_| status.is_none_or(is_killed)) else {
                break;
            };
            note(nr);
            told.at.store(place + 1, Ordering::Relaxed);
        }
    }
    let at = told.at.load(Ordering::Relaxed);
    if dead > 0 {
        let untried = (at..PLACES).filter_map(call_at).count();
        UNTRIED.store(untried as u32, Ordering::Relaxed);
    }
    if at < BURIAL {
        return;
    }
    for (child, call) in unburied.into_iter().filter(|&(child, _)| child != 0) {
        let otherwise = bury(child).is_some_and(|status| !is_killed(status));
        call.filter(|_| otherwise).into_iter().for_each(forget);
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
    let untried = UNTRIED.load(Ordering::Relaxed) as usize;
    if !any() && untried == 0 {
        return;
    }
    let names: Vec<&str> = (0..syscalls::LIMIT as u64)
        .filter(|&nr| kills(nr))
        .filter_map(syscalls::lookup)
        .map(|call| call.name)
        .collect();
    events::FilterInherited {
        calls: &names.join(", "),
        untried,
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
    fn filters_are_counted_in_the_status() {
        let status = b"NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\nSpeculation";
        assert_eq!(filters(status), 3);
        assert_eq!(filters(b"Seccomp:\t0\nSeccomp_filters:\t0\n"), 0);
        assert_eq!(filters(b"NoNewPrivs:\t0\nSeccomp:\t2\n"), 1);
        assert_eq!(filters(b"Seccomp:\t1\n"), 0);
        assert_eq!(filters(b""), 0);
    }

    #[test]
    fn no_call_that_is_tried_does_anything() {
        let shared = || {
            ["msg", "sem", "shm"].map(|kind| std::fs::read(format!("/proc/sysvipc/{kind}")).ok())
        };
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping.
        let page = unsafe { libc::mmap(core::ptr::null_mut(), 4096, access, flags, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        // SAFETY: our own new page, which is zero and stays.
        let told = unsafe { &*page.cast::<Told>() };
        let before = shared();
        let until = raw::now() + 20 * raw::NS_PER_S;
        // SAFETY: the copy goes on in `try_calls`.
        let child = unsafe { copy(|| try_calls(told, until)) }.unwrap();
        assert_eq!(bury(child), Some(0));
        assert_eq!(told.at.load(Ordering::Relaxed), PLACES);
        assert!(before == shared());
    }
}
