//! Sockets.
#![allow(unsafe_code)]

use io_uring::{opcode, types};

use super::wait::{
    Direction, Place, Ready, hand_over, iov_len, iov_rest, readiness, send_all, socket_timeout,
    transfer,
};
use super::{Call, Outcome};
use crate::arch::{self, syscall, syscall3};
use crate::raw::{self, ERESTARTSYS, err};
use crate::reactor::fds::{self, Kind};

const DONTWAIT: u64 = libc::MSG_DONTWAIT as u64;
const WAITALL: u64 = libc::MSG_WAITALL as u64;
const PEEK: u64 = libc::MSG_PEEK as u64;
const ERRQUEUE: u64 = libc::MSG_ERRQUEUE as u64;

fn done(ret: Option<i64>) -> Outcome {
    match ret {
        Some(ret) => Outcome::Done(ret),
        None => Outcome::Native,
    }
}

/// What MSG_WAITALL adds: goes on receiving until all is there, an error, the end
/// or a signal. `more(have)` receives what comes after `have` bytes.
fn receive_all(first: i64, total: usize, mut more: impl FnMut(usize) -> Option<i64>) -> i64 {
    if first <= 0 {
        return first;
    }
    let mut have = first as usize;
    while have < total {
        match more(have) {
            Some(n) if n > 0 => have += n as usize,
            _ => break,
        }
    }
    have as i64
}

fn is_stream(fd: i32) -> bool {
    fds::table()
        .get(fd)
        .is_some_and(|state| state.kind(fd) == Kind::Stream)
}

fn is_listening(fd: i32) -> bool {
    raw::socket_option(fd, libc::SO_ACCEPTCONN) == 1
}

/// How many bytes a receive must bring so that more may be waiting; 0 if that cannot
/// be told.
fn full(fd: i32, len: usize, flags: u64) -> usize {
    if flags & PEEK == 0 && is_stream(fd) {
        len
    } else {
        0
    }
}

/// read(2) of a socket, with a length.
pub(super) fn receive(c: &Call<'_>, buf: u64, len: u64) -> Outcome {
    let fd = c.fd(0);
    let entry = opcode::Recv::new(
        types::Fd(fd),
        buf as *mut u8,
        len.min(u32::MAX as u64) as u32,
    )
    .build();
    let full = full(fd, len as usize, 0);
    done(transfer(
        c,
        fd,
        Direction::In,
        Some(entry),
        opcode::Recv::CODE,
        full,
        |fd| {
            // SAFETY: the guest's own buffer.
            unsafe {
                syscall(
                    libc::SYS_recvfrom as u64,
                    [fd as u64, buf, len, DONTWAIT, 0, 0],
                )
            }
        },
    ))
}

/// write(2) to a socket, with a length.
pub(super) fn send(c: &Call<'_>, buf: u64, len: u64) -> Outcome {
    done(send_all(c, c.fd(0), len as usize, |fd, sent| {
        let more = if sent > 0 {
            libc::MSG_NOSIGNAL as u64
        } else {
            0
        };
        let (buf, len) = (buf + sent as u64, len - sent as u64);
        // SAFETY: the rest of the guest's own buffer.
        unsafe {
            syscall(
                libc::SYS_sendto as u64,
                [fd as u64, buf, len, DONTWAIT | more, 0, 0],
            )
        }
    }))
}

