//! Connecting sockets, making them, and the options that say how long they wait.
#![allow(unsafe_code)]

use io_uring::{opcode, types};

use super::offloaded::wait_untried;
use super::wait::{
    Direction, Naps, Place, Ready, hand_over, interrupted, note_option, readiness, socket_timeout,
};
use super::{Call, Outcome};
use crate::arch::{self, syscall, syscall3};
use crate::guest::Reason;
use crate::offload;
use crate::raw::{self, err};
use crate::reactor::fds;

/// connect(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn connect(c: &mut Call<'_>) -> Outcome {
    let fd = c.fd(0);
    let flags = raw::status_flags(fd);
    let kind = raw::socket_option(fd, libc::SO_TYPE);
    // Without connections, connect only notes an address.
    if flags < 0
        || flags & libc::O_NONBLOCK as i64 != 0
        || matches!(kind, libc::SOCK_DGRAM | libc::SOCK_RAW)
    {
        return Outcome::Native;
    }
    if family(c.a[1]) == Some(libc::AF_VSOCK as u16) {
        return virtual_machine(c);
    }
    let Some(state) = fds::table().of_call_at_once(fd) else {
        return Outcome::Native;
    };
    let deadline =
        socket_timeout(fd, state, Direction::Out).map(|ns| raw::now().saturating_add(ns));
    // SAFETY: the reference ends with the statement.
    if unsafe { c.hub.reactor() }.supports(opcode::Connect::CODE) {
        let entry = opcode::Connect::new(
            types::Fd(fd),
            c.a[1] as *const libc::sockaddr,
            c.a[2] as u32,
        )
        .build();
        match hand_over(c, fd, entry, deadline) {
            Some(ret) if ret == err(libc::EAGAIN) && deadline.is_some_and(|d| d <= raw::now()) => {
                return Outcome::Done(timed_out(fd));
            }
            // An attempt of before goes on.
            Some(ret) if ret == err(libc::EALREADY) => return settled(c, fd, deadline, ret),
            Some(ret) => {
                if ASYNCHRONOUS.contains(&ret) && state.kind(fd).is_stream() {
                    disconnect(fd);
                }
                return Outcome::Done(ret);
            }
            None => {}
        }
    }
    let mut naps = Naps::default();
    loop {
        // Non-blocking for just this call; no other guest runs between the two.
        raw::set_status_flags(fd, flags | libc::O_NONBLOCK as i64);
        // SAFETY: the guest's own call.
        let ret = unsafe { syscall(c.frame.rax, c.a) };
        raw::set_status_flags(fd, flags);
        match ret {
            ret if ret == err(libc::EINPROGRESS) || ret == err(libc::EALREADY) => {
                return settled(c, fd, deadline, ret);
            }
            // A unix socket whose listener's queue is full: nothing tells when it is not.
            ret if ret == err(libc::EAGAIN) => {}
            ret => return Outcome::Done(ret),
        }
        if deadline.is_some_and(|deadline| deadline <= raw::now()) {
            return Outcome::Done(ret);
        }
        if c.hub.park(c.guest, Some(naps.next(deadline)), true) == Reason::Signal {
            return Outcome::Done(interrupted(deadline.is_some()));
        }
    }
}

/// The family of the address at `pointer`.
fn family(pointer: u64) -> Option<u16> {
    let mut family = 0u16;
    // SAFETY: our variable; the guest's own argument, which the kernel would read.
    let read = unsafe { arch::copy((&raw mut family).cast(), pointer as *const u8, 2) };
    read.then_some(family)
}

/// A connect to another virtual machine. Asked again, such a socket begins anew instead of
/// telling how the last attempt ended; so a thread of the pool makes the call.
fn virtual_machine(c: &Call<'_>) -> Outcome {
    let mut naps = Naps::default();
    loop {
        // A signal ends the wait for good, because it has a time-out: vsock(7).
        if let Some(ret) = offload::run_interruptible(c.guest, c.frame.rax as i64, c.a) {
            return Outcome::Done(ret);
        }
        if offload::is_missing() {
            return Outcome::Native;
        }
        if c.hub.park(c.guest, Some(naps.next(None)), true) == Reason::Signal {
            return Outcome::Done(err(libc::EINTR));
        }
    }
}

/// How an attempt ends whose time is over: it goes on, if there is one; a unix socket
/// has only waited for its turn.
fn timed_out(fd: i32) -> i64 {
    match raw::socket_option(fd, libc::SO_DOMAIN) {
        libc::AF_UNIX => err(libc::EAGAIN),
        _ => err(libc::EINPROGRESS),
    }
}

