//! The readiness reactor.
#![allow(unsafe_code)]

use super::{Wait, fds, quiet_the_bell, ring_the_bell};
use crate::arch::{syscall, syscall1, syscall4};
use crate::deadline;
use crate::hub::Hub;
use crate::private;
use crate::raw::{self, err};

/// `data` of the bell.
const BELL: u64 = u64::MAX;
/// `data` of the descriptor that tells of steps of the clock.
const CLOCK: u64 = u64::MAX - 1;
/// Events taken from the kernel at once.
const BATCH: usize = 256;

/// What a registration asks for: everything, once an edge. (poll(2) has other names for
/// reading and writing too, which a program may ask for alone.)
const ALL: u32 = (libc::EPOLLIN
    | libc::EPOLLOUT
    | libc::EPOLLPRI
    | libc::EPOLLRDHUP
    | libc::EPOLLRDNORM
    | libc::EPOLLRDBAND
    | libc::EPOLLWRNORM
    | libc::EPOLLWRBAND
    | libc::EPOLLMSG
    | libc::EPOLLET) as u32;

/// An epoll instance of ours.
pub struct EpollSet {
    fd: i32,
    /// A look at an instance of the program's that has something wakes whoever waits for that
    /// instance (before Linux 5.4), and we look when we are woken: it must be told of once.
    /// Otherwise one hub does nothing else, and others hardly get to run.
    wakes_itself: bool,
    /// Tells of steps of the clock; -1 before somebody waits for a time of it.
    clock: i32,
}

impl EpollSet {
    /// A new instance; `Err` is `-errno`.
    pub fn open() -> Result<Self, i64> {
        // SAFETY: no pointers.
        let fd = private::open(|| unsafe {
            syscall1(libc::SYS_epoll_create1, libc::EPOLL_CLOEXEC as u64)
        });
        if fd < 0 {
            Err(fd)
        } else {
            Ok(EpollSet {
                fd: fd as i32,
                wakes_itself: raw::kernel().is_some_and(|release| release < (5, 4)),
                clock: -1,
            })
        }
    }

    /// Its descriptor.
    pub fn fd(&self) -> i32 {
        self.fd
    }

    /// Closes it.
    pub fn close(&self) {
        private::close(self.fd);
        private::close(self.clock);
    }

    fn control(&self, op: i32, fd: i32, events: u32, data: u64) -> i64 {
        let mut event = libc::epoll_event { events, u64: data };
        // SAFETY: one event of ours.
        unsafe {
            syscall4(
                libc::SYS_epoll_ctl,
                self.fd as u64,
                op as u64,
                fd as u64,
                &raw mut event as u64,
            )
        }
    }

    /// Registers the bell.
    pub fn watch_bell(&self, bell: i32) {
        self.control(libc::EPOLL_CTL_ADD, bell, libc::EPOLLIN as u32, BELL);
    }

    /// See [`Reactor::watch_clock`](super::Reactor::watch_clock).
    pub fn watch_clock(&mut self) -> Result<(), i64> {
        if self.clock >= 0 {
            return Ok(());
        }
        let clock = deadline::watch()?;
        let ret = self.control(libc::EPOLL_CTL_ADD, clock, libc::EPOLLIN as u32, CLOCK);
        if ret != 0 {
            private::close(clock);
            return Err(ret);
        }
        self.clock = clock;
        Ok(())
    }

    /// See [`Reactor::watches_clock`](super::Reactor::watches_clock).
    pub fn watches_clock(&self) -> bool {
        self.clock >= 0
    }

    /// See [`Reactor::clock_seen`](super::Reactor::clock_seen).
    pub fn clock_seen(&self) {
        deadline::seen(self.clock);
    }

    /// Whether a descriptor is an epoll instance: only from such a one can ours be missing.
    fn is_set(&self, fd: i32) -> bool {
        let (op, own) = (libc::EPOLL_CTL_DEL as u64, self.fd as u64);
        // SAFETY: no pointers; the instance does not have ours, which no program knows of.
        let ret = unsafe { syscall4(libc::SYS_epoll_ctl, fd as u64, op, own, 0) };
        ret == err(libc::ENOENT)
    }