/// recvfrom(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn recvfrom(c: &mut Call<'_>) -> Outcome {
    let [_, buf, len, flags, address, _] = c.a;
    if flags & (DONTWAIT | ERRQUEUE) != 0 {
        return Outcome::Native;
    }
    let fd = c.fd(0);
    let nr = c.frame.rax;
    let a = c.a;
    let once = flags & !WAITALL;
    let entry = (address == 0 && flags & WAITALL == 0).then(|| {
        opcode::Recv::new(
            types::Fd(fd),
            buf as *mut u8,
            len.min(u32::MAX as u64) as u32,
        )
        .flags(flags as i32)
        .build()
    });
    let first = transfer(
        c,
        fd,
        Direction::In,
        entry,
        opcode::Recv::CODE,
        full(fd, len as usize, flags),
        |fd| {
            // SAFETY: the guest's own call with MSG_DONTWAIT.
            unsafe { syscall(nr, [fd as u64, buf, len, once | DONTWAIT, a[4], a[5]]) }
        },
    );
    if flags & WAITALL == 0 || flags & PEEK != 0 {
        return done(first);
    }
    let Some(first) = first else {
        return Outcome::Native;
    };
    if first > 0 && (first as u64) < len && is_stream(fd) {
        return Outcome::Done(receive_all(first, len as usize, |have| {
            transfer(c, fd, Direction::In, None, 0, 0, |fd| {
                // SAFETY: the rest of the guest's own buffer.
                unsafe {
                    syscall(
                        nr,
                        [
                            fd as u64,
                            buf + have as u64,
                            len - have as u64,
                            once | DONTWAIT,
                            0,
                            0,
                        ],
                    )
                }
            })
        }));
    }
    Outcome::Done(first)
}

/// recvmsg(2).
///
/// # Safety
/// As [`recvfrom`].
pub unsafe fn recvmsg(c: &mut Call<'_>) -> Outcome {
    let [_, message, flags, ..] = c.a;
    if flags & (DONTWAIT | ERRQUEUE) != 0 || !raw::plausible(message) {
        return Outcome::Native;
    }
    let fd = c.fd(0);
    let once = flags & !WAITALL;
    let entry = (flags & WAITALL == 0).then(|| {
        opcode::RecvMsg::new(types::Fd(fd), message as *mut libc::msghdr)
            .flags(flags as u32)
            .build()
    });
    let first = transfer(
        c,
        fd,
        Direction::In,
        entry,
        opcode::RecvMsg::CODE,
        0,
        |fd| {
            // SAFETY: the guest's own call with MSG_DONTWAIT.
            unsafe { syscall3(libc::SYS_recvmsg, fd as u64, message, once | DONTWAIT) }
        },
    );
    let Some(first) = first else {
        return Outcome::Native;
    };
    if flags & WAITALL == 0 || flags & PEEK != 0 || first <= 0 || !is_stream(fd) {
        return Outcome::Done(first);
    }
    // SAFETY: the guest's own header, which the kernel has just read.
    let (iov, count) = unsafe {
        (
            (*(message as *const libc::msghdr)).msg_iov,
            (*(message as *const libc::msghdr)).msg_iovlen,
        )
    };
    // SAFETY: as above.
    let total = unsafe { iov_len(iov, count) };
    Outcome::Done(receive_all(first, total, |have| {
        // SAFETY: as above.
        let (part, rest, _) = unsafe { iov_rest(iov, count, have) };
        let part = if rest.is_null() {
            part
        } else {
            // SAFETY: it points into the array when it is not null.
            unsafe { *rest }
        };
        transfer(c, fd, Direction::In, None, 0, 0, |fd| {
            // SAFETY: a part of the guest's own buffers.
            unsafe {
                syscall(
                    libc::SYS_recvfrom as u64,
                    [
                        fd as u64,
                        part.iov_base as u64,
                        part.iov_len as u64,
                        once | DONTWAIT,
                        0,
                        0,
                    ],
                )
            }
        })
    }))
}

