//! Calls that are carried out elsewhere while their guest is parked: on a thread of the
//! pool, or by io_uring where it has the operation.
//!
//! What waits for a disk is always handed over. A call on a path or descriptor is made
//! on the hub when its file system is a local one, and handed over when it waits for
//! others ([`mounts`]).
//!
//! A thread of the pool shares with the guest what the kernel keeps for a process: the
//! descriptors, the current directory, the umask, record locks, System V undo lists.
#![allow(unsafe_code)]

use io_uring::{opcode, types};

use super::{Call, Outcome, proc_view};
use crate::arch::{self, syscall2};
use crate::guest::{OnRing, Reason};
use crate::mounts;
use crate::offload;
use crate::raw::{self, ERESTARTNOHAND, ERESTARTNOINTR, ERESTARTSYS, err};
use crate::reactor::ring::Entry;
use crate::sandbox::elsewhere;
use crate::syscalls::{self, How, Restart};

/// The operation of an offloaded row.
pub fn operation(how: How) -> super::Op {
    match how {
        How::Always => always,
        How::Path => path,
        How::PathAt => path_at,
        How::Paths => paths,
        How::Descriptor => descriptor,
    }
}

/// What the call in the guest's frame returns after a signal ended its wait.
pub(super) fn interrupted(c: &Call<'_>) -> i64 {
    match syscalls::lookup(c.frame.rax).map(|row| row.restart) {
        Some(Restart::OnSaRestart | Restart::SocketTimeout) => ERESTARTSYS,
        Some(Restart::NoHandler) => ERESTARTNOHAND,
        Some(Restart::Always) => ERESTARTNOINTR,
        _ => err(libc::EINTR),
    }
}

/// Makes the guest's call on the pool, until it ends or, if the call can be
/// interrupted, a signal ends it. With every thread of the pool busy: when one is free.
pub(super) fn hand_over(c: &Call<'_>) -> Outcome {
    let nr = c.frame.rax as i64;
    let waits = syscalls::lookup(c.frame.rax)
        .is_some_and(|row| !matches!(row.restart, Restart::Uninterrupted));
    if !waits {
        return Outcome::Done(offload::run(c.guest, nr, c.a));
    }
    match offload::run_interruptible(c.guest, nr, c.a) {
        Some(ret) if ret == err(libc::EINTR) => Outcome::Done(interrupted(c)),
        Some(ret) => Outcome::Done(ret),
        None => Outcome::Done(offload::run(c.guest, nr, c.a)),
    }
}

/// As [`hand_over`], for what no signal ends.
pub(super) fn hand_over_uninterrupted(c: &Call<'_>) -> Outcome {
    if limits_file_size(c) {
        return Outcome::Native;
    }
    Outcome::Done(offload::run(c.guest, c.frame.rax as i64, c.a))
}

/// First and longest wait between two tries while every thread of the pool is busy, in
/// nanoseconds.
const FIRST_NAP: u64 = 200_000;
const LONGEST_NAP: u64 = 10_000_000;

/// A call that waits for others: `attempt` makes it without waiting, and answers `None`
/// if it would. Then the kernel waits, on a thread of the pool. With every thread busy,
/// perhaps with calls that wait for this very guest, or no thread at all, the tries go on
/// after naps.
pub(super) fn wait(c: &Call<'_>, mut attempt: impl FnMut() -> Option<i64>) -> Outcome {
    let mut nap = FIRST_NAP;
    loop {
        if let Some(ret) = attempt() {
            return Outcome::Done(ret);
        }
        if let Some(ret) = on_pool(c).or_else(|| rest(c, &mut nap)) {
            return Outcome::Done(ret);
        }
    }
}

/// As [`wait`], for a call that cannot be tried: without any thread it stops the hub.
pub(crate) fn wait_untried(c: &Call<'_>) -> Outcome {
    let mut nap = FIRST_NAP;
    loop {
        if let Some(ret) = on_pool(c) {
            return Outcome::Done(ret);
        }
        if offload::is_missing() {
            return Outcome::Native;
        }
        if let Some(ret) = rest(c, &mut nap) {
            return Outcome::Done(ret);
        }
    }
}

