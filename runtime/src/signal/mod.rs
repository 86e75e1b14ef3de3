//! Signals of guests: masks, handlers, delivery.
//!
//! # Policy
//! All guests share one kernel thread, so what the kernel keeps for a thread is
//! kept here for a guest: mask, alternate stack, pending signals. The kernel is
//! told the rest:
//!
//! - *Masks* ([`mask`]). The kernel thread blocks what every guest blocks. Such a
//!   signal stays pending in the kernel, where signalfd, sigpending and a new
//!   program find it; any other arrives at once and is given to a guest. With several
//!   [processors](crate::hub::processor) that is the first one; the others let through
//!   only what the kernel sends to a thread, and what it sends the process about its CPU time.
//!   Where many of a realtime signal wait here, more are left with the kernel: none that it has
//!   accepted is lost, and it refuses others at [its limit](mod@limit).
//! - *Actions* ([`action`]). Where the program has a handler the kernel gets ours;
//!   SIG_DFL and SIG_IGN are the kernel's to carry out. Ours also stands for
//!   SIGSEGV and SIGBUS, to answer EFAULT for a bad address of the program, for
//!   the signal of the [`monitor`](crate::monitor),
//!   for signals that a guest waits for with sigwait, and, where something of ours is to go or
//!   to be told when the process ends, for those whose default action ends it.
//! - *Arrival* ([`arrival`]). If a guest's code was interrupted, the signal is
//!   routed then and there. If our code was, it is recorded, and routed when our
//!   code is at a place to do it.
//! - *Routing* ([`mod@route`]). One guest is told of a signal of the process, chosen as the
//!   kernel chooses a thread: the one that the sender named (the initial one, for a process;
//!   for SIGCHLD the one that made the child, [`children`]) if it wants the signal, else the
//!   next in the order of their creation, from the one that was found last. One wants it that
//!   does not block it, or waits for it with sigwait, and runs or has nothing else to handle.
//!   What is about the CPU time of the process is first for who used that: the guest that runs,
//!   or, if the host does, the one that it runs next.
//!   A guest that is parked is woken; the others leave the signal to it until it has looked.
//!   If nobody wants it, it waits for who unblocks it or is next to look.
//! - *Reading* ([`read`]). What everybody blocks and a descriptor is for goes to the kernel.
//! - *Delivery* ([`mod@deliver`]). A frame like the kernel's is built on the guest's stack
//!   and the handler runs there: right away if the guest was interrupted in its
//!   own code, else when its system call returns.
//!
//! A guest that runs on another processor is told with the
//! [`monitor`](crate::monitor)'s signal.
//!
//! # Synchronization
//! Everything here belongs to our code, on one kernel thread at a time. It is
//! interrupted only by the recording of a signal, and shares with the handler the
//! rings of recorded signals ([`thread`]) and `Hub::signals`. A handler that interrupts a
//! guest's code is our code from [`Hub::enter_shim`](crate::hub::Hub::enter_shim) on.
#![allow(unsafe_code)]

use crate::catch;
use crate::monitor::PREEMPT;

mod action;
mod arrival;
mod children;
mod deliver;
mod io_owner;
mod limit;
mod mask;
mod queue;
mod read;
pub mod relatives;
mod route;
mod state;
mod thread;
mod timer;
mod wait;

use action::free_own_stack;
pub use action::{
    Action, adopt, after_exec, become_bare, before_exec, catch_ends, discard_ignored,
    expect_on_any, force, handle_raw, leave_ends, mask_of_bare, reinstall, restore_raw, set_action,
    take_ends_again, take_own_stack, view,
};
pub use arrival::note_kill;
pub use children::note_child;
pub use deliver::{deliver, deliver_interrupted, handler_returned};
pub use io_owner::{
    F_OWNER_PGRP, F_OWNER_PID, F_OWNER_TID, F_SETOWN_EX, IoOwner, disown, io_owner, set_io_owner,
};
pub use limit::is_exceeded;
pub use mask::{
    begin_exec, begin_mask, block_all, change, end_exec, end_mask, give_kernel_mask_back, inherit,
    restore_kernel_mask, resync, show_kernel_mask_of, take_mask, unblock_on_this_thread,
};
pub use read::{look as look_at_descriptors, note_signalfd};
pub use route::{
    claim, forget, has_unclaimed, pending, route, send, send_to_process, settle_job_control,
    settle_unclaimed, trap, unblock_if_full, unclaimed_until,
};
pub use state::{AltStack, SignalState, StackT};
pub use thread::OfThread;
pub use timer::{add_cpu_timer, add_timer, counts_process_time, overrun_of, remove_timer};
pub use wait::{
    begin_wait, end_wait, pending_apart, pending_here, pending_in_kernel, take_from_kernel,
    take_preemptions, take_waited,
};

