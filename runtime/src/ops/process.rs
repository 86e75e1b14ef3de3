//! Waiting for children, and becoming another program.
#![allow(unsafe_code)]

use io_uring::opcode;
use patch_events::numbers;

use super::wait::{Place, Ready, hand_over, readiness};
use super::{Call, Outcome};
use crate::arch::{syscall, syscall2};
use crate::control::name;
use crate::guest::Reason;
use crate::monitor;
use crate::preload;
use crate::private;
use crate::raw::{self, ERESTARTSYS};
use crate::reactor::fds;
use crate::signal;
use crate::trace;

const NOHANG: u64 = libc::WNOHANG as u64;

/// Waits until a child that `waitid(idtype, id, …, options)` is about may have changed
/// state. False: a handler is to run.
fn child(c: &Call<'_>, idtype: u32, id: u64, options: u64) -> bool {
    let look = options | libc::WNOWAIT as u64;
    let info = core::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the reference ends with the statement.
    if unsafe { c.hub.reactor() }.supports(opcode::WaitId::CODE) {
        // Without reaping it: nothing is lost if the wait ends otherwise.
        let entry = opcode::WaitId::new(idtype as libc::idtype_t, id as libc::id_t, look as i32)
            .infop(info.as_ptr())
            .build();
        match hand_over(c, -1, entry, None) {
            Some(ret) if raw::is_restart(ret) => return false,
            Some(ret) if ret != raw::err(libc::EINVAL) => return true,
            _ => {}
        }
    }
    if idtype == libc::P_PID {
        // SAFETY: no pointers.
        let fd = private::open(|| unsafe { syscall2(libc::SYS_pidfd_open, id, 0) });
        if fd >= 0 {
            let fd = fd as i32;
            let ready = one_child(c, fd, id, look);
            fds::table().closed(fd);
            private::close(fd);
            return ready;
        }
    }
    any_child(c, idtype, id, look)
}

/// Longest wait for the end of a child between two looks at what else may have happened
/// to it, in nanoseconds: a pidfd does not tell that it stopped, for its parent or for
/// who traces it.
const LONGEST_LOOK: u64 = 50_000_000;

/// Waits for a child whose pidfd is `fd`.
fn one_child(c: &Call<'_>, fd: i32, id: u64, look: u64) -> bool {
    let mut nap = FIRST_NAP;
    loop {
        let until = Some(raw::now() + nap);
        match readiness(c, &Place::new(fd), libc::EPOLLIN as u32, until) {
            Ready::Signal => return false,
            Ready::Yes => return true,
            Ready::Timeout if has_changed(libc::P_PID, id, look) => return true,
            Ready::Timeout => nap = (nap * 2).min(LONGEST_LOOK),
            Ready::Never => return any_child(c, libc::P_PID, id, look),
        }
    }
}

/// Whether a wait would end now.
fn has_changed(idtype: u32, id: u64, look: u64) -> bool {
    let mut info = core::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    let a = [
        idtype as u64,
        id,
        info.as_mut_ptr() as u64,
        look | NOHANG,
        0,
        0,
    ];
    // SAFETY: the kernel fills `info`, for which zero is valid; WNOWAIT leaves the child
    // as it is.
    unsafe { syscall(libc::SYS_waitid as u64, a) != 0 || info.assume_init().si_pid() != 0 }
}

/// First and longest wait between two looks where the kernel has no IORING_OP_WAITID
/// (Linux 6.7), in nanoseconds.
const FIRST_NAP: u64 = 200_000;
const LONGEST_NAP: u64 = 10_000_000;

/// No descriptor tells of "any child". Without io_uring the caller looks again after naps
/// that grow; a handler for SIGCHLD, which a program with children often has, ends a nap
/// at once.
fn any_child(c: &Call<'_>, idtype: u32, id: u64, look: u64) -> bool {
    let mut nap = FIRST_NAP;
    while !has_changed(idtype, id, look) {
        match c.hub.park(c.guest, Some(raw::now() + nap), true) {
            Reason::Signal => return false,
            _ => nap = (nap * 2).min(LONGEST_NAP),
        }
    }
    true
}