/// As [`wait_untried`], for a call that must not wait for a thread of the pool either, since all
/// of them may have calls that wait for what this one is about: one is made for it then. Where
/// there can be none the call is made here, once `is_ready`.
pub(super) fn wait_for_others(c: &Call<'_>, is_ready: impl Fn() -> bool) -> Outcome {
    let mut nap = FIRST_NAP;
    loop {
        if let Some(ret) = on_pool(c).or_else(|| on_own_thread(c)) {
            return Outcome::Done(ret);
        }
        if is_ready() {
            return Outcome::Native;
        }
        if let Some(ret) = rest(c, &mut nap) {
            return Outcome::Done(ret);
        }
    }
}

/// The call on a kernel thread that is made for it; `None` if there can be none.
fn on_own_thread(c: &Call<'_>) -> Option<i64> {
    if !elsewhere::lets_thread_make(c.frame.rax, &c.a) {
        return None;
    }
    let ret = offload::run_bound(c.guest, c.frame.rax as i64, c.a)?;
    Some(ended(c, ret))
}

/// What the guest's call returns, of which a kernel thread of ours got `ret`.
fn ended(c: &Call<'_>, ret: i64) -> i64 {
    if ret == err(libc::EINTR) {
        interrupted(c)
    } else {
        ret
    }
}

/// The call on a thread of the pool; `None` if none takes it.
fn on_pool(c: &Call<'_>) -> Option<i64> {
    let ret = offload::run_interruptible(c.guest, c.frame.rax as i64, c.a)?;
    Some(ended(c, ret))
}

/// A nap, and the next one's length; the call's result if a signal ends it.
fn rest(c: &Call<'_>, nap: &mut u64) -> Option<i64> {
    let reason = c.hub.park(c.guest, Some(raw::now() + *nap), true);
    *nap = (*nap * 2).min(LONGEST_NAP);
    (reason == Reason::Signal).then(|| interrupted(c))
}

unsafe fn always(c: &mut Call<'_>) -> Outcome {
    if limits_file_size(c) {
        // The signal for a file that grows too large goes to the thread that made the
        // call.
        return Outcome::Native;
    }
    if let Some((code, entry)) = entry(c)
        // SAFETY: the reference ends with the statement.
        && unsafe { c.hub.reactor() }.supports(code)
        // SAFETY: as above.
        && unsafe { c.hub.reactor() }.submit(c.guest, -1, entry, OnRing::Once)
    {
        offload::wait_in_flight(c.guest);
        let ret = c.guest.result.get();
        // Nobody cancels it but who gives the ring up.
        if ret != err(libc::ECANCELED) {
            return Outcome::Done(ret);
        }
    }
    hand_over(c)
}

/// The call as an operation of io_uring, which takes the caller's credentials and
/// current directory with it.
fn entry(c: &Call<'_>) -> Option<(u8, Entry)> {
    let a = c.a;
    let fd = types::Fd(c.fd(0));
    let here = types::Fd(libc::AT_FDCWD);
    let path = |index: usize| a[index] as *const libc::c_char;
    Some(match c.frame.rax as i64 {
        libc::SYS_fsync => (opcode::Fsync::CODE, opcode::Fsync::new(fd).build()),
        libc::SYS_fdatasync => {
            let flags = types::FsyncFlags::DATASYNC;
            let entry = opcode::Fsync::new(fd).flags(flags).build();
            (opcode::Fsync::CODE, entry)
        }
        libc::SYS_fallocate => {
            let entry = opcode::Fallocate::new(fd, a[3])
                .offset(a[2])
                .mode(a[1] as i32)
                .build();
            (opcode::Fallocate::CODE, entry)
        }
        libc::SYS_ftruncate => (
            opcode::Ftruncate::CODE,
            opcode::Ftruncate::new(fd, a[1]).build(),
        ),
        libc::SYS_unlink => (
            opcode::UnlinkAt::CODE,
            opcode::UnlinkAt::new(here, path(0)).build(),
        ),
        libc::SYS_unlinkat => {
            let entry = opcode::UnlinkAt::new(fd, path(1))
                .flags(a[2] as i32)
                .build();
            (opcode::UnlinkAt::CODE, entry)
        }
        libc::SYS_rename => (
            opcode::RenameAt::CODE,
            opcode::RenameAt::new(here, path(0), here, path(1)).build(),
        ),
        libc::SYS_renameat | libc::SYS_renameat2 => {
            let flags = if c.frame.rax as i64 == libc::SYS_renameat2 {
                a[4] as u32
            } else {
                0
            };
            let entry = opcode::RenameAt::new(fd, path(1), types::Fd(c.fd(2)), path(3))
                .flags(flags)
                .build();
            (opcode::RenameAt::CODE, entry)
        }
        _ => return None,
    })
}

