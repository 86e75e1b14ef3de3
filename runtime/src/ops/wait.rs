//! The three ways to wait for a descriptor, shared by the families.
#![allow(unsafe_code)]

use super::Call;
use core::cell::Cell;

use crate::arch::syscall;
use crate::guest::Reason;
use crate::raw::{self, ERESTARTSYS, err};
use crate::reactor::fds::{self, FdState, FdWaiter};
use crate::reactor::ring::Entry;

/// How many operations on a descriptor are handed over untried after a try that
/// would have blocked.
const UNTRIED: i8 = -32;

/// Which way data goes; says which socket time-out counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Towards the program.
    In,
    /// Away from it.
    Out,
}

impl Direction {
    fn events(self) -> u32 {
        match self {
            Direction::In => (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLPRI) as u32,
            Direction::Out => libc::EPOLLOUT as u32,
        }
    }
}

/// Why a wait for readiness ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// Try again.
    Yes,
    /// The time-out passed.
    Timeout,
    /// A handler is to run.
    Signal,
    /// The descriptor cannot be waited for: run the call as it is.
    Never,
}

/// The descriptor of a call that waits: another number once the program has closed
/// the first one meanwhile.
pub struct Place {
    first: i32,
    at: Cell<i32>,
}

impl Place {
    /// The descriptor the call names.
    pub fn new(fd: i32) -> Self {
        Place {
            first: fd,
            at: Cell::new(fd),
        }
    }

    /// The number to use now.
    pub fn fd(&self) -> i32 {
        self.at.get()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.at.get() != self.first {
            fds::table().release(self.at.get());
        }
    }
}

/// Parks until `place` may be ready for `events` (EPOLL* bits).
pub fn readiness(c: &Call<'_>, place: &Place, events: u32, deadline: Option<u64>) -> Ready {
    let fd = place.fd();
    let Some(state) = fds::table().get(fd) else {
        return Ready::Never;
    };
    // SAFETY: the reference ends with the statement.
    if unsafe { c.hub.reactor() }.arm(fd).is_err() {
        return Ready::Never;
    }
    let waiter = FdWaiter::new(c.guest, fd, events);
    // SAFETY: unlinked before this frame goes.
    unsafe { state.link(&waiter) };
    let reason = c.hub.park(c.guest, deadline, true);
    waiter.unlink();
    place.at.set(waiter.fd());
    match reason {
        Reason::Timeout => Ready::Timeout,
        Reason::Signal => Ready::Signal,
        Reason::Event | Reason::None => Ready::Yes,
    }
}

/// The socket time-out of a descriptor in nanoseconds, if it has one.
///
/// The value is read once and again only after the program set a time-out on
/// whatever descriptor.
pub fn socket_timeout(fd: i32, state: &FdState, direction: Direction) -> Option<u64> {
    let epoch = fds::table().timeout_epoch.get();
    if state.timeout_epoch.get() != epoch {
        state
            .receive_timeout
            .set(timeout_option(fd, libc::SO_RCVTIMEO));
        state
            .send_timeout
            .set(timeout_option(fd, libc::SO_SNDTIMEO));
        state.timeout_epoch.set(epoch);
    }
    let ns = match direction {
        Direction::In => state.receive_timeout.get(),
        Direction::Out => state.send_timeout.get(),
    };
    (ns != 0).then_some(ns)
}

fn timeout_option(fd: i32, option: i32) -> u64 {
    let mut tv = libc::timeval {
        tv_sec: 0,
        tv_usec: 0,
    };
    let mut len = size_of::<libc::timeval>() as u32;
    // SAFETY: the kernel writes at most `len` bytes to `tv`.
    let ret = unsafe {
        syscall(
            libc::SYS_getsockopt as u64,
            [
                fd as u64,
                libc::SOL_SOCKET as u64,
                option as u64,
                &raw mut tv as u64,
                &raw mut len as u64,
                0,
            ],
        )
    };
    if ret != 0 {
        0
    } else {
        tv.tv_sec as u64 * raw::NS_PER_S + tv.tv_usec as u64 * 1000
    }
}

/// What an interrupted call returns: a socket call with a time-out is never
/// restarted (signal(7)).
fn interrupted(timed: bool) -> i64 {
    if timed { err(libc::EINTR) } else { ERESTARTSYS }
}

/// One transfer that either happens at once or not at all: tries, hands over,
/// or waits and tries again. `attempt` must not block and answers -EAGAIN if it
/// would; a result below `full` means that it left nothing behind. `None`: the descriptor cannot be waited for; run the call as it is.
pub fn transfer(
    c: &Call<'_>,
    fd: i32,
    direction: Direction,
    entry: Option<Entry>,
    opcode: u8,
    full: usize,
    mut attempt: impl FnMut(i32) -> i64,
) -> Option<i64> {
    let place = Place::new(fd);
    let state = fds::table().get(fd)?;
    // SAFETY: the reference ends with the statement.
    let ring = entry.is_some() && unsafe { c.hub.reactor() }.supports(opcode);
    let events = direction.events();
    let luck = state.luck.get();
    let tries = if ring {
        luck >= 0
    } else {
        state.may_be_ready(events)
    };
    if tries {
        let ret = attempt(fd);
        if ret != err(libc::EAGAIN) {
            if (1..full as i64).contains(&ret) {
                state.spent(events);
                state.luck.set(-1);
            }
            return Some(ret);
        }
        state.spent(events);
        if ring {
            state.luck.set(UNTRIED);
        }
    } else if ring {
        state.luck.set(luck + 1);
    }
    let timed = || socket_timeout(fd, state, direction).map(|ns| raw::now().saturating_add(ns));
    // io_uring would wait whatever the program wanted.
    if state.is_nonblocking(fd) {
        return Some(if tries {
            err(libc::EAGAIN)
        } else {
            attempt(fd)
        });
    }
    let deadline = timed();
    if ring
        && let Some(entry) = entry
        && let Some(ret) = hand_over(c, entry, deadline)
    {
        return Some(ret);
    }
    loop {
        match readiness(c, &place, events, deadline) {
            Ready::Yes => {}
            Ready::Timeout => return Some(err(libc::EAGAIN)),
            Ready::Signal => return Some(interrupted(deadline.is_some())),
            Ready::Never => return None,
        }
        let ret = attempt(place.fd());
        let state = fds::table().get(place.fd())?;
        if !(full as i64..).contains(&ret) && ret != 0 {
            state.spent(events);
        }
        if ret != err(libc::EAGAIN) {
            return Some(ret);
        }
    }
}