/// Waits until an attempt has ended; returns `late` if that takes too long.
fn settled(c: &Call<'_>, fd: i32, deadline: Option<u64>, late: i64) -> Outcome {
    let place = Place::new(fd);
    loop {
        if raw::poll_now(place.fd(), libc::POLLOUT) != 0 {
            // Asked again, a socket that was connecting tells how that ended, and is
            // left as a blocking call leaves it. SO_ERROR would tell, but not undo.
            let mut a = c.a;
            a[0] = place.fd() as u64;
            // SAFETY: the guest's own call.
            let ret = unsafe { c.hub.watched(libc::SYS_connect as u64, a) };
            if ret != err(libc::EINTR) {
                return Outcome::Done(ret);
            }
        }
        match readiness(c, &place, libc::EPOLLOUT as u32, deadline) {
            Ready::Yes => {}
            // It may have ended before the deadline was noticed.
            Ready::Timeout if raw::poll_now(place.fd(), libc::POLLOUT) != 0 => {}
            Ready::Timeout => return Outcome::Done(late),
            Ready::Signal => return Outcome::Done(interrupted(deadline.is_some())),
            Ready::Never => return Outcome::Native,
        }
    }
}

/// How a connection attempt ends that was on its way.
const ASYNCHRONOUS: [i64; 6] = [
    err(libc::ECONNREFUSED),
    err(libc::ETIMEDOUT),
    err(libc::ECONNRESET),
    err(libc::EHOSTUNREACH),
    err(libc::ENETUNREACH),
    err(libc::ECONNABORTED),
];

/// Puts a socket back to "not connected" after an attempt failed on the ring,
/// which leaves it "connecting"; connect(2) itself does this on failure
/// (net/ipv4/af_inet.c, `__inet_stream_connect`, label sock_error).
fn disconnect(fd: i32) {
    let nowhere = libc::sockaddr {
        sa_family: libc::AF_UNSPEC as u16,
        sa_data: [0; 14],
    };
    // SAFETY: an address of ours.
    unsafe {
        syscall3(
            libc::SYS_connect,
            fd as u64,
            &raw const nowhere as u64,
            size_of_val(&nowhere) as u64,
        )
    };
}

/// socket(2): what is made here is nobody else's.
///
/// # Safety
/// As [`connect`].
pub unsafe fn socket(c: &mut Call<'_>) -> Outcome {
    // SAFETY: the guest's own call.
    let ret = unsafe { syscall(c.frame.rax, c.a) };
    if ret >= 0 {
        fds::table().made(ret as i32);
    }
    Outcome::Done(ret)
}

/// Whether an option of a socket connects it and waits until that is done: those that
/// sctp_connectx(3) is made of (linux/sctp.h).
fn connects(level: u64, option: u64) -> bool {
    /// SCTP_SOCKOPT_CONNECTX_OLD, SCTP_SOCKOPT_CONNECTX and SCTP_SOCKOPT_CONNECTX3.
    const OPTIONS: [u64; 3] = [107, 110, 111];
    level as i32 == libc::IPPROTO_SCTP && OPTIONS.contains(&(option as u32 as u64))
}

/// getsockopt(2).
///
/// # Safety
/// As [`connect`].
pub unsafe fn getsockopt(c: &mut Call<'_>) -> Outcome {
    if connects(c.a[1], c.a[2]) {
        return wait_untried(c);
    }
    Outcome::Native
}

/// setsockopt(2): changed options must be read again.
///
/// # Safety
/// As [`connect`].
pub unsafe fn setsockopt(c: &mut Call<'_>) -> Outcome {
    if connects(c.a[1], c.a[2]) {
        return wait_untried(c);
    }
    if changes_options(libc::SYS_setsockopt, c.a) {
        // SAFETY: the guest's own call, unchanged.
        let ret = unsafe { syscall(c.frame.rax, c.a) };
        if ret == 0 {
            note_option(c.fd(0), c.a[2] as i32, c.a[3], c.a[4]);
            fds::table().options_change();
        }
        return Outcome::Done(ret);
    }
    Outcome::Native
}

/// Whether a call changes how long calls on a socket wait.
pub fn changes_options(nr: i64, a: [u64; 6]) -> bool {
    /// SO_RCVTIMEO_NEW and SO_SNDTIMEO_NEW (asm-generic/socket.h).
    const NEW: [i32; 2] = [66, 67];
    const OLD: [i32; 3] = [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO, libc::SO_RCVLOWAT];
    let option = a[2] as i32;
    nr == libc::SYS_setsockopt
        && a[1] as i32 == libc::SOL_SOCKET
        && (OLD.contains(&option) || NEW.contains(&option))
}
