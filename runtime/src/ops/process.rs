//! Waiting for children, and becoming another program.
#![allow(unsafe_code)]

use io_uring::opcode;

use super::wait::{Place, Ready, hand_over, readiness};
use super::{Call, Outcome};
use crate::arch::{syscall, syscall2};
use crate::guest::Reason;
use crate::raw::{self, ERESTARTSYS};
use crate::signal;

const NOHANG: u64 = libc::WNOHANG as u64;

/// Waits until a child that `waitid(idtype, id, …, options)` is about has changed
/// state. False: a handler is to run.
fn child(c: &Call<'_>, idtype: u32, id: u64, options: u64) -> bool {
    let only_exit = options & (libc::WSTOPPED | libc::WCONTINUED) as u64 == 0;
    if idtype == libc::P_PID && only_exit {
        // SAFETY: no pointers.
        let fd = unsafe { syscall2(libc::SYS_pidfd_open, id, 0) };
        if fd >= 0 {
            let ready = readiness(c, &Place::new(fd as i32), libc::EPOLLIN as u32, None);
            crate::reactor::fds::table().closed(fd as i32);
            raw::close(fd as i32);
            match ready {
                Ready::Signal => return false,
                Ready::Yes | Ready::Timeout => return true,
                Ready::Never => {}
            }
        }
    }
    any_child(c, idtype, id, options)
}

/// First and longest wait between two looks where the kernel has no IORING_OP_WAITID
/// (Linux 6.7), in nanoseconds.
const FIRST_NAP: u64 = 200_000;
const LONGEST_NAP: u64 = 10_000_000;

/// No descriptor tells of "any child": io_uring waits for one, without reaping
/// it. Without io_uring the caller looks again after naps that grow; a handler for
/// SIGCHLD, which a program with children often has, ends a nap at once.
fn any_child(c: &Call<'_>, idtype: u32, id: u64, options: u64) -> bool {
    let look = options | libc::WNOWAIT as u64;
    let mut info = core::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the reference ends with the statement.
    if unsafe { c.hub.reactor() }.supports(opcode::WaitId::CODE) {
        let entry = opcode::WaitId::new(idtype as libc::idtype_t, id as libc::id_t, look as i32)
            .infop(info.as_ptr())
            .build();
        match hand_over(c, entry, None) {
            Some(ret) if raw::is_restart(ret) => return false,
            Some(ret) if ret != raw::err(libc::EINVAL) => return true,
            _ => {}
        }
    }
    let mut nap = FIRST_NAP;
    loop {
        // SAFETY: the kernel fills `info`; WNOWAIT leaves the child as it is.
        let (ret, pid) = unsafe {
            info = core::mem::MaybeUninit::zeroed();
            let ret = syscall(
                libc::SYS_waitid as u64,
                [
                    idtype as u64,
                    id,
                    info.as_mut_ptr() as u64,
                    look | NOHANG,
                    0,
                    0,
                ],
            );
            (ret, info.assume_init().si_pid())
        };
        if ret != 0 || pid != 0 {
            return true;
        }
        match c.hub.park(c.guest, Some(raw::now() + nap), true) {
            Reason::Signal => return false,
            _ => nap = (nap * 2).min(LONGEST_NAP),
        }
    }
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

/// waitid(2).
///
/// # Safety
/// As [`wait4`].
pub unsafe fn waitid(c: &mut Call<'_>) -> Outcome {
    let [idtype, id, info, options, usage, _] = c.a;
    if options & NOHANG != 0 {
        return Outcome::Native;
    }
    loop {
        let mut mine = core::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        let to = if info == 0 {
            mine.as_mut_ptr() as u64
        } else {
            info
        };
        if info != 0 {
            // Zero tells "no child yet" from a result; the kernel writes it anyway.
            // SAFETY: the guest's own buffer.
            unsafe { core::ptr::write_bytes(info as *mut u8, 0, size_of::<libc::siginfo_t>()) };
        }
        // SAFETY: the guest's own call, not waiting.
        let ret = unsafe { syscall(c.frame.rax, [idtype, id, to, options | NOHANG, usage, 0]) };
        // SAFETY: the kernel filled it, or it is zero.
        if ret != 0 || unsafe { (*(to as *const libc::siginfo_t)).si_pid() } != 0 {
            return Outcome::Done(ret);
        }
        if !child(c, idtype as u32, id, options & !(libc::WNOWAIT as u64)) {
            return Outcome::Done(ERESTARTSYS);
        }
    }
}

/// execve(2) and execveat(2): the new program gets the caller's own signal mask.
///
/// # Safety
/// As [`wait4`].
pub unsafe fn exec(c: &mut Call<'_>) -> Outcome {
    let old = signal::show_kernel_mask_of(c.guest);
    signal::before_exec(c.guest);
    // SAFETY: the guest's own call.
    let ret = unsafe { syscall(c.frame.rax, c.a) };
    signal::after_exec();
    signal::restore_kernel_mask(old);
    Outcome::Done(ret)
}
