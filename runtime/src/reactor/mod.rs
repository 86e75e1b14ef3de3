//! How the hub waits for the kernel: one interface, two reactors.
//!
//! *Readiness* is always epoll's: a descriptor is registered once, edge
//! triggered, for everything, and a guest that waits for it hangs a
//! [`FdWaiter`](fds::FdWaiter) on it. Because every operation is tried before its
//! guest waits, an edge that comes when nobody waits may be dropped. *Operations*
//! (receive, read, accept, connect, wait for a child) are handed to io_uring
//! where the kernel has it: they complete without a second call, and their
//! submissions are batched into the one `io_uring_enter` of a hub's turn. With
//! the epoll reactor the same operations wait for readiness and try again.
//!
//! # Synchronization
//! A reactor belongs to our code, on one kernel thread at a time. While one sleeps in it
//! ([`turn`]) another may use it: the sleeper holds no reference then, and the kernel takes
//! calls on both instances from any thread. Only the bell is rung from others.
#![allow(unsafe_code)]

pub mod epoll;
pub mod fds;
pub mod ring;

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use patch_events::events;

use crate::arch::rare;
use crate::arch::{syscall0, syscall2, syscall3, syscall4};
use crate::config::LoopKind;
use crate::guest::{Guest, OnRing};
use crate::hub::Hub;
use crate::private;
use crate::raw::{self, err};
use crate::sandbox;
use epoll::{EpollSet, Events};
use ring::{Entry, Ring};

/// How long a turn of the reactor may sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until something happens.
    Forever,
    /// Until something happens or CLOCK_MONOTONIC reaches that many nanoseconds.
    Until(u64),
}

/// The eventfd that wakes a sleeping hub; -1 before there is one.
static BELL: AtomicI32 = AtomicI32::new(-1);

/// The descriptor of the eventfd that wakes a sleeping hub.
pub fn bell() -> i32 {
    BELL.load(Ordering::Relaxed)
}

/// Wakes a hub that sleeps in its reactor. Async-signal-safe, from any thread.
pub fn ring_the_bell() {
    if sandbox::is_down() {
        const WAKE: u64 = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64;
        RUNG.store(1, Ordering::SeqCst);
        // SAFETY: a wake needs a valid address only.
        unsafe { syscall3(libc::SYS_futex, RUNG.as_ptr() as u64, WAKE, 1) };
    }
    let one = 1u64;
    // SAFETY: writes eight bytes of ours. It fails only if the counter is full,
    // and then the hub wakes anyway.
    unsafe {
        syscall3(
            libc::SYS_write,
            BELL.load(Ordering::Relaxed) as u64,
            &raw const one as u64,
            8,
        )
    };
}

/// See the file's first lines.
pub struct Reactor {
    epoll: EpollSet,
    ring: Option<Ring>,
}

impl Reactor {
    /// Opens the reactor that `kind` asks for, or with epoll if the kernel lets us have no
    /// io_uring. `several`: more than one kernel thread will use it. `Err` is `-errno`.
    pub fn open(kind: LoopKind, several: bool) -> Result<Self, i64> {
        let epoll = EpollSet::open()?;
        if !epoll::can_wait(epoll.fd()) {
            epoll.close();
            return Err(err(libc::ENOSYS));
        }
        let ring = match kind {
            LoopKind::Epoll => None,
            LoopKind::IoUring | LoopKind::Auto => match Ring::open(epoll.fd(), several) {
                Ok(ring) => Some(ring),
                Err(e) => {
                    events::RingRefused { errno: -e as i32 }.emit();
                    None
                }
            },
        };
        // SAFETY: no pointers.
        let bell = private::open(|| unsafe {
            syscall2(
                libc::SYS_eventfd2,
                0,
                (libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) as u64,
            )
        });
        if bell < 0 {
            epoll.close();
            if let Some(ring) = ring {
                ring.close();
            }
            return Err(bell);
        }
        let bell = bell as i32;
        epoll.watch_bell(bell);
        BELL.store(bell, Ordering::Relaxed);
        Ok(Reactor { epoll, ring })
    }