/// Bit of a signal in a mask.
#[inline]
pub const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Signals in a mask, lowest first.
pub fn signals(mut mask: u64) -> impl Iterator<Item = i32> {
    core::iter::from_fn(move || {
        (mask != 0).then(|| {
            let signal = mask.trailing_zeros() as i32 + 1;
            mask &= mask - 1;
            signal
        })
    })
}

/// Highest signal number.
pub const LAST: i32 = 64;
/// Signals nobody can block or handle.
pub const UNBLOCKABLE: u64 = bit(libc::SIGKILL) | bit(libc::SIGSTOP);
/// Signals that libc keeps for itself: SIGCANCEL, which is SIGTIMER too, and SIGSETXID.
/// No mask of the program's has them.
pub const INTERNAL: u64 = bit(32) | bit(33);
/// Mask of our own kernel threads. They too must do what libc has every thread do
/// when a program changes its user (SIGSETXID).
pub const HOST_MASK: u64 = !bit(33);
/// Faults: raised by the instruction the CPU is at.
pub const FAULTS: u64 = bit(libc::SIGSEGV)
    | bit(libc::SIGBUS)
    | bit(libc::SIGILL)
    | bit(libc::SIGFPE)
    | bit(libc::SIGTRAP)
    | bit(libc::SIGSYS);
/// Signals that always reach our handler.
fn always() -> u64 {
    bit(libc::SIGSEGV) | bit(libc::SIGBUS) | bit(PREEMPT) | catch::signals()
}

/// The kernel's `siginfo_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info(pub [u64; 16]);

const _: () = assert!(size_of::<Info>() == size_of::<libc::siginfo_t>());

impl Info {
    /// All zero.
    pub const EMPTY: Info = Info([0; 16]);

    /// What kill(2) (SI_USER) and tgkill(2) (SI_TKILL) say about a sender.
    pub fn of_sender(signal: i32, code: i32, pid: i32, uid: u32) -> Info {
        let mut info = Info::EMPTY;
        info.0[0] = signal as u32 as u64;
        info.0[1] = code as u32 as u64;
        info.0[2] = pid as u32 as u64 | (uid as u64) << 32;
        info
    }

    /// What the kernel says of a call that a filter traps, from its si_errno on (sigaction(2)).
    pub fn of_filter(data: u32, address: u64, nr: u64, arch: u32) -> Info {
        /// si_code.
        const SYS_SECCOMP: u64 = 1;
        let mut info = Info::EMPTY;
        info.0[0] = libc::SIGSYS as u64 | u64::from(data) << 32;
        info.0[1] = SYS_SECCOMP;
        info.0[2] = address;
        info.0[3] = nr & 0xffff_ffff | u64::from(arch) << 32;
        info
    }

    /// si_signo.
    pub fn signal(&self) -> i32 {
        self.0[0] as i32
    }

    /// Sets si_signo.
    pub fn set_signal(&mut self, signal: i32) {
        self.0[0] = self.0[0] & !0xffff_ffff | signal as u32 as u64;
    }

    /// si_code.
    pub fn code(&self) -> i32 {
        self.0[1] as i32
    }

    /// Sets si_code.
    fn set_code(&mut self, code: i32) {
        self.0[1] = self.0[1] & !0xffff_ffff | code as u32 as u64;
    }

    /// si_syscall and si_arch of a SIGSYS.
    pub fn call(&self) -> (i32, u32) {
        (self.0[3] as i32, (self.0[3] >> 32) as u32)
    }

    /// si_pid, or the timer's id for SI_TIMER.
    pub fn pid(&self) -> i32 {
        self.0[2] as i32
    }

    /// si_fd of a descriptor's.
    fn fd(&self) -> i32 {
        self.0[3] as i32
    }

    /// si_overrun of a SI_TIMER: how often it expired besides.
    pub fn overrun(&self) -> i32 {
        (self.0[2] >> 32) as i32
    }

    /// Sets it.
    fn set_overrun(&mut self, overrun: i32) {
        self.0[2] = self.0[2] & 0xffff_ffff | (overrun as u32 as u64) << 32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_info_of_a_sender_is_where_the_kernel_puts_it() {
        let info = Info::of_sender(10, libc::SI_TKILL, 1234, 5678);
        // SAFETY: the same size, and any bytes are a siginfo.
        let theirs: libc::siginfo_t = unsafe { core::mem::transmute(info) };
        assert_eq!(theirs.si_signo, 10);
        assert_eq!(theirs.si_code, libc::SI_TKILL);
        // SAFETY: a sender's info has both.
        assert_eq!(unsafe { (theirs.si_pid(), theirs.si_uid()) }, (1234, 5678));
        assert_eq!((info.signal(), info.code(), info.pid()), (10, -6, 1234));
    }

    #[test]
    fn a_mask_is_walked_from_its_lowest_signal() {
        let mask = bit(64) | bit(1) | bit(33);
        assert!(signals(mask).eq([1, 33, 64]));
        assert_eq!(signals(0).count(), 0);
    }
}
