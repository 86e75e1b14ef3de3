//! Receiving from sockets, and accepting connections.
#![allow(unsafe_code)]

use io_uring::{opcode, types};

use super::iov::{Buffers, MOST_BYTES, Rest};
use super::wait::{Direction, Handed, Limit, Place, Ready, readiness, receive_low, transfer};
use super::{Call, Outcome};
use crate::arch::{syscall, syscall3};
use crate::raw::{self, err};
use crate::reactor::fds::{self, Kind};

pub(super) const DONTWAIT: u64 = libc::MSG_DONTWAIT as u64;
const WAITALL: u64 = libc::MSG_WAITALL as u64;
const PEEK: u64 = libc::MSG_PEEK as u64;

/// Receives with these never wait: from the queue of errors, and of urgent data.
const NEVER_WAITS: u64 = DONTWAIT | libc::MSG_ERRQUEUE as u64 | libc::MSG_OOB as u64;

pub(super) fn done(ret: Option<i64>) -> Outcome {
    match ret {
        Some(ret) => Outcome::Done(ret),
        None => Outcome::Native,
    }
}

fn kind(fd: i32) -> Kind {
    fds::table()
        .of_call(fd)
        .map_or(Kind::Other, |state| state.kind(fd))
}

fn is_listening(fd: i32) -> bool {
    raw::socket_option(fd, libc::SO_ACCEPTCONN) == 1
}

/// One receive of `len` bytes as the program asks for it: by what it is handed over, and
/// how it is tried, with what was received before and flags in place of its own.
struct Receive<'a> {
    fd: i32,
    len: usize,
    flags: u64,
    entry: Option<Handed>,
    attempt: &'a dyn Fn(i32, usize, u64) -> i64,
}

/// A receive on a stream goes on until MSG_WAITALL, or SO_RCVLOWAT, is satisfied; the
/// end, an error, a signal or a time-out ends it before.
fn receive_stream(c: &Call<'_>, receive: Receive<'_>) -> Outcome {
    let Receive {
        fd,
        len,
        flags,
        entry,
        attempt,
    } = receive;
    let limit = Limit::default();
    let once = flags & !WAITALL | DONTWAIT;
    let one = |fd: i32| attempt(fd, 0, once);
    let kind = kind(fd);
    let waits_for_all = flags & WAITALL != 0 && kind.is_stream();
    let entry = entry.filter(|_| !waits_for_all);
    // Fewer bytes than that tell that no more are waiting; a datagram tells nothing.
    let full = if kind.is_stream() && flags & PEEK == 0 {
        len
    } else {
        0
    };
    let first = transfer(c, fd, Direction::In, entry, full, &limit, one);
    let Some(first) = first else {
        return Outcome::Native;
    };
    if first <= 0 || first as usize >= len || !kind.is_stream() {
        return Outcome::Done(first);
    }
    let Some(state) = fds::table().get(fd) else {
        return Outcome::Done(first);
    };
    let target = match receive_low(fd, state) {
        _ if waits_for_all => len,
        low => low.min(len),
    };
    let mut have = first as usize;
    if have >= target || state.is_nonblocking(fd) {
        return Outcome::Done(first);
    }
    if flags & PEEK != 0 {
        return Outcome::Done(peek_all(c, fd, kind, first, target, &limit, &one));
    }
    while have < target {
        let more = transfer(c, fd, Direction::In, None, 0, &limit, |fd| {
            attempt(fd, have, once)
        });
        match more {
            Some(n) if n > 0 => have += n as usize,
            _ => break,
        }
    }
    Outcome::Done(have as i64)
}

/// Looks again whenever more has come, until `target` bytes are there. (Looking takes
/// nothing away, so that the end cannot be seen by it. Only TCP waits here.)
fn peek_all(
    c: &Call<'_>,
    fd: i32,
    kind: Kind,
    first: i64,
    target: usize,
    limit: &Limit,
    look: &dyn Fn(i32) -> i64,
) -> i64 {
    const ENDS: i16 = libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR;
    let mut have = first;
    let place = Place::new(fd);
    while kind == Kind::Tcp && have > 0 && (have as usize) < target {
        let fd = place.fd();
        if raw::poll_now(fd, libc::POLLRDHUP) & ENDS as i64 != 0 {
            break;
        }
        let Some(state) = fds::table().get(fd) else {
            break;
        };
        let deadline = limit.deadline(fd, state, Direction::In);
        match readiness(c, &place, libc::EPOLLIN as u32, deadline) {
            Ready::Yes => have = look(place.fd()),
            // As in the kernel, the queue is looked at after the wait.
            Ready::Timeout | Ready::Signal => {
                have = look(place.fd()).max(have);
                break;
            }
            Ready::Never => break,
        }
    }
    have
}