    /// "io_uring" or "epoll".
    pub fn name(&self) -> &'static str {
        if self.ring.is_some() {
            "io_uring"
        } else {
            "epoll"
        }
    }

    /// Registers a descriptor for readiness. `Err(-EPERM)`: it is always ready
    /// (regular files); `Err(-EBADF)`: not open.
    pub fn arm(&mut self, fd: i32) -> Result<(), i64> {
        if sandbox::is_down() {
            return Err(err(libc::ENOSYS));
        }
        if let Some(ring) = &mut self.ring {
            ring.watch_epoll();
        }
        self.epoll.arm(fd)
    }

    /// As [`arm`](Self::arm), for one who has waited for the descriptor before in the same call:
    /// it is for what the number was then.
    pub fn arm_again(&mut self, fd: i32) -> Result<(), i64> {
        match fds::table().get(fd) {
            Some(state) if state.armed.get() && !state.told_once.get() && !sandbox::is_down() => {
                Ok(())
            }
            _ => self.arm(fd),
        }
    }

    /// Tells the hub from now on when CLOCK_REALTIME is set. `Err(-errno)`: there is no
    /// descriptor for it.
    pub fn watch_clock(&mut self) -> Result<(), i64> {
        self.epoll.watch_clock()
    }

    /// The hub knows that it was set, and is to be told when it is again.
    pub fn clock_seen(&self) {
        self.epoll.clock_seen();
    }

    /// Whether [`watch_clock`](Self::watch_clock) has succeeded.
    pub fn watches_clock(&self) -> bool {
        self.epoll.watches_clock() && !sandbox::is_down()
    }

    /// Whether operations can be handed over.
    pub fn has_ring(&self) -> bool {
        self.ring.is_some()
    }

    /// Whether the ring knows this operation.
    pub fn supports(&self, opcode: u8) -> bool {
        self.ring.as_ref().is_some_and(|ring| ring.supports(opcode))
    }

    /// Hands an operation of `guest` on `fd` (-1: on none) over; its result comes to
    /// `guest.result` with a wake. `again` says whether the guest may begin again if it is
    /// cancelled (-ECANCELED) without having asked for that. False: there is no ring, no room, or
    /// the guest's protection keys are to be minded.
    pub fn submit(&mut self, guest: &Guest, fd: i32, entry: Entry, again: OnRing) -> bool {
        match &mut self.ring {
            // The kernel would carry it out with the rights of whoever runs then.
            Some(ring) if !rare::has_keys() => ring.submit(guest, fd, entry, again),
            _ => false,
        }
    }

    /// The number is about to be closed: operations on it reach the kernel before, which
    /// otherwise would find another description there, or none.
    pub fn settle(&mut self, fd: i32) {
        if let Some(ring) = &mut self.ring {
            ring.settle(fd);
        }
    }

    /// Hands what was submitted to the kernel: numbers may soon be other files' past us.
    pub fn settle_all(&mut self) {
        if let Some(ring) = &mut self.ring {
            ring.settle_all();
        }
    }

    /// Asks for the cancellation of the operation `guest` has handed over; its
    /// completion still comes.
    pub fn cancel(&mut self, guest: &Guest) {
        if let Some(ring) = &mut self.ring {
            ring.cancel(guest);
        }
    }

    /// Has what was handed to the ring end. False: not all has yet, and this is to be called
    /// again.
    pub fn drain_ring(&mut self, hub: &Hub) -> bool {
        self.ring.as_mut().is_none_or(|ring| ring.drain(hub))
    }

    /// Host context: lets go of io_uring, which nothing was handed to since it was drained.
    pub fn lose_ring(&mut self) {
        if let Some(ring) = self.ring.take() {
            ring.close_for_good();
        }
    }

    /// Whether something came that nobody has seen. By a kernel thread that is not the hub's,
    /// while that does nothing.
    pub fn has_news(&mut self) -> bool {
        self.ring.as_mut().is_some_and(Ring::has_news) || epoll::is_ready(self.epoll.fd())
    }

    /// Another kernel thread than the one that opened this is the hub's from here on: a ring
    /// that is only that one's is used no more. Host context.
    pub fn leave_ring(&mut self, hub: &Hub) {
        if self
            .ring
            .as_mut()
            .is_some_and(|ring| ring.is_bound() && !ring.is_left() && ring.leave(hub))
            && let Some(ring) = self.ring.take()
        {
            ring.close();
        }
    }

    /// Closes what [`leave_ring`](Self::leave_ring) has left. Host context, on the kernel thread
    /// that opened it. False: this is to be called again.
    pub fn finish_ring(&mut self, hub: &Hub) -> bool {
        if !self.ring.as_ref().is_some_and(Ring::is_left) {
            return true;
        }
        if !self.drain_ring(hub) {
            return false;
        }
        self.lose_ring();
        true
    }

    /// In a forked child: lets go of the parent's descriptors.
    pub fn abandon(self) {
        self.epoll.close();
        if let Some(ring) = self.ring {
            ring.close();
        }
        private::close(BELL.swap(-1, Ordering::Relaxed));
    }
}

