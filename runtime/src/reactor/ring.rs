//! The completion reactor: one io_uring per hub.
//!
//! The ring is used by one kernel thread (SINGLE_ISSUER) and its completions are
//! made in that thread's own `io_uring_enter` (DEFER_TASKRUN), so nothing
//! interrupts a guest. With several processors it has neither: any of them submits and
//! takes completions, and the kernel makes a completion on the one that submitted. The crate is built to make its system calls itself
//! (`direct-syscall`), because this code runs in guest mode too.
//!
//! A buffer that was handed over belongs to the kernel until its completion is
//! seen: a guest whose wait ends early asks for a cancellation and then waits for
//! the completion; if the operation had succeeded by then, its result stands.
#![allow(unsafe_code)]

use io_uring::{IoUring, Probe, cqueue, opcode, squeue, types};
use std::os::fd::AsRawFd;

use super::{Wait, fds};
use crate::arch::{syscall, syscall2, syscall3};
use crate::guest::{Guest, OnRing, Reason};
use crate::hub::Hub;
use crate::private;
use crate::raw;
use crate::sandbox;

/// An operation to hand over.
pub type Entry = squeue::Entry;

/// Submission entries; completions have room for sixteen times as many before
/// the kernel keeps them in a list of its own.
const ENTRIES: u32 = 256;

/// `user_data` of what needs no answer.
const NOBODY: u64 = 0;
/// `user_data` of the poll on the epoll set.
const EPOLL: u64 = 1;

fn errno(e: std::io::Error) -> i64 {
    raw::err(e.raw_os_error().unwrap_or(libc::ENOSYS))
}

/// The same ring through a descriptor that is out of the program's way.
fn at_high_number(ring: IoUring) -> Result<IoUring, i64> {
    let params = ring.params().clone();
    let high = private::duplicate(ring.as_raw_fd());
    if high < 0 {
        return Err(high);
    }
    // SAFETY: a descriptor of the same ring, made with the same parameters; it
    // becomes the property of the new value. Dropping the first unmaps its own
    // mappings of the queues only.
    unsafe { IoUring::from_fd(high as i32, params) }.map_err(errno)
}

/// See the file's first lines.
pub struct Ring {
    ring: IoUring,
    probe: [bool; 256],
    epoll_fd: i32,
    /// A poll on the epoll set is with the kernel.
    epoll_watched: bool,
    /// Number of the batch that collects submissions now.
    batch: u32,
    /// Operations of guests that are not complete.
    in_flight: usize,
    /// It belongs to the kernel thread that made it.
    is_bound: bool,
    /// It is only to be closed.
    is_left: bool,
}

impl Ring {
    /// A ring that also tells of events on the epoll set `epoll_fd`, for `several` kernel
    /// threads or one; `Err` is `-errno`.
    pub fn open(epoll_fd: i32, several: bool) -> Result<Self, i64> {
        let _room = private::room();
        // The crate makes these calls itself.
        let crates = [libc::SYS_io_uring_setup, libc::SYS_io_uring_register];
        if crates
            .iter()
            .any(|&nr| sandbox::refuses(nr as u64, &[0; 6]))
        {
            return Err(raw::err(libc::EPERM));
        }
        let mut builder = IoUring::builder();
        builder.setup_cqsize(ENTRIES * 16).setup_submit_all();
        if !several {
            builder.setup_single_issuer().setup_defer_taskrun();
            // Tells the monitor, which may not ask the kernel.
            builder.setup_taskrun_flag();
        }
        let ring = builder.build(ENTRIES).map_err(errno)?;
        let ring = at_high_number(ring)?;
        // A filter of system calls may let us make a ring, and not use it.
        let fd = ring.as_raw_fd() as u64;
        // SAFETY: nothing is handed over or waited for.
        let entered = unsafe { syscall(libc::SYS_io_uring_enter as u64, [fd, 0, 0, 0, 0, 0]) };
        if entered < 0 {
            private::forget(fd as i32);
            return Err(entered);
        }
        let mut known = Probe::new();
        ring.submitter().register_probe(&mut known).map_err(errno)?;
        if !ring.params().is_feature_ext_arg() {
            return Err(raw::err(libc::ENOSYS));
        }
        let mut probe = [false; 256];
        for (code, slot) in probe.iter_mut().enumerate() {
            *slot = known.is_supported(code as u8);
        }
        Ok(Ring {
            ring,
            probe,
            epoll_fd,
            epoll_watched: false,
            batch: 1,
            in_flight: 0,
            is_bound: !several,
            is_left: false,
        })
    }