/// read(2) of a socket, with a length.
pub(super) fn receive(c: &Call<'_>, buf: u64, len: u64) -> Outcome {
    receive_into(c, buf, len, 0, [0; 2])
}

/// recvfrom(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn recvfrom(c: &mut Call<'_>) -> Outcome {
    let [_, buf, len, flags, address, address_len] = c.a;
    if flags & NEVER_WAITS != 0 {
        return Outcome::Native;
    }
    receive_into(c, buf, len, flags, [address, address_len])
}

fn receive_into(c: &Call<'_>, buf: u64, len: u64, flags: u64, from: [u64; 2]) -> Outcome {
    let fd = c.fd(0);
    let len = len.min(MOST_BYTES as u64);
    let entry = (from[0] == 0).then(|| {
        let entry = opcode::Recv::new(types::Fd(fd), buf as *mut u8, len as u32)
            .flags((flags & !WAITALL) as i32)
            .build();
        (entry, opcode::Recv::CODE)
    });
    let attempt = |fd: i32, have: usize, flags: u64| {
        let from = if have == 0 { from } else { [0; 2] };
        let have = have as u64;
        // SAFETY: the guest's own call, or its rest, with MSG_DONTWAIT.
        unsafe {
            syscall(
                libc::SYS_recvfrom as u64,
                [fd as u64, buf + have, len - have, flags, from[0], from[1]],
            )
        }
    };
    receive_stream(
        c,
        Receive {
            fd,
            len: len as usize,
            flags,
            entry,
            attempt: &attempt,
        },
    )
}

/// recvmsg(2).
///
/// # Safety
/// As [`recvfrom`].
pub unsafe fn recvmsg(c: &mut Call<'_>) -> Outcome {
    let [_, message, flags, ..] = c.a;
    if flags & NEVER_WAITS != 0 {
        return Outcome::Native;
    }
    let fd = c.fd(0);
    // Only a stream's receive may go on after a part.
    let buffers = if kind(fd).is_stream() {
        match message_buffers(message) {
            Some(buffers) => Some(buffers),
            None => return Outcome::Native,
        }
    } else {
        None
    };
    let entry = opcode::RecvMsg::new(types::Fd(fd), message as *mut libc::msghdr)
        .flags((flags & !WAITALL) as u32)
        .build();
    let attempt = |fd: i32, have: usize, flags: u64| {
        let (Some(buffers), true) = (buffers, have > 0) else {
            // SAFETY: the guest's own call with MSG_DONTWAIT.
            return unsafe { syscall3(libc::SYS_recvmsg, fd as u64, message, flags) };
        };
        let rest = buffers.rest(have);
        let header = header_of(&rest);
        // SAFETY: a part of the guest's own buffers.
        unsafe {
            syscall3(
                libc::SYS_recvmsg,
                fd as u64,
                &raw const header as u64,
                flags,
            )
        }
    };
    receive_stream(
        c,
        Receive {
            fd,
            len: buffers.map_or(0, |buffers| buffers.total()),
            flags,
            entry: Some((entry, opcode::RecvMsg::CODE)),
            attempt: &attempt,
        },
    )
}

/// The buffers of a `struct msghdr` of the program's. `None`: the kernel refuses it.
fn message_buffers(message: u64) -> Option<Buffers> {
    // SAFETY: the guest's own header, which the kernel would read; any bytes make one.
    let header: libc::msghdr = unsafe { raw::get(message) }.ok()?;
    Buffers::of(header.msg_iov as u64, header.msg_iovlen)
}

/// A header without address and control data.
pub(super) fn header_of(rest: &Rest) -> libc::msghdr {
    let (iov, count) = rest.array();
    // SAFETY: zero is a valid msghdr.
    let mut header: libc::msghdr = unsafe { core::mem::zeroed() };
    header.msg_iov = iov.cast_mut();
    header.msg_iovlen = count;
    header
}