/// wait4(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn wait4(c: &mut Call<'_>) -> Outcome {
    let [pid, status, options, usage, ..] = c.a;
    if options & NOHANG != 0 {
        return Outcome::Native;
    }
    let pid = pid as i32;
    loop {
        // SAFETY: the guest's own call, not waiting.
        let ret = unsafe {
            syscall(
                c.frame.rax,
                [pid as u64, status, options | NOHANG, usage, 0, 0],
            )
        };
        if ret != 0 {
            return Outcome::Done(ret);
        }
        let mut how = libc::WEXITED as u64 | options & (libc::WCONTINUED as u64 | 0xff00_0000);
        if options & libc::WUNTRACED as u64 != 0 {
            how |= libc::WSTOPPED as u64;
        }
        let (idtype, id) = match pid {
            -1 => (libc::P_ALL, 0),
            0 => (libc::P_PGID, 0),
            pid if pid < 0 => (libc::P_PGID, -(pid as i64) as u64),
            pid => (libc::P_PID, pid as u64),
        };
        if !child(c, idtype, id, how) {
            return Outcome::Done(ERESTARTSYS);
        }
    }
}

/// What the kernel writes of a siginfo_t for waitid(2): signal, errno and code, and behind
/// a gap process, user and status.
#[repr(C)]
#[derive(Clone, Copy)]
struct ChildInfo {
    head: [i32; 3],
    gap: i32,
    child: [i32; 3],
}

/// waitid(2).
///
/// # Safety
/// As [`wait4`].
pub unsafe fn waitid(c: &mut Call<'_>) -> Outcome {
    let [idtype, id, info, options, usage, _] = c.a;
    // A non-blocking pidfd says EAGAIN itself.
    if options & NOHANG != 0 || idtype as u32 == libc::P_PIDFD && raw::is_nonblocking(id as i32) {
        return Outcome::Native;
    }
    loop {
        let mut mine = core::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        let to = mine.as_mut_ptr();
        let a = [idtype, id, to as u64, options | NOHANG, usage, 0];
        // SAFETY: the guest's own call, not waiting.
        let ret = unsafe { syscall(c.frame.rax, a) };
        // SAFETY: the kernel filled it, or it is zero; the structure begins so.
        let told: ChildInfo = unsafe { to.cast::<ChildInfo>().read() };
        if ret != 0 || told.child[0] != 0 {
            return Outcome::Done(tell(info, &told).err().unwrap_or(ret));
        }
        if !child(c, idtype as u32, id, options & !(libc::WNOWAIT as u64)) {
            return Outcome::Done(ERESTARTSYS);
        }
    }
}

/// Writes what the kernel would write, and where it would.
fn tell(info: u64, told: &ChildInfo) -> Result<(), i64> {
    if info == 0 {
        return Ok(());
    }
    let child = info.wrapping_add(core::mem::offset_of!(ChildInfo, child) as u64);
    // SAFETY: the guest's own buffer.
    unsafe { raw::put(info, told.head).and_then(|()| raw::put(child, told.child)) }
}

/// execve(2) and execveat(2): the new program gets the caller's own signal mask.
///
/// # Safety
/// As [`wait4`].
pub unsafe fn exec(c: &mut Call<'_>) -> Outcome {
    trace::before_exec(Some(c.guest), c.frame);
    monitor::hold();
    // One that is on its way reaches its handler here, if the guest does not block it.
    signal::begin_exec(c.guest);
    signal::take_preemptions();
    signal::before_exec(c.guest);
    let named = name::before_exec(c.frame);
    numbers::hold();
    let nr = c.frame.rax;
    let ret = preload::with_arguments(c.frame, |a| {
        // SAFETY: the guest's own call, with an environment that is for the program.
        unsafe { syscall(nr, a) }
    });
    numbers::release();
    name::after_exec(named);
    signal::after_exec();
    signal::end_exec();
    monitor::release();
    Outcome::Done(ret)
}