    /// Whether the kernel or a guest has put something into the queues that nobody has taken.
    pub fn has_news(&mut self) -> bool {
        let submission = self.ring.submission();
        let submitted = !submission.is_empty() || submission.taskrun();
        drop(submission);
        submitted || !self.ring.completion().is_empty()
    }

    /// This kernel thread is not the one that the ring belongs to. Wakes the guests whose
    /// operations are complete, and those that can begin again without it. True: it is to be
    /// closed; false: it is not used from here on, until the other one closes it.
    pub fn leave(&mut self, hub: &Hub) -> bool {
        self.end_turn(hub);
        if hub
            .guests()
            .any(|guest| guest.on_ring.get() == OnRing::Once)
        {
            self.is_left = true;
            return false;
        }
        for guest in hub.guests() {
            if guest.on_ring.replace(OnRing::No) != OnRing::No {
                guest.result.set(raw::err(libc::ECANCELED));
                guest.in_flight.set(false);
                hub.wake(guest, Reason::Event);
            }
        }
        self.in_flight = 0;
        true
    }

    /// Whether it belongs to one kernel thread.
    pub fn is_bound(&self) -> bool {
        self.is_bound
    }

    /// Whether it is only to be closed.
    pub fn is_left(&self) -> bool {
        self.is_left
    }

    /// Closes the descriptor and unmaps the queues. In a forked child this lets go
    /// of its copies: the parent's ring goes on.
    pub fn close(self) {
        if private::is_shared() {
            // Whoever the descriptor is for goes on without this copy of the queues.
            core::mem::forget(self);
            return;
        }
        private::forget(self.ring.as_raw_fd());
    }

    /// Closes it, and waits until nothing of it is left in the kernel. Host context, on the
    /// thread that used it.
    ///
    /// The kernel takes a ring apart in the background, and at last has each thread that used
    /// it do a part of that, for which it interrupts a call that waits: futex(2), poll(2) or
    /// clock_nanosleep(2) with a time goes on by restart_syscall(2) then, for which a
    /// filter of system calls may kill. A file that only the ring holds tells when that is over.
    pub fn close_for_good(self) {
        /// How long it is waited at most, in nanoseconds.
        const PATIENCE: u64 = raw::NS_PER_S;
        /// And at once, in milliseconds.
        const MOMENT: u64 = 50;
        if private::is_shared() {
            return self.close();
        }
        let _room = private::room();
        let mut ends = [-1i32; 2];
        let made = {
            let at = ends.as_mut_ptr() as u64;
            // SAFETY: the kernel writes two ints.
            unsafe { syscall2(libc::SYS_pipe2, at, libc::O_CLOEXEC as u64) == 0 }
        };
        let [read, write] = ends;
        let held = made && self.ring.submitter().register_files(&[write]).is_ok();
        if made {
            raw::close(write);
        }
        self.close();
        let until = raw::now() + PATIENCE;
        while held && raw::now() < until {
            let mut end = libc::pollfd {
                fd: read,
                events: 0,
                revents: 0,
            };
            // SAFETY: one pollfd of ours.
            let ready = unsafe { syscall3(libc::SYS_poll, &raw mut end as u64, 1, MOMENT) };
            // A signal of ours may have come.
            if ready != 0 && ready != raw::err(libc::EINTR) {
                break;
            }
        }
        if made {
            raw::close(read);
        }
    }

    /// Whether the kernel has this operation.
    pub fn supports(&self, opcode: u8) -> bool {
        self.probe[opcode as usize]
    }

    /// Makes events of the epoll set complete on the ring.
    pub fn watch_epoll(&mut self) {
        if !self.epoll_watched && !self.is_left {
            let poll = opcode::PollAdd::new(types::Fd(self.epoll_fd), libc::POLLIN as u32)
                .multi(true)
                .build()
                .user_data(EPOLL);
            self.epoll_watched = self.push(poll);
        }
    }

    /// See [`Reactor::submit`](super::Reactor::submit).
    pub fn submit(&mut self, guest: &Guest, fd: i32, entry: Entry, again: OnRing) -> bool {
        debug_assert!(!guest.in_flight.get());
        if self.is_left {
            return false;
        }
        if self.push(entry.user_data(guest as *const Guest as u64)) {
            guest.in_flight.set(true);
            guest.on_ring.set(again);
            self.in_flight += 1;
            if let Some(state) = fds::table().get(fd) {
                state.submitted_in.set(self.batch);
            }
            return true;
        }
        false
    }

