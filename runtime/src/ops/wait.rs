//! The three ways to wait for a descriptor, shared by the families.
#![allow(unsafe_code)]

use super::Call;
use core::cell::Cell;

use crate::arch::syscall;
use crate::guest::{OnRing, Reason};
use crate::raw::{self, ERESTARTNOINTR, ERESTARTSYS, err};
use crate::reactor;
use crate::reactor::fds::{self, FdState, FdWaiter, Kind};
use crate::reactor::ring::Entry;
use crate::sandbox;

/// How many operations on a descriptor are handed over untried after a try that
/// would have blocked.
const UNTRIED: i8 = -32;

/// The wait between two looks at a descriptor that cannot be watched, in nanoseconds.
const NAP: u64 = 2_000_000;

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
    /// Somebody has waited for it.
    waited: Cell<bool>,
    at: Cell<i32>,
}

impl Place {
    /// The descriptor the call names.
    pub fn new(fd: i32) -> Self {
        Place {
            first: fd,
            waited: Cell::new(false),
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
    let mut until = deadline;
    // SAFETY: the reference ends with the match's head.
    let reactor = unsafe { c.hub.reactor() };
    let armed = if place.waited.replace(true) {
        reactor.arm_again(fd)
    } else {
        reactor.arm(fd)
    };
    match armed {
        Ok(()) => {}
        // Nothing tells, so the caller looks again.
        Err(e) if reactor::is_full(e) => {
            c.hub.call(c.guest, || reactor::tell_full(e));
            let nap = raw::now() + NAP;
            until = Some(deadline.map_or(nap, |deadline| deadline.min(nap)));
        }
        Err(_) => return Ready::Never,
    }
    let waiter = FdWaiter::new(c.guest, fd, events);
    // SAFETY: unlinked before this frame goes.
    unsafe { state.link(&waiter) };
    let reason = c.hub.park(c.guest, until, true);
    waiter.unlink();
    place.at.set(waiter.fd());
    match reason {
        Reason::Timeout if until != deadline => Ready::Yes,
        Reason::Timeout => Ready::Timeout,
        Reason::Signal => Ready::Signal,
        Reason::Event | Reason::None => Ready::Yes,
    }
}

/// The socket time-out of a descriptor in nanoseconds, if it has one.
pub fn socket_timeout(fd: i32, state: &FdState, direction: Direction) -> Option<u64> {
    refresh_options(fd, state);
    let ns = match direction {
        Direction::In => state.receive_timeout.get(),
        Direction::Out => state.send_timeout.get(),
    };
    (ns != 0).then_some(ns)
}

/// SO_RCVLOWAT of a stream socket: how many bytes a blocking receive waits for.
pub fn receive_low(fd: i32, state: &FdState) -> usize {
    refresh_options(fd, state);
    state.receive_low.get() as usize
}

/// The options that say how long a call blocks are read once, and again only after the
/// program set one on whatever descriptor.
fn refresh_options(fd: i32, state: &FdState) {
    let epoch = fds::table().options_epoch.get();
    if state.options_epoch.get() == epoch {
        return;
    }
    state.options_epoch.set(epoch);
    // Where getsockopt(2) is refused, what the program was seen to set.
    match timeout_option(fd, libc::SO_RCVTIMEO) {
        Ok(ns) => state.receive_timeout.set(ns),
        Err(e) if raw::is_refused(e) => return,
        Err(_) => state.receive_timeout.set(0),
    }
    state
        .send_timeout
        .set(timeout_option(fd, libc::SO_SNDTIMEO).unwrap_or(0));
    state
        .receive_low
        .set(raw::socket_option(fd, libc::SO_RCVLOWAT).max(1) as u32);
}

/// When a call that may wait several times stops waiting: counted from its first wait.
#[derive(Default)]
pub struct Limit(Cell<Option<Option<u64>>>);

impl Limit {
    /// The deadline in CLOCK_MONOTONIC nanoseconds, if there is one.
    pub fn deadline(&self, fd: i32, state: &FdState, direction: Direction) -> Option<u64> {
        if let Some(deadline) = self.0.get() {
            return deadline;
        }
        let deadline = socket_timeout(fd, state, direction).map(|ns| raw::now().saturating_add(ns));
        self.0.set(Some(deadline));
        deadline
    }
}

/// The program has set an option of a socket's own level to what is at `value`.
pub fn note_option(fd: i32, option: i32, value: u64, len: u64) {
    let Some(state) = fds::table().get(fd) else {
        return;
    };
    if option == libc::SO_RCVLOWAT {
        // SAFETY: the guest's own argument, which the kernel has read.
        let low = unsafe { raw::get::<i32>(value) };
        state.receive_low.set(low.unwrap_or(1).max(1) as u32);
        return;
    }
    if (len as usize) < size_of::<libc::timeval>() {
        return;
    }
    // SAFETY: as above; the newer forms of the options have the same two words.
    let Ok(tv) = (unsafe { raw::get::<libc::timeval>(value) }) else {
        return;
    };
    let ns = in_ns(&tv);
    match option {
        libc::SO_RCVTIMEO | SO_RCVTIMEO_NEW => state.receive_timeout.set(ns),
        _ => state.send_timeout.set(ns),
    }
}

/// SO_RCVTIMEO_NEW (asm-generic/socket.h).
const SO_RCVTIMEO_NEW: i32 = 66;

fn in_ns(tv: &libc::timeval) -> u64 {
    (tv.tv_sec.max(0) as u64)
        .saturating_mul(raw::NS_PER_S)
        .saturating_add(tv.tv_usec.max(0) as u64 * 1000)
}

fn timeout_option(fd: i32, option: i32) -> Result<u64, i64> {
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
    if ret != 0 { Err(ret) } else { Ok(in_ns(&tv)) }
}

/// What an interrupted call returns: a socket call with a time-out is never
/// restarted (signal(7)).
pub fn interrupted(timed: bool) -> i64 {
    if timed { err(libc::EINTR) } else { ERESTARTSYS }
}

/// An operation for the ring and its code.
pub type Handed = (Entry, u8);

/// One transfer that either happens at once or not at all: tries, hands over,
/// or waits and tries again. `attempt` must not block and answers -EAGAIN if it
/// would; a result below `full` means that more is not waiting now, as far as the kind
/// of the descriptor allows to tell. `None`: the descriptor cannot be waited for; run
/// the call as it is.
pub fn transfer(
    c: &Call<'_>,
    fd: i32,
    direction: Direction,
    handed: Option<Handed>,
    full: usize,
    limit: &Limit,
    mut attempt: impl FnMut(i32) -> i64,
) -> Option<i64> {
    let place = Place::new(fd);
    let state = fds::table().of_call(fd)?;
    // SAFETY: the reference ends with the statement.
    let handed = handed.filter(|&(_, code)| unsafe { c.hub.reactor() }.supports(code));
    let ring = handed.is_some();
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
                state.luck.set(-1);
                if state.is_drained_by_part(fd) {
                    state.spent(events);
                }
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
    if fds::is_doubted() && state.is_anothers(fd) {
        // The call is begun anew, with what is asked of the file now.
        return Some(ERESTARTNOINTR);
    }
    // io_uring would wait whatever the program wanted.
    if state.is_nonblocking(fd) {
        return Some(if tries {
            err(libc::EAGAIN)
        } else {
            attempt(fd)
        });
    }
    let deadline = limit.deadline(fd, state, direction);
    // As in the kernel, the queue is looked at after the wait, however that ended: the deadline
    // may have been noticed before the readiness, and who waits for more than is there
    // (SO_RCVLOWAT) gets what is there in the end.
    let last = |ret: i64, attempt: &mut dyn FnMut(i32) -> i64| {
        Some(match attempt(place.fd()) {
            none if none == err(libc::EAGAIN) => ret,
            some => some,
        })
    };
    if let Some((entry, _)) = handed
        && let Some(ret) = hand_over(c, fd, entry, deadline)
    {
        if raw::is_restart(ret) || ret == err(libc::EAGAIN) || ret == err(libc::EINTR) {
            return last(ret, &mut attempt);
        }
        return Some(ret);
    }
    loop {
        match readiness(c, &place, events, deadline) {
            Ready::Yes => {}
            Ready::Timeout => return last(err(libc::EAGAIN), &mut attempt),
            Ready::Signal => return last(interrupted(deadline.is_some()), &mut attempt),
            Ready::Never => return None,
        }
        let ret = attempt(place.fd());
        let state = fds::table().get(place.fd())?;
        let part = (1..full as i64).contains(&ret) && state.is_drained_by_part(place.fd());
        if part || ret == err(libc::EAGAIN) {
            state.spent(events);
        }
        if ret != err(libc::EAGAIN) {
            return Some(ret);
        }
    }
}

/// Hands an operation on `fd` (-1: on none) to the ring and parks until it is complete.
/// `None`: the ring did not take it.
pub fn hand_over(c: &Call<'_>, fd: i32, entry: Entry, deadline: Option<u64>) -> Option<i64> {
    // SAFETY: the reference ends with the statement.
    if !unsafe { c.hub.reactor() }.submit(c.guest, fd, entry, OnRing::Again) {
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
    if reason == Reason::None && ret == err(libc::ECANCELED) {
        // The ring has been given up.
        return None;
    }
    let cancelled = ret == err(libc::ECANCELED) || ret == err(libc::EINTR);
    Some(match reason {
        Reason::Timeout if cancelled => err(libc::EAGAIN),
        _ if cancelled => interrupted(deadline.is_some()),
        _ => ret,
    })
}

/// First and longest wait between two tries where nothing tells of room, in nanoseconds.
const FIRST_NAP: u64 = 100_000;
const LONGEST_NAP: u64 = 5_000_000;

/// The waits of a call between tries for which no event tells when to try again.
pub struct Naps(u64);

impl Default for Naps {
    fn default() -> Self {
        Naps(FIRST_NAP)
    }
}

impl Naps {
    /// When the next one ends, at the latest at `deadline`.
    pub fn next(&mut self, deadline: Option<u64>) -> u64 {
        let end = raw::now().saturating_add(self.0);
        self.0 = (self.0 * 2).min(LONGEST_NAP);
        deadline.map_or(end, |deadline| deadline.min(end))
    }
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
    let limit = Limit::default();
    let mut naps = Naps::default();
    let mut blocking = false;
    let mut done = 0usize;
    // What the call returns if there is no room now either, after its last wait.
    let mut end = None;
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
        if let Some(end) = end {
            return or(done, end);
        }
        let state = fds::table().get(place.fd())?;
        if !blocking {
            if done == 0 && fds::is_doubted() && state.is_anothers(fd) {
                return Some(ERESTARTNOINTR);
            }
            if state.is_nonblocking(fd) {
                return or(done, err(libc::EAGAIN));
            }
            blocking = true;
        }
        if ret >= 0 {
            continue;
        }
        let deadline = limit.deadline(place.fd(), state, Direction::Out);
        let mut until = deadline;
        // A datagram's receiver may be full that is not this socket's peer: then this
        // socket is writable, and no event tells when the receiver is.
        if state.kind(place.fd()) == Kind::Datagram && raw::poll_now(place.fd(), libc::POLLOUT) != 0
        {
            until = Some(naps.next(deadline));
        }
        match readiness(c, &place, Direction::Out.events(), until) {
            Ready::Yes => {}
            Ready::Timeout if until != deadline => {}
            Ready::Timeout => end = Some(err(libc::EAGAIN)),
            Ready::Signal => end = Some(interrupted(deadline.is_some())),
            // Without a reactor nothing tells when there is room for the rest.
            Ready::Never if done > 0 && sandbox::is_down() => {
                if deadline.is_some_and(|deadline| deadline <= raw::now())
                    || c.hub.park(c.guest, Some(naps.next(deadline)), true) == Reason::Signal
                {
                    return Some(done as i64);
                }
            }
            Ready::Never if done > 0 => return Some(done as i64),
            Ready::Never => return None,
        }
    }
}
