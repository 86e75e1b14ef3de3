//! Terminals: reads that end by VMIN and VTIME, writes that wait for room.
//!
//! What a read of a terminal waits for is said by termios(3): in canonical mode a line,
//! else a number of bytes (VMIN), a time (VTIME, in tenths of a second), or both. poll(2)
//! knows part of that, so here the bytes are counted and the time is kept as the line
//! discipline does (drivers/tty/n_tty.c, `n_tty_read`).
#![allow(unsafe_code)]

use super::iov::Buffers;
use super::wait::{Place, Ready, readiness, send_all};
use super::{Call, Outcome};
use crate::arch::{syscall0, syscall3};
use crate::guest::Reason;
use crate::raw::{self, ERESTARTSYS, err};

/// How long the others run when a call on a terminal would have stopped them, in
/// nanoseconds; and the time between two looks where no event tells of bytes.
const NAP: u64 = 5_000_000;

/// A tenth of a second.
const TENTH: u64 = raw::NS_PER_S / 10;

fn settings(fd: i32) -> Option<libc::termios2> {
    let mut settings = core::mem::MaybeUninit::<libc::termios2>::zeroed();
    // SAFETY: the kernel writes one termios2, for which zero is valid.
    unsafe {
        let to = settings.as_mut_ptr() as u64;
        (syscall3(libc::SYS_ioctl, fd as u64, libc::TCGETS2, to) == 0)
            .then(|| settings.assume_init())
    }
}

/// An ioctl(2) that writes an int.
fn ask(fd: i32, request: u64) -> Option<i32> {
    let mut value = 0i32;
    // SAFETY: the kernel writes one int.
    let ret = unsafe { syscall3(libc::SYS_ioctl, fd as u64, request, &raw mut value as u64) };
    (ret == 0).then_some(value)
}

/// How a read ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// When poll(2) says so: a line, or what the other side of a pty wrote.
    Ready,
    /// By VMIN and VTIME.
    Raw { min: usize, tenths: u64 },
}

fn end(fd: i32) -> End {
    match settings(fd) {
        // A master has the settings of its slave and reads what comes.
        Some(s) if s.c_lflag & libc::ICANON == 0 && ask(fd, libc::TIOCGPTN).is_none() => End::Raw {
            min: s.c_cc[libc::VMIN] as usize,
            tenths: s.c_cc[libc::VTIME] as u64,
        },
        _ => End::Ready,
    }
}

/// Whether a read would send SIGTTIN, so that it must be the kernel's.
fn in_background(fd: i32) -> bool {
    // SAFETY: no arguments.
    let own = unsafe { syscall0(libc::SYS_getpgrp) };
    ask(fd, libc::TIOCGPGRP).is_some_and(|group| group as i64 != own)
        && ask(fd, libc::TIOCGPTN).is_none()
}

/// What a read does next.
enum Step {
    /// The guest's own call.
    Call,
    /// What is there, so many bytes.
    Take(usize),
    /// Wait, at most until then.
    Wait(Option<u64>),
}

/// A read in raw mode.
struct Count {
    begun: u64,
    /// Bytes seen at the last look, and when they were first seen.
    have: usize,
    since: u64,
}

impl Count {
    fn step(&mut self, fd: i32, min: usize, tenths: u64, wanted: usize) -> Step {
        if min == 0 && tenths == 0 {
            return Step::Call;
        }
        let Some(there) = ask(fd, libc::FIONREAD) else {
            return Step::Call;
        };
        let there = there.max(0) as usize;
        let now = raw::now();
        if there != self.have {
            (self.have, self.since) = (there, now);
        }
        let target = min.min(wanted).max(1);
        if there >= target || raw::poll_now(fd, 0) != 0 {
            return Step::Call;
        }
        // VTIME counts from the beginning if there is no VMIN, else from the last byte.
        let from = match (min, there) {
            (0, _) => Some(self.begun),
            (_, 0) => None,
            _ if tenths > 0 => Some(self.since),
            _ => None,
        };
        match from.map(|from| from + tenths * TENTH) {
            Some(until) if until <= now => Step::Take(there),
            Some(until) => Step::Wait(Some(until)),
            // poll(2) waits for VMIN bytes, not for the fewer that were asked for.
            None if target < min => Step::Wait(Some(now + NAP)),
            None => Step::Wait(None),
        }
    }
}