    /// See [`Reactor::settle`](super::Reactor::settle).
    pub fn settle(&mut self, fd: i32) {
        if self.is_left {
            return;
        }
        let waits = |state: &fds::FdState| state.submitted_in.get() == self.batch;
        if fds::table().get(fd).is_some_and(waits) {
            self.hand_in();
        }
    }

    /// See [`Reactor::settle_all`](super::Reactor::settle_all).
    pub fn settle_all(&mut self) {
        if !self.is_left && !self.ring.submission().is_empty() {
            self.hand_in();
        }
    }

    /// Hands the batch to the kernel.
    fn hand_in(&mut self) -> bool {
        self.next_batch();
        self.ring.submit().is_ok()
    }

    fn next_batch(&mut self) {
        // Zero means "never".
        self.batch = self.batch.wrapping_add(1).max(1);
    }

    /// See [`Reactor::cancel`](super::Reactor::cancel).
    pub fn cancel(&mut self, guest: &Guest) {
        let cancel = opcode::AsyncCancel::new(guest as *const Guest as u64)
            .build()
            .user_data(NOBODY);
        // No room even after a submission: the operation goes on until its event
        // or the process's end, which only delays the guest.
        self.push(cancel);
    }

    fn push(&mut self, entry: Entry) -> bool {
        for _ in 0..2 {
            // SAFETY: the entry's buffers belong to a guest that waits for the
            // completion.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return true;
            }
            // Full: hand over what is there.
            if !self.hand_in() {
                return false;
            }
        }
        false
    }

    /// What the kernel is told in this turn.
    pub fn begin_turn(&mut self) -> Turn {
        self.watch_epoll();
        self.next_batch();
        Turn {
            fd: self.ring.as_raw_fd(),
            pending: self.ring.submission().len() as u32,
        }
    }

    /// Asks for the cancellation of everything. Whether nothing is left.
    pub fn drain(&mut self, hub: &Hub) -> bool {
        /// How long this waits for completions at a time, in nanoseconds.
        const MOMENT: u64 = 5_000_000;
        let all = types::CancelBuilder::any().all();
        let cancel = opcode::AsyncCancel2::new(all).build().user_data(NOBODY);
        self.push(cancel);
        self.next_batch();
        let turn = Turn {
            fd: self.ring.as_raw_fd(),
            pending: self.ring.submission().len() as u32,
        };
        turn.enter(if self.in_flight > 0 {
            Wait::Until(raw::now() + MOMENT)
        } else {
            Wait::No
        });
        self.end_turn(hub);
        self.in_flight == 0
    }

    /// Wakes the guests whose operations are complete. Whether the epoll set has events.
    pub fn end_turn(&mut self, hub: &Hub) -> bool {
        let mut epoll_event = false;
        for done in self.ring.completion() {
            match done.user_data() {
                NOBODY => {}
                EPOLL => {
                    epoll_event = true;
                    self.epoll_watched = cqueue::more(done.flags());
                }
                guest => {
                    // SAFETY: the guest waits for this completion; its record is live.
                    let guest = unsafe { &*(guest as *const Guest) };
                    guest.result.set(done.result() as i64);
                    guest.in_flight.set(false);
                    guest.on_ring.set(OnRing::No);
                    self.in_flight -= 1;
                    hub.wake(guest, Reason::Event);
                }
            }
        }
        epoll_event
    }
}

/// One call to the kernel.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    fd: i32,
    /// Submissions.
    pending: u32,
}

impl Turn {
    /// Hands the submissions over, and sleeps as `wait` says. What an error means
    /// (interrupted, timed out, completions to be taken first) is in what lies on the
    /// completion queue afterwards.
    pub fn enter(self, wait: Wait) {
        const GETEVENTS: u64 = 1;
        const EXT_ARG: u64 = 8;
        let ts;
        let mut argument = GetEventsArg::default();
        let least = match wait {
            Wait::No => 0,
            Wait::Forever => 1,
            Wait::Until(deadline) => {
                ts = raw::ns_timespec(deadline.saturating_sub(raw::now()));
                argument.ts = &raw const ts as u64;
                1
            }
        };
        // SAFETY: the structure is the kernel's, and what it points to lives across the call.
        unsafe {
            syscall(
                libc::SYS_io_uring_enter as u64,
                [
                    self.fd as u64,
                    self.pending.into(),
                    least,
                    GETEVENTS | EXT_ARG,
                    &raw const argument as u64,
                    size_of::<GetEventsArg>() as u64,
                ],
            )
        };
    }
}

/// The kernel's `struct io_uring_getevents_arg`.
#[repr(C)]
#[derive(Default)]
struct GetEventsArg {
    sigmask: u64,
    sigmask_sz: u32,
    pad: u32,
    ts: u64,
}