    /// See [`Reactor::arm`](super::Reactor::arm).
    pub fn arm(&self, fd: i32) -> Result<(), i64> {
        let Some(state) = fds::table().get(fd) else {
            return Err(err(libc::EBADF));
        };
        let data = || fd as u64 | (state.generation.get() as u64) << 32;
        let interest = || match state.told_once.get() {
            true => ALL | libc::EPOLLONESHOT as u32,
            false => ALL,
        };
        if state.armed.get() {
            let is_known = !fds::is_doubted() && !state.told_once.get();
            if is_known || self.control(libc::EPOLL_CTL_MOD, fd, interest(), data()) == 0 {
                return Ok(());
            }
            // Its file is gone, or has no such number any more.
            fds::table().closed(fd);
        }
        let highest = &fds::table().highest;
        highest.set(highest.get().max(fd));
        state.told_once.set(self.wakes_itself && self.is_set(fd));
        let (interest, data) = (interest(), data());
        let mut ret = self.control(libc::EPOLL_CTL_ADD, fd, interest, data);
        if ret == err(libc::EEXIST) {
            // The same description came back to the same number.
            ret = self.control(libc::EPOLL_CTL_MOD, fd, interest, data);
        }
        if ret != 0 {
            return Err(ret);
        }
        state.now_armed();
        Ok(())
    }
}

/// Room for a batch of events.
pub struct Events([libc::epoll_event; BATCH]);

impl Events {
    /// None yet.
    pub fn new() -> Self {
        Events([libc::epoll_event { events: 0, u64: 0 }; BATCH])
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

/// Wakes the guests of `n` events that the instance `fd` gave, and of those it has beyond
/// them.
pub fn take(hub: &Hub, fd: i32, mut events: Events, mut n: i64) {
    while n > 0 {
        for event in &events.0[..n as usize] {
            let (bits, data) = (event.events, event.u64);
            if data == BELL {
                quiet_the_bell();
                if hub.is_led_elsewhere() {
                    // It is for who sleeps there, or is just about to.
                    ring_the_bell();
                }
                continue;
            }
            if data == CLOCK {
                hub.clock_was_set();
                continue;
            }
            if let Some(state) = fds::table().get(data as u32 as i32)
                && state.armed.get()
                && state.generation.get() == (data >> 32) as u32
            {
                state.wake(hub, bits);
            }
        }
        if (n as usize) < BATCH {
            return;
        }
        n = wait(fd, &mut events, Wait::No);
    }
}

/// Sleeps as `wait` says until the instance `fd` has events. How many came, or `-errno`.
pub fn wait(fd: i32, events: &mut Events, wait: Wait) -> i64 {
    let timeout = match wait {
        Wait::No => 0,
        Wait::Forever => u64::MAX,
        Wait::Until(deadline) => deadline.saturating_sub(raw::now()),
    };
    let ts = raw::ns_timespec(timeout);
    let ts_ptr = if timeout == u64::MAX {
        0
    } else {
        &raw const ts as u64
    };
    let buf = events.0.as_mut_ptr() as u64;
    // SAFETY: the buffer holds BATCH events; `ts` lives across the call.
    let n = unsafe {
        syscall(
            libc::SYS_epoll_pwait2 as u64,
            [fd as u64, buf, BATCH as u64, ts_ptr, 0, 0],
        )
    };
    if !raw::is_refused(n) {
        return n;
    }
    // Before Linux 5.11: milliseconds, rounded up so that no timer is early.
    let ms = if timeout == u64::MAX {
        -1
    } else {
        timeout.div_ceil(1_000_000).min(i32::MAX as u64) as i64
    };
    let args = [fd as u64, buf, BATCH as u64, ms as u64, 0, 0];
    // SAFETY: as above.
    let n = unsafe { syscall(libc::SYS_epoll_wait as u64, args) };
    if !raw::is_refused(n) {
        return n;
    }
    // SAFETY: as above, without a mask.
    unsafe { syscall(libc::SYS_epoll_pwait as u64, args) }
}

/// Whether an instance has events, which it keeps.
pub fn is_ready(fd: i32) -> bool {
    let mut ready = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let at_once = raw::ns_timespec(0);
    let (ready, at_once) = (&raw mut ready as u64, &raw const at_once as u64);
    // SAFETY: one entry and a time span of ours.
    unsafe { syscall(libc::SYS_ppoll as u64, [ready, 1, at_once, 0, 0, 0]) > 0 }
}

/// Whether an instance can be waited on: without events, and without waiting.
pub fn can_wait(fd: i32) -> bool {
    wait(fd, &mut Events::new(), Wait::No) >= 0
}