/// recvmmsg(2): the first message is waited for; so are the others, unless
/// MSG_WAITFORONE, and the time-out is looked at after each, as the kernel does.
///
/// # Safety
/// As [`recvfrom`].
pub unsafe fn recvmmsg(c: &mut Call<'_>) -> Outcome {
    let [_, vector, count, flags, timeout, _] = c.a;
    if flags & (DONTWAIT | ERRQUEUE) != 0 || vector == 0 {
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
            transfer(c, fd, Direction::In, None, 0, 0, attempt)
        };
        match ret {
            None => return Outcome::Native,
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

/// sendto(2).
///
/// # Safety
/// As [`recvfrom`].
pub unsafe fn sendto(c: &mut Call<'_>) -> Outcome {
    let [_, buf, len, flags, ..] = c.a;
    if flags & DONTWAIT != 0 {
        return Outcome::Native;
    }
    let fd = c.fd(0);
    let nr = c.frame.rax;
    let a = c.a;
    done(send_all(c, fd, len as usize, |fd, sent| {
        let more = if sent > 0 {
            libc::MSG_NOSIGNAL as u64
        } else {
            0
        };
        // SAFETY: the rest of the guest's own buffer.
        unsafe {
            syscall(
                nr,
                [
                    fd as u64,
                    buf + sent as u64,
                    len - sent as u64,
                    flags | DONTWAIT | more,
                    a[4],
                    a[5],
                ],
            )
        }
    }))
}

/// sendmsg(2).
///
/// # Safety
/// As [`recvfrom`].
pub unsafe fn sendmsg(c: &mut Call<'_>) -> Outcome {
    let [_, message, flags, ..] = c.a;
    if flags & DONTWAIT != 0 || !raw::plausible(message) {
        return Outcome::Native;
    }
    let fd = c.fd(0);
    // SAFETY: the guest's own header and array.
    let (iov, count) = unsafe {
        (
            (*(message as *const libc::msghdr)).msg_iov,
            (*(message as *const libc::msghdr)).msg_iovlen,
        )
    };
    if count > 1024 {
        return Outcome::Native;
    }
    // SAFETY: as above.
    let total = unsafe { iov_len(iov, count) };
    done(send_all(c, fd, total, |fd, sent| {
        if sent == 0 {
            // SAFETY: the guest's own call with MSG_DONTWAIT.
            return unsafe { syscall3(libc::SYS_sendmsg, fd as u64, message, flags | DONTWAIT) };
        }
        // Only a stream sends a part; control data went with the first.
        // SAFETY: as above.
        let (part, rest, n) = unsafe { iov_rest(iov, count, sent) };
        // SAFETY: zero is a valid msghdr.
        let mut header: libc::msghdr = unsafe { core::mem::zeroed() };
        let mut part = part;
        if rest.is_null() {
            header.msg_iov = &raw mut part;
            header.msg_iovlen = 1;
        } else {
            header.msg_iov = rest.cast_mut();
            header.msg_iovlen = n;
        }
        let flags = flags | DONTWAIT | libc::MSG_NOSIGNAL as u64;
        // SAFETY: parts of the guest's own buffers.
        unsafe {
            syscall3(
                libc::SYS_sendmsg,
                fd as u64,
                &raw const header as u64,
                flags,
            )
        }
    }))
}

/// sendmmsg(2): message by message.
///
/// # Safety
/// As [`recvfrom`].
pub unsafe fn sendmmsg(c: &mut Call<'_>) -> Outcome {
    let [fd, vector, count, flags, ..] = c.a;
    if flags & DONTWAIT != 0 || vector == 0 {
        return Outcome::Native;
    }
    let count = (count as u32).min(1024) as u64;
    let mut have = 0u64;
    while have < count {
        let at = vector + have * size_of::<libc::mmsghdr>() as u64;
        let mut one = Call {
            guest: c.guest,
            hub: c.hub,
            frame: c.frame,
            a: [fd, at, flags, 0, 0, 0],
        };
        // SAFETY: the header is the first field of mmsghdr.
        match unsafe { sendmsg(&mut one) } {
            Outcome::Done(n) if n >= 0 => {
                // SAFETY: the guest's own vector: the kernel writes the length too.
                unsafe { (*(at as *mut libc::mmsghdr)).msg_len = n as u32 };
                have += 1;
            }
            Outcome::Done(n) if have == 0 => return Outcome::Done(n),
            Outcome::Done(_) => break,
            other if have == 0 => return other,
            _ => break,
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
    let entry = opcode::Accept::new(
        types::Fd(fd),
        a[1] as *mut libc::sockaddr,
        a[2] as *mut libc::socklen_t,
    )
    .flags(flags)
    .build();
    done(transfer(
        c,
        fd,
        Direction::In,
        Some(entry),
        opcode::Accept::CODE,
        0,
        |fd| {
            // There is no MSG_DONTWAIT for accept: poll says whether it would block,
            // unless it fails at once.
            match raw::poll_now(fd, libc::POLLIN) {
                0 if is_listening(fd) && !raw::is_nonblocking(fd) => err(libc::EAGAIN),
                // SAFETY: the guest's own call.
                _ => unsafe { syscall(nr, [fd as u64, a[1], a[2], a[3], a[4], a[5]]) },
            }
        },
    ))
}

/// connect(2).
///
/// # Safety
/// As [`recvfrom`].
pub unsafe fn connect(c: &mut Call<'_>) -> Outcome {
    let fd = c.fd(0);
    let flags = raw::status_flags(fd);
    if flags < 0 || flags & libc::O_NONBLOCK as i64 != 0 {
        return Outcome::Native;
    }
    let deadline = fds::table()
        .get(fd)
        .and_then(|state| socket_timeout(fd, state, Direction::Out))
        .map(|ns| raw::now().saturating_add(ns));
    // SAFETY: the reference ends with the statement.
    if unsafe { c.hub.reactor() }.supports(opcode::Connect::CODE) {
        let entry = opcode::Connect::new(
            types::Fd(fd),
            c.a[1] as *const libc::sockaddr,
            c.a[2] as u32,
        )
        .build();
        match hand_over(c, entry, deadline) {
            Some(ret) if ret == err(libc::EAGAIN) && deadline.is_some_and(|d| d <= raw::now()) => {
                return Outcome::Done(err(libc::EINPROGRESS));
            }
            Some(ret) => {
                if ASYNCHRONOUS.contains(&ret) && is_stream(fd) {
                    disconnect(fd);
                }
                return Outcome::Done(ret);
            }
            None => {}
        }
    }
    // Non-blocking for just this call; no other guest runs between the two.
    let set = |flags: i64| {
        // SAFETY: no pointers.
        unsafe {
            syscall3(
                libc::SYS_fcntl,
                fd as u64,
                libc::F_SETFL as u64,
                flags as u64,
            )
        }
    };
    set(flags | libc::O_NONBLOCK as i64);
    // SAFETY: the guest's own call.
    let ret = unsafe { arch::syscall(c.frame.rax, c.a) };
    set(flags);
    if ret == err(libc::EAGAIN) {
        // A unix socket whose listener's queue is full: nothing tells when it is
        // not, so a thread waits for it.
        return Outcome::Done(crate::offload::run(c.guest, libc::SYS_connect, c.a));
    }
    if ret != err(libc::EINPROGRESS) {
        return Outcome::Done(ret);
    }
    let place = Place::new(fd);
    loop {
        match readiness(c, &place, libc::EPOLLOUT as u32, deadline) {
            Ready::Yes => {}
            Ready::Timeout => return Outcome::Done(err(libc::EINPROGRESS)),
            Ready::Signal => {
                return Outcome::Done(if deadline.is_some() {
                    err(libc::EINTR)
                } else {
                    ERESTARTSYS
                });
            }
            Ready::Never => return Outcome::Native,
        }
        if raw::poll_now(fd, libc::POLLOUT) == 0 {
            continue;
        }
        // Asked again, a socket that was connecting tells how that ended, and is
        // left as a blocking call leaves it. SO_ERROR would tell, but not undo.
        set(flags | libc::O_NONBLOCK as i64);
        // SAFETY: the guest's own call.
        let ret = unsafe { arch::syscall(c.frame.rax, c.a) };
        set(flags);
        if ret != err(libc::EALREADY) && ret != err(libc::EINPROGRESS) {
            return Outcome::Done(ret);
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

/// setsockopt(2): a changed time-out must be read again.
///
/// # Safety
/// As [`recvfrom`].
pub unsafe fn setsockopt(c: &mut Call<'_>) -> Outcome {
    /// SO_RCVTIMEO_NEW and SO_SNDTIMEO_NEW (asm-generic/socket.h).
    const NEW: [i32; 2] = [66, 67];
    let option = c.a[2] as i32;
    if c.a[1] as i32 == libc::SOL_SOCKET
        && (option == libc::SO_RCVTIMEO || option == libc::SO_SNDTIMEO || NEW.contains(&option))
    {
        let epoch = &fds::table().timeout_epoch;
        // Zero means "never read".
        epoch.set(epoch.get().wrapping_add(1).max(1));
    }
    if c.a[1] as i32 == libc::SOL_SOCKET && option == libc::SO_LINGER {
        super::fd::note_linger();
    }
    Outcome::Native
}