/// Hands an operation to the ring and parks until it is complete. `None`: the
/// ring did not take it.
pub fn hand_over(c: &Call<'_>, entry: Entry, deadline: Option<u64>) -> Option<i64> {
    // SAFETY: the reference ends with the statement.
    if !unsafe { c.hub.reactor() }.submit(c.guest, entry) {
        return None;
    }
    let mut reason = Reason::None;
    while c.guest.in_flight.get() {
        if reason == Reason::None {
            let why = c.hub.park(c.guest, deadline, true);
            if c.guest.in_flight.get() && matches!(why, Reason::Timeout | Reason::Signal) {
                reason = why;
                // SAFETY: the reference ends with the statement.
                unsafe { c.hub.reactor() }.cancel(c.guest);
            }
        } else {
            c.hub.park(c.guest, None, false);
        }
    }
    let ret = c.guest.result.get();
    let cancelled = ret == err(libc::ECANCELED) || ret == err(libc::EINTR);
    Some(match reason {
        Reason::Timeout if cancelled => err(libc::EAGAIN),
        _ if cancelled => interrupted(deadline.is_some()),
        _ => ret,
    })
}

/// Sends `total` bytes as a blocking call does: all of them, unless an error, a
/// signal or a time-out comes between. `attempt(fd, done)` must not block.
pub fn send_all(
    c: &Call<'_>,
    fd: i32,
    total: usize,
    mut attempt: impl FnMut(i32, usize) -> i64,
) -> Option<i64> {
    let place = Place::new(fd);
    let mut done = 0usize;
    let mut limit: Option<Option<u64>> = None;
    let or = |done: usize, ret: i64| Some(if done > 0 { done as i64 } else { ret });
    loop {
        let ret = attempt(place.fd(), done);
        if ret >= 0 {
            done += ret as usize;
            if done >= total || ret == 0 {
                return Some(done as i64);
            }
        } else if ret != err(libc::EAGAIN) {
            return or(done, ret);
        }
        let deadline = match limit {
            Some(deadline) => deadline,
            None => {
                if fds::table().get(fd)?.is_nonblocking(fd) {
                    return or(done, err(libc::EAGAIN));
                }
                let state = fds::table().get(fd)?;
                let timeout = socket_timeout(fd, state, Direction::Out);
                *limit.insert(timeout.map(|ns| raw::now().saturating_add(ns)))
            }
        };
        if ret >= 0 {
            continue;
        }
        match readiness(c, &place, Direction::Out.events(), deadline) {
            Ready::Yes => {}
            Ready::Timeout => return or(done, err(libc::EAGAIN)),
            Ready::Signal => return or(done, interrupted(deadline.is_some())),
            Ready::Never if done > 0 => return Some(done as i64),
            Ready::Never => return None,
        }
    }
}

/// The byte count of an iovec array, saturating. A bad array is the kernel's to
/// refuse.
///
/// # Safety
/// `iov` must hold `count` entries.
pub unsafe fn iov_len(iov: *const libc::iovec, count: usize) -> usize {
    (0..count).fold(0usize, |sum, i| {
        // SAFETY: the caller's contract.
        sum.saturating_add(unsafe { (*iov.add(i)).iov_len })
    })
}

/// What is left of an iovec array after `done` bytes: either the rest of one
/// entry, or whole entries. No copy of the array is needed.
///
/// # Safety
/// As [`iov_len`].
pub unsafe fn iov_rest(
    iov: *const libc::iovec,
    count: usize,
    done: usize,
) -> (libc::iovec, *const libc::iovec, usize) {
    let mut skipped = 0usize;
    for i in 0..count {
        // SAFETY: the caller's contract.
        let entry = unsafe { *iov.add(i) };
        if done < skipped + entry.iov_len {
            let inside = done - skipped;
            if inside == 0 {
                // SAFETY: still inside the array.
                return (
                    libc::iovec {
                        iov_base: core::ptr::null_mut(),
                        iov_len: 0,
                    },
                    unsafe { iov.add(i) },
                    count - i,
                );
            }
            return (
                libc::iovec {
                    iov_base: entry.iov_base.wrapping_byte_add(inside),
                    iov_len: entry.iov_len - inside,
                },
                core::ptr::null(),
                1,
            );
        }
        skipped += entry.iov_len;
    }
    (
        libc::iovec {
            iov_base: core::ptr::null_mut(),
            iov_len: 0,
        },
        core::ptr::null(),
        0,
    )
}