/// recvmmsg(2): the first message is waited for; so are the others, unless
/// MSG_WAITFORONE, and the time-out is looked at after each, as the kernel does.
///
/// # Safety
/// As [`recvfrom`].
pub unsafe fn recvmmsg(c: &mut Call<'_>) -> Outcome {
    let [_, vector, count, flags, timeout, _] = c.a;
    if flags & NEVER_WAITS != 0 {
        return Outcome::Native;
    }
    let fd = c.fd(0);
    let mut deadline = None;
    if timeout != 0 {
        // SAFETY: the guest's own argument.
        let ts = match unsafe { raw::get(timeout) } {
            Ok(ts) => ts,
            Err(e) => return Outcome::Done(e),
        };
        match raw::timespec_ns(&ts) {
            Some(ns) => deadline = Some(raw::now().saturating_add(ns)),
            None => return Outcome::Done(err(libc::EINVAL)),
        }
    }
    let count = (count as u32).min(1024) as u64;
    let each = size_of::<libc::mmsghdr>() as u64;
    let wait_for_one = flags & libc::MSG_WAITFORONE as u64 != 0;
    let flags = flags & !(libc::MSG_WAITFORONE as u64);
    let mut have = 0u64;
    while have < count {
        if have > 0
            && (wait_for_one || deadline.is_some_and(|d| d <= raw::now()))
            && !(wait_for_one && deadline.is_none())
        {
            break;
        }
        let at = vector + have * each;
        let attempt = |fd: i32| {
            // SAFETY: a part of the guest's own vector, without a time-out.
            unsafe {
                syscall(
                    libc::SYS_recvmmsg as u64,
                    [
                        fd as u64,
                        at,
                        if wait_for_one { count - have } else { 1 },
                        flags | DONTWAIT,
                        0,
                        0,
                    ],
                )
            }
        };
        let ret = if have > 0 && wait_for_one {
            Some(attempt(fd))
        } else {
            transfer(c, fd, Direction::In, None, 0, &Limit::default(), attempt)
        };
        match ret {
            None if have == 0 => return Outcome::Native,
            // Those that it has would be lost.
            None => break,
            Some(n) if n > 0 => have += n as u64,
            Some(n) if have == 0 => return Outcome::Done(n),
            Some(_) => break,
        }
        if wait_for_one {
            break;
        }
    }
    if let Some(deadline) = deadline {
        let left = raw::ns_timespec(deadline.saturating_sub(raw::now()));
        // SAFETY: the guest's own argument: the kernel updates it too.
        if let Err(e) = unsafe { raw::put(timeout, left) } {
            return Outcome::Done(e);
        }
    }
    Outcome::Done(have as i64)
}

/// accept(2) and accept4(2).
///
/// # Safety
/// As [`recvfrom`].
pub unsafe fn accept(c: &mut Call<'_>) -> Outcome {
    let fd = c.fd(0);
    let flags = if c.frame.rax as i64 == libc::SYS_accept4 {
        c.a[3] as i32
    } else {
        0
    };
    if flags & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) != 0 {
        return Outcome::Native;
    }
    let nr = c.frame.rax;
    let a = c.a;
    let hub = c.hub;
    let entry = opcode::Accept::new(
        types::Fd(fd),
        a[1] as *mut libc::sockaddr,
        a[2] as *mut libc::socklen_t,
    )
    .flags(flags)
    .build();
    let ret = transfer(
        c,
        fd,
        Direction::In,
        Some((entry, opcode::Accept::CODE)),
        0,
        &Limit::default(),
        |fd| {
            // There is no MSG_DONTWAIT for accept: poll says whether it would block,
            // unless it fails at once.
            match raw::poll_now(fd, libc::POLLIN) {
                0 if is_listening(fd) && !raw::is_nonblocking(fd) => err(libc::EAGAIN),
                // SAFETY: the guest's own call.
                _ => match unsafe { hub.watched(nr, [fd as u64, a[1], a[2], a[3], a[4], a[5]]) } {
                    // Another process has taken the connection before.
                    ret if ret == err(libc::EINTR) => err(libc::EAGAIN),
                    ret => ret,
                },
            }
        },
    );
    if let Some(new) = ret.filter(|ret| *ret >= 0) {
        fds::table().made(new as i32);
    }
    done(ret)
}
