//! A thread of the program, run as a coroutine.
//!
//! A guest lives on the stack and TCB that libc made for it. This file has its
//! record; [`slab`] keeps the records, [`stacks`] the memory of the stacks,
//! [`life`] begins and ends guests, [`sched`] keeps what one is told about its scheduling.
//!
//! # Synchronization
//! Every `Cell` is read and written by our code alone, which runs on one kernel thread at
//! a time, or by the guest in its own code. `inbox_next` is the exception:
//! other kernel threads link a guest into the hub's inbox through it, and only
//! the one that took the guest out of a futex queue does.
#![allow(unsafe_code)]

pub mod life;
pub mod most;
pub mod overtaken;
pub mod sched;
pub mod slab;
pub mod stacks;

use crate::arch::rare::Rare;
use core::cell::{Cell, UnsafeCell};
use core::ptr;
use core::sync::atomic::AtomicPtr;

use crate::arch::Context;
use crate::cpu_time::Usage;
use crate::deadline::Deadline;
use crate::frame::Frame;
use crate::guest::overtaken::Overtaken;
use crate::guest::sched::Scheduling;
use crate::hub::{Hub, Processor, processor};
use crate::interrupt::Interruption;
use crate::ops::rseq::Registered;
use crate::sandbox::Filter;
use crate::signal::SignalState;
use crate::timer::TimerNode;

/// What a guest is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// The record is in the slab's free list (all zero: never used).
    Free = 0,
    /// In the run queue.
    Ready,
    /// On the CPU (or inside a call to the host on its behalf).
    Running,
    /// Waits for a wake.
    Parked,
    /// Ended; its stack is being left.
    Dead,
}

/// Why a parked guest was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// Not woken yet.
    None = 0,
    /// What it waited for happened (readiness, futex, offloaded call).
    Event,
    /// Its deadline passed.
    Timeout,
    /// A signal that it does not block is to be handled.
    Signal,
}

/// What becomes of an operation that waits in a ring which is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum OnRing {
    /// There is none.
    No = 0,
    /// Its guest may begin again: it has not happened, and waits for a descriptor.
    Again,
    /// It may be happening.
    Once,
}