/// Submits what guests have asked for, sleeps as `wait` says, and wakes the guests whose
/// events came. Host context.
pub fn turn(hub: &Hub, wait: Wait) {
    if sandbox::is_down() {
        enter(hub, wait, || sleep(wait));
        return;
    }
    // SAFETY: guests hold no reference to the reactor across a switch, and each of ours ends
    // with its statement.
    let reactor = || unsafe { hub.reactor() };
    let mut events = Events::new();
    let epoll = reactor().epoll.fd();
    let ring = reactor().ring.as_mut().filter(|ring| !ring.is_left());
    let Some(entry) = ring.map(Ring::begin_turn) else {
        let n = enter(hub, wait, || epoll::wait(epoll, &mut events, wait));
        epoll::take(hub, epoll, events, n);
        return;
    };
    enter(hub, wait, || entry.enter(wait));
    if reactor()
        .ring
        .as_mut()
        .is_some_and(|ring| ring.end_turn(hub))
    {
        let n = epoll::wait(epoll, &mut events, Wait::No);
        epoll::take(hub, epoll, events, n);
    }
}

/// Not zero: who sleeps without a reactor is to wake.
static RUNG: AtomicU32 = AtomicU32::new(0);

/// Sleeps as `wait` says without a reactor.
fn sleep(wait: Wait) {
    const SLEEP: u64 = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as u64;
    let timeout = match wait {
        Wait::No => return,
        Wait::Forever => None,
        Wait::Until(deadline) => Some(raw::ns_timespec(deadline.saturating_sub(raw::now()))),
    };
    let at = timeout.as_ref().map_or(0, |ts| &raw const *ts as u64);
    // SAFETY: a word and a time span of ours.
    let ret = unsafe { syscall4(libc::SYS_futex, RUNG.as_ptr() as u64, SLEEP, 0, at) };
    if raw::is_refused(ret) {
        // SAFETY: no arguments.
        unsafe { syscall0(libc::SYS_sched_yield) };
    }
    RUNG.store(0, Ordering::SeqCst);
}

/// Makes a call that sleeps as `wait` says.
fn enter<R>(hub: &Hub, wait: Wait, call: impl FnOnce() -> R) -> R {
    if wait == Wait::No {
        call()
    } else {
        hub.unlocked(call)
    }
}

/// Whether [`Reactor::arm`] failed because the kernel has no room for one descriptor more.
pub fn is_full(e: i64) -> bool {
    e == err(libc::ENOSPC) || e == err(libc::ENOMEM)
}

/// Host context: says so, once.
pub fn tell_full(e: i64) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, Ordering::Relaxed) {
        events::NotWatched { errno: -e as i32 }.emit();
    }
}

/// Empties the bell. Called by the epoll set.
fn quiet_the_bell() {
    let mut count = 0u64;
    // SAFETY: reads eight bytes into `count`; non-blocking.
    unsafe {
        syscall3(
            libc::SYS_read,
            BELL.load(Ordering::Relaxed) as u64,
            &raw mut count as u64,
            8,
        )
    };
}