/// read(2) and readv(2) of a terminal.
pub fn read(c: &Call<'_>, buffers: &Buffers) -> Outcome {
    let place = Place::new(c.fd(0));
    let mut counted = Count {
        begun: raw::now(),
        have: 0,
        since: 0,
    };
    loop {
        let fd = place.fd();
        let step = match end(fd) {
            _ if raw::is_nonblocking(fd) => Step::Call,
            End::Ready if raw::poll_now(fd, libc::POLLIN) != 0 => Step::Call,
            End::Ready => Step::Wait(None),
            End::Raw { min, tenths } => counted.step(fd, min, tenths, buffers.total()),
        };
        match step {
            Step::Call => match call(c, fd) {
                Some(ret) => return Outcome::Done(ret),
                None => continue,
            },
            Step::Take(n) => return Outcome::Done(take(fd, buffers, n)),
            Step::Wait(_) if in_background(fd) => return Outcome::Native,
            Step::Wait(until) => match readiness(c, &place, libc::EPOLLIN as u32, until) {
                Ready::Yes | Ready::Timeout => {}
                // The line discipline would have taken the bytes before.
                Ready::Signal if counted.have > 0 => {
                    return Outcome::Done(take(place.fd(), buffers, counted.have));
                }
                Ready::Signal => return Outcome::Done(ERESTARTSYS),
                Ready::Never => return Outcome::Native,
            },
        }
    }
}

/// The guest's own call on a descriptor that is ready, as far as can be told. If it waits
/// all the same (another process was quicker) it is ended and the others run for a
/// while: `None`.
pub fn call(c: &Call<'_>, fd: i32) -> Option<i64> {
    let mut a = c.a;
    a[0] = fd as u64;
    // SAFETY: the guest's own call.
    let ret = unsafe { c.hub.watched(c.frame.rax, a) };
    if ret != err(libc::EINTR) {
        return Some(ret);
    }
    match c.hub.park(c.guest, Some(raw::now() + NAP), true) {
        Reason::Signal => Some(ERESTARTSYS),
        _ => None,
    }
}

/// Reads no more than the `n` bytes that are there.
fn take(fd: i32, buffers: &Buffers, n: usize) -> i64 {
    let first = (0..buffers.count())
        .filter_map(|i| buffers.get(i))
        .find(|buffer| buffer.iov_len > 0);
    let Some(buffer) = first.filter(|_| n > 0) else {
        return 0;
    };
    let len = buffer.iov_len.min(n) as u64;
    // SAFETY: the guest's own buffer.
    unsafe { syscall3(libc::SYS_read, fd as u64, buffer.iov_base as u64, len) }
}

/// write(2) and writev(2) to a terminal. How much room there is nobody tells: a write
/// that waits for more is ended, and goes on when there is some.
pub fn write(c: &Call<'_>, buffers: &Buffers) -> Outcome {
    let mut stalled = false;
    let sent = send_all(c, c.fd(0), buffers.total(), |fd, done| {
        loop {
            if core::mem::take(&mut stalled)
                && c.hub.park(c.guest, Some(raw::now() + NAP), true) == Reason::Signal
                || raw::poll_now(fd, libc::POLLOUT) == 0 && !raw::is_nonblocking(fd)
            {
                return err(libc::EAGAIN);
            }
            let rest = buffers.rest(done);
            let (iov, count) = rest.array();
            let own = libc::SYS_write as u64;
            let (nr, a) = if c.frame.rax == own && count == 1 {
                // SAFETY: one buffer, as the count says.
                let one = unsafe { *iov };
                let (base, len) = (one.iov_base as u64, one.iov_len as u64);
                (own, [fd as u64, base, len, 0, 0, 0])
            } else {
                let nr = libc::SYS_writev as u64;
                (nr, [fd as u64, iov as u64, count as u64, 0, 0, 0])
            };
            // SAFETY: a part of the guest's own buffers.
            let ret = unsafe { c.hub.watched(nr, a) };
            let ended = ret == err(libc::EINTR);
            stalled = ended || ret >= 0 && done + (ret as usize) < buffers.total();
            if !ended {
                return ret;
            }
        }
    });
    sent.map_or(Outcome::Native, Outcome::Done)
}