/// The record of a guest. All-zero bytes are a valid free record.
#[repr(C)]
pub struct Guest {
    /// Where it goes on, while it does not run.
    pub ctx: UnsafeCell<Context>,
    /// Its hub.
    pub hub: Cell<*const Hub>,
    /// The only processor it runs on, by its index plus one; 0: any.
    home: Cell<u8>,
    /// Thread id as the program sees it.
    pub tid: Cell<i32>,
    /// What it is doing.
    pub state: Cell<State>,
    /// Why it was woken last.
    pub reason: Cell<Reason>,
    /// Whether a signal ends the present wait.
    pub interruptible: Cell<bool>,
    /// Whether `timer` is in the hub's heap.
    pub timer_armed: Cell<bool>,
    /// Whether an operation of this guest is with the kernel or the offload pool.
    pub in_flight: Cell<bool>,
    /// Whether that is with the reactor's ring.
    pub on_ring: Cell<OnRing>,
    /// Result of that operation once it is complete.
    pub result: Cell<i64>,
    /// Link of the run queue, or of the slab's free list.
    pub next: Cell<*const Guest>,
    /// Link of the hub's inbox.
    pub inbox_next: AtomicPtr<Guest>,
    /// Links of the hub's list of all guests.
    pub all_prev: Cell<*const Guest>,
    #[allow(missing_docs)]
    pub all_next: Cell<*const Guest>,
    /// The deadline of the present wait.
    pub timer: UnsafeCell<TimerNode>,
    /// What that was made of. Meaningful while `timer_armed`.
    pub until: Cell<Deadline>,
    /// Registers at the system call it is in.
    pub frame: Cell<*mut Frame>,
    /// Cleared and woken when it ends (CLONE_CHILD_CLEARTID, set_tid_address(2)).
    pub clear_child_tid: Cell<*mut u32>,
    /// Head of the list of robust futexes it holds (get_robust_list(2)).
    pub robust_list: Cell<usize>,
    /// The area for restartable sequences that libc registered for it.
    pub rseq: Registered,
    /// The stack libc made for it, guard included; both 0 if that is not known.
    pub stack: Cell<(u64, u64)>,
    /// libc asked it to repeat another thread's call about credentials.
    pub repeats: Cell<bool>,
    /// Its child of vfork(2) is to have the program's own [limit](patch_events::numbers::hold).
    pub holds_limit: Cell<bool>,
    /// What prctl(PR_SET_PDEATHSIG) asked for.
    pub death_signal: Cell<u8>,
    /// It is giving way, on a frame of [`preempted`](crate::monitor::preempted), on top of which
    /// no handler is put.
    pub giving_way: Cell<bool>,
    /// It was preempted since it last parked: it computes.
    pub busy: Cell<bool>,
    /// Whether others take the lock that it waits for.
    pub overtaken: Overtaken,
    /// Calls in a row that only asked whether a descriptor is ready.
    pub impatience: Cell<u32>,
    /// The newest filter of system calls that binds it, or null.
    pub filter: Cell<*const Filter>,
    /// Its PKRU and GS when it begins: its creator's.
    pub rare: Cell<Rare>,
    /// Its children will be in another pid namespace, and so cannot be threads.
    pub makes_no_threads: Cell<bool>,
    /// Stack pointer where its present [`lookup`](crate::lookup) began, or 0.
    pub lookup: Cell<u64>,
    /// Times its record was used before: makes thread ids differ.
    pub uses: Cell<u32>,
    /// Which record of the slab it is.
    pub number: Cell<u32>,
    /// Name as prctl(PR_SET_NAME) sets it; the initial guest's is the kernel's too.
    pub name: Cell<[u8; 16]>,
    /// When it was made, if events of guests are asked for: CLOCK_MONOTONIC, nanoseconds.
    pub born: Cell<u64>,
    /// When it parked last, if calls are timed.
    pub since: Cell<u64>,
    /// How long it was off the CPU in the present call, if calls are timed: nanoseconds.
    pub waited: Cell<u64>,
    /// That it still waits has been told.
    pub told_open: Cell<bool>,
    /// When it came back last, if calls are timed.
    pub woke: Cell<u64>,
    /// What may end its calls from outside.
    pub interrupt: Interruption,
    /// How it is scheduled, as far as it was told.
    pub sched: Scheduling,
    /// How long it used the processor.
    pub cpu: Usage,
    /// Mask, pending signals and alternate stack.
    pub signal: SignalState,
}

/// Least size of a stack that has room to spare far below its top.
const SPACIOUS: u64 = 128 << 10;

impl Guest {
    /// Where a frame of ours may begin if `sp` is not on the thread's own stack. Code
    /// that goes on another one (a virtual machine's, a coroutine's) may use it to the
    /// last byte, and keeps its handlers away from it with an alternate stack. The
    /// thread's own then lies unused but for its upper end.
    pub fn far_below(&self, sp: u64) -> Option<u64> {
        let (low, top) = self.stack.get();
        (top - low >= SPACIOUS && !(low..top).contains(&sp)).then(|| (low + (top - low) / 4) & !63)
    }

    /// Its hub.
    #[inline]
    pub fn hub(&self) -> &'static Hub {
        // SAFETY: set when the guest is made; hubs are never freed.
        unsafe { &*self.hub.get() }
    }

    /// The only processor it runs on, if it does not run on any.
    #[inline]
    pub fn home(&self) -> Option<&'static Processor> {
        processor::each().get(usize::from(self.home.get()).wrapping_sub(1))
    }

    /// Whether it runs on any. Does not unwind.
    #[inline(always)]
    pub fn is_rover(&self) -> bool {
        self.home.get() == 0
    }

    /// It runs on this processor alone from now on.
    pub fn stay_on(&self, processor: &Processor) {
        self.home.set(processor.index() as u8 + 1);
    }

    /// It runs wherever there is room.
    pub fn go_anywhere(&self) {
        self.home.set(0);
    }

    /// Whether this is the guest that was the process's initial thread.
    pub fn is_initial(&self) -> bool {
        ptr::eq(self.hub().initial.get(), self)
    }
}