/// Whether the call may make a file larger than the process may.
fn limits_file_size(c: &Call<'_>) -> bool {
    matches!(
        c.frame.rax as i64,
        libc::SYS_fallocate
            | libc::SYS_ftruncate
            | libc::SYS_truncate
            | libc::SYS_copy_file_range
            | libc::SYS_write
            | libc::SYS_pwrite64
            | libc::SYS_writev
            | libc::SYS_pwritev
            | libc::SYS_pwritev2
    ) && file_size_limit() != libc::RLIM_INFINITY
}

fn file_size_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: 0,
    };
    // SAFETY: writes to `limit`.
    unsafe {
        syscall2(
            libc::SYS_getrlimit,
            libc::RLIMIT_FSIZE as u64,
            &raw mut limit as u64,
        )
    };
    limit.rlim_cur
}

/// A call with a path in its argument at `at`.
fn on_path(c: &mut Call<'_>, directory: i32, at: usize) -> Outcome {
    proc_view::on_path(c, directory, at, |c| {
        if mounts::is_slow_path(c.guest, directory, c.a[at]) {
            return hand_over(c);
        }
        Outcome::Native
    })
}

unsafe fn path(c: &mut Call<'_>) -> Outcome {
    on_path(c, libc::AT_FDCWD, 0)
}

unsafe fn path_at(c: &mut Call<'_>) -> Outcome {
    on_path(c, c.fd(0), 1)
}

unsafe fn paths(c: &mut Call<'_>) -> Outcome {
    if mounts::any_slow(c.guest) {
        return hand_over(c);
    }
    Outcome::Native
}

unsafe fn descriptor(c: &mut Call<'_>) -> Outcome {
    if let Some(outcome) = proc_view::on_descriptor(c) {
        return outcome;
    }
    if mounts::is_slow_file(c.guest, c.fd(0)) {
        return hand_over(c);
    }
    Outcome::Native
}

/// open(2), creat(2), openat(2) and openat2(2): also a FIFO waits, for its other end.
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn open(c: &mut Call<'_>) -> Outcome {
    let (directory, at, flags) = match c.frame.rax as i64 {
        libc::SYS_open => (libc::AT_FDCWD, 0, c.a[1]),
        libc::SYS_creat => (libc::AT_FDCWD, 0, libc::O_WRONLY as u64),
        libc::SYS_openat => (c.fd(0), 1, c.a[2]),
        _ => {
            // SAFETY: the guest's own argument, whose first word the kernel would read.
            match unsafe { arch::read_word(c.a[2]) } {
                Some(flags) => (c.fd(0), 1, flags),
                None => return Outcome::Native,
            }
        }
    };
    let flags = flags as i32;
    proc_view::open(c, directory, at, |c| {
        let path = c.a[at];
        let waits = flags & (libc::O_PATH | libc::O_NONBLOCK | libc::O_DIRECTORY) == 0
            && flags & libc::O_ACCMODE != libc::O_RDWR;
        if waits && is_fifo(directory, path, flags)
            || mounts::is_slow_path(c.guest, directory, path)
        {
            return hand_over(c);
        }
        Outcome::Native
    })
}

fn is_fifo(directory: i32, path: u64, flags: i32) -> bool {
    let mut stat = core::mem::MaybeUninit::<libc::statx>::zeroed();
    let mut how = libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT;
    if flags & libc::O_NOFOLLOW != 0 {
        how |= libc::AT_SYMLINK_NOFOLLOW;
    }
    // SAFETY: the kernel checks the program's path; the buffer is ours.
    let ret = unsafe {
        arch::syscall(
            libc::SYS_statx as u64,
            [
                directory as u64,
                path,
                how as u64,
                libc::STATX_TYPE as u64,
                stat.as_mut_ptr() as u64,
                0,
            ],
        )
    };
    // SAFETY: zero is a valid statx.
    ret == 0 && unsafe { stat.assume_init_ref() }.stx_mode as u32 & libc::S_IFMT == libc::S_IFIFO
}

/// msync(2): only MS_SYNC waits.
///
/// # Safety
/// As [`open`].
pub unsafe fn msync(c: &mut Call<'_>) -> Outcome {
    if c.a[2] & libc::MS_SYNC as u64 == 0 {
        return Outcome::Native;
    }
    hand_over(c)
}

/// membarrier(2): MEMBARRIER_CMD_GLOBAL waits for a grace period of the whole system,
/// which ends no sooner for one thread than for another.
///
/// # Safety
/// As [`open`].
pub unsafe fn membarrier(c: &mut Call<'_>) -> Outcome {
    const GLOBAL: u64 = 1;
    if c.a[0] != GLOBAL {
        return Outcome::Native;
    }
    hand_over(c)
}

/// Calls that change what is mounted where: the list of slow mounts is read anew.
///
/// # Safety
/// As [`open`].
pub unsafe fn mounting(c: &mut Call<'_>) -> Outcome {
    let outcome = hand_over(c);
    mounts::changed();
    outcome
}

/// From so many bytes on a getrandom(2) computes for milliseconds.
const MANY_RANDOM_BYTES: u64 = 1 << 20;

/// getrandom(2): waits while the kernel's generator is not seeded, shortly after boot.
///
/// # Safety
/// As [`open`].
pub unsafe fn getrandom(c: &mut Call<'_>) -> Outcome {
    let [buffer, len, flags, ..] = c.a;
    let nonblocking = libc::GRND_NONBLOCK as u64;
    if len >= MANY_RANDOM_BYTES {
        return hand_over(c);
    }
    let (hub, guest) = (c.hub, c.guest);
    let mut done = 0;
    let mut some = || {
        loop {
            let args = [buffer + done, len - done, flags | nonblocking, 0, 0, 0];
            // SAFETY: the guest's own call, not waiting.
            let ret = hub.unlocked(|| unsafe { arch::syscall(libc::SYS_getrandom as u64, args) });
            if ret <= 0 {
                return if done > 0 { done as i64 } else { ret };
            }
            done += ret as u64;
            // Only a signal makes it short: it goes on if the signal is not this guest's.
            if done == len || hub.has_signal(guest) {
                return done as i64;
            }
        }
    };
    if flags & nonblocking != 0 {
        return Outcome::Done(some());
    }
    wait(c, || {
        let ret = some();
        (ret != err(libc::EAGAIN)).then_some(ret)
    })
}

/// bpf(2): a program's or a type's check may take seconds. A signal ends that with EAGAIN.
///
/// # Safety
/// As [`open`].
pub unsafe fn bpf(c: &mut Call<'_>) -> Outcome {
    /// linux/bpf.h.
    const PROG_LOAD: u32 = 5;
    const BTF_LOAD: u32 = 18;
    if !matches!(c.a[0] as u32, PROG_LOAD | BTF_LOAD) {
        return Outcome::Native;
    }
    match offload::run_interruptible(c.guest, libc::SYS_bpf, c.a) {
        Some(ret) => Outcome::Done(ret),
        None => Outcome::Done(offload::run(c.guest, libc::SYS_bpf, c.a)),
    }
}
