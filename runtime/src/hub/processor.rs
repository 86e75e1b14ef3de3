//! A kernel thread that runs guests, and what it has for itself.
//!
//! The first processor is the kernel thread that was the program's; `GEVENT_SHIM_HUBS`
//! says how many there are beside it. Its own index is its place in [`each`].
//!
//! # Which one code runs on
//! A second thread-local word of every TCB that runs here says it: host contexts keep
//! theirs, a guest's is written before it is switched to. A guest may be on another
//! processor after every switch, so nothing of [`here`] is kept across one. In its own code
//! it may be moved at any instruction, so there [`here`] is not to be used at all, but for
//! [`enter_shim_here`] and [`is_in_shim_here`].
//!
//! # Synchronization
//! The `Cell`s belong to the processor's own kernel thread, in our code. Atomics are read
//! by others: the monitor, and other processors under the [giant lock](super::giant).
//! `current` is such a one for readers that can bear an old value. `in_shim` and
//! `in_section` are read by the signal handler on the same kernel thread: compiler ordering
//! is all they need. `bell` is written by who took the processor's bit out of `IDLE`.
#![allow(unsafe_code)]

use core::cell::{Cell, UnsafeCell};
use core::ptr;
use core::sync::atomic::{
    AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};

use super::queue::RunQueue;
use super::rescue::Baton;
use crate::arch::{self, Context, syscall3, syscall4, watched_syscall};
use crate::cpu_time::Meter;
use crate::guest::Guest;
use crate::host;
use crate::libc_threads;
use crate::monitor;
use crate::raw;
use crate::signal::OfThread;

/// Most processors there can be: each has a bit in `IDLE`, and descriptors of its own.
pub const MAX: usize = 32;

/// A function a guest wants run on the host context.
pub(super) type HostCall = unsafe fn(*mut ());

/// See the file's first lines.
#[repr(C, align(128))]
pub struct Processor {
    /// The guest on the CPU; null on the host context.
    pub current: Cell<*const Guest>,
    /// Where the host context goes on.
    pub ctx: UnsafeCell<Context>,
    /// A child made with CLONE_VM by this kernel thread may be running in this memory:
    /// look at getpid.
    pub shared_child: Cell<bool>,
    /// What signals need for a kernel thread.
    pub signal: OfThread,
    /// How long guests use it.
    pub cpu: Meter,
    kernel_tid: AtomicI32,
    pub(super) in_shim: AtomicBool,
    pub(super) in_section: AtomicBool,
    pub(super) turns: Cell<u32>,
    pub(super) asleep: AtomicBool,
    pub(super) turning: AtomicBool,
    watched: AtomicBool,
    pub(super) switches: AtomicU64,
    pub(super) preemption: AtomicBool,
    /// When the signal of the last preemption arrived.
    preempted_at: Cell<u64>,
    /// How long it took from there until others ran, the last time and the time before, in
    /// nanoseconds.
    preemption_took: [AtomicU64; 2],
    pub(super) dead: Cell<*const Guest>,
    pub(super) call: Cell<Option<(HostCall, *mut ())>>,
    pub(super) caller: Cell<*const Guest>,
    /// Runnable guests that run nowhere else.
    pub(super) own: RunQueue,
    /// It is to make the call of [`everywhere`](super::everywhere).
    pub(super) asked: AtomicBool,
    /// Our code has left the hub alone here while it makes a call that may wait.
    pub(super) waits: AtomicBool,
    /// Whether it runs guests; see [`rescue`](super::rescue).
    pub(super) baton: Baton,
    /// libc lists its host context's thread.
    pub(super) is_listed: Cell<bool>,
    bell: AtomicU32,
}

// SAFETY: see Synchronization.
unsafe impl Sync for Processor {}

static ALL: [Processor; MAX] = [const { Processor::new() }; MAX];
/// Where they begin, for [`debugger`](crate::debugger).
pub(crate) const FIRST: &Processor = &ALL[0];
static COUNT: AtomicUsize = AtomicUsize::new(1);
/// How many run guests, and how: [`SEVERAL`], [`RESCUE`] and [`EXCLUSIVE`].
static MODE: AtomicU8 = AtomicU8::new(0);

/// There is more than one.
const SEVERAL: u8 = 1;
/// One may have lost the hub's guests to another while its own was in the kernel, or is about to.
const RESCUE: u8 = 2;
/// One guest runs at a time, on whichever of them.
const EXCLUSIVE: u8 = 4;

/// A bit for each processor that sleeps and does not lead.
static IDLE: AtomicU64 = AtomicU64::new(0);

/// Whether there is more than one.
#[inline]
pub fn several() -> bool {
    MODE.load(Ordering::Relaxed) & SEVERAL != 0
}

/// Whether there is something to do, or to look at, where our code begins.
#[inline]
pub(super) fn is_shared() -> bool {
    MODE.load(Ordering::Relaxed) != 0
}

/// Whether the giant lock is of our code alone: guests run in parallel.
#[inline]
pub(super) fn is_parallel() -> bool {
    MODE.load(Ordering::Relaxed) & (SEVERAL | EXCLUSIVE) == SEVERAL
}

/// Whether one guest runs at a time although there are several.
#[inline]
pub fn is_exclusive() -> bool {
    MODE.load(Ordering::Relaxed) & EXCLUSIVE != 0
}

/// Whether one may have to look at what became of it.
#[inline]
pub(super) fn is_rescued() -> bool {
    MODE.load(Ordering::Relaxed) & RESCUE != 0
}

/// A rescue is about to begin; with one processor, `false` takes that back.
pub(super) fn set_rescue(rescue: bool) {
    if rescue {
        MODE.fetch_or(RESCUE, Ordering::SeqCst);
    } else {
        MODE.fetch_and(!RESCUE, Ordering::SeqCst);
    }
}

/// There is one processor more from now on, on which one guest at a time runs if `exclusive`.
pub(super) fn add(exclusive: bool) {
    COUNT.fetch_add(1, Ordering::SeqCst);
    let mode = if exclusive { EXCLUSIVE } else { 0 };
    MODE.fetch_or(SEVERAL | mode, Ordering::SeqCst);
}

/// Sets how many there are. While one runs, in our code.
pub(super) fn set_count(count: usize) {
    COUNT.store(count, Ordering::Release);
    MODE.store(if count > 1 { SEVERAL } else { 0 }, Ordering::SeqCst);
}

/// Those there are; the first one always.
pub fn each() -> &'static [Processor] {
    &ALL[..COUNT.load(Ordering::Acquire)]
}

/// The one with that index.
pub(super) fn at(index: usize) -> &'static Processor {
    &ALL[index]
}

/// The kernel thread that was the program's.
#[inline]
pub fn first() -> &'static Processor {
    &ALL[0]
}

/// The one this code runs on; on a kernel thread that is none, the first.
#[inline]
pub fn here() -> &'static Processor {
    if !several() {
        return first();
    }
    let processor = arch::current_processor() as *const Processor;
    // SAFETY: the word is null or was set by `settle_on` and `hand_over`.
    unsafe { processor.as_ref() }.unwrap_or(first())
}

/// Whether this runs on that one, and not on a kernel thread that is none.
pub fn is_here(processor: &Processor) -> bool {
    !several() || ptr::eq(arch::current_processor() as *const Processor, processor)
}

/// The one this runs on, if this kernel thread is one.
pub fn if_here() -> Option<&'static Processor> {
    if !several() {
        return Some(first());
    }
    let processor = arch::current_processor() as *const Processor;
    // SAFETY: as in `here`.
    unsafe { processor.as_ref() }
}

/// Begins our code on the one this runs on: false if it runs already. In a guest's own code,
/// which may be moved to another one until it has begun.
#[inline]
pub(super) fn enter_shim_here() -> bool {
    // SAFETY: the flag is the processor's own kernel thread's.
    let (_, was) = unsafe { arch::claim_flag(first() as *const _ as usize, IN_SHIM, &MODE) };
    !was
}

/// Whether our code runs on the one this runs on. As [`enter_shim_here`].
#[inline]
pub(super) fn is_in_shim_here() -> bool {
    // SAFETY: as above.
    unsafe { arch::is_flag_set(first() as *const _ as usize, IN_SHIM, &MODE) }
}

const IN_SHIM: usize = core::mem::offset_of!(Processor, in_shim);

/// Whether one sleeps that does not lead.
pub(super) fn has_idle() -> bool {
    IDLE.load(Ordering::Relaxed) != 0
}

/// Takes one out of those that sleep and wakes it. False: none slept so. Any thread,
/// async-signal-safe.
pub(super) fn wake_idle() -> bool {
    loop {
        let idle = IDLE.load(Ordering::SeqCst);
        if idle == 0 {
            return false;
        }
        if ALL[idle.trailing_zeros() as usize].wake() {
            return true;
        }
    }
}

/// Every place for one. Where nobody runs on another.
pub(super) fn every() -> &'static [Processor] {
    &ALL
}

/// In a forked child of a guest on `from`: its host context is the first one's now, and the
/// others are gone.
pub(super) fn become_first(from: &Processor) {
    let first = first();
    for other in each().iter().filter(|other| !ptr::eq(*other, from)) {
        if let Some(listed) = monitor::thread_pointer() {
            // SAFETY: nobody else is there who would change it.
            let thread = unsafe { (*other.ctx.get()).fs };
            if thread != 0 && !other.is_listed.get() && !host::has_partial_stack(thread) {
                // SAFETY: host contexts were taken out, and the monitor is libc's thread.
                unsafe { libc_threads::relist(thread, listed) };
            }
        }
        other.signal.free_stack();
    }
    if !ptr::eq(from, first) {
        // SAFETY: the child's only thread; neither context runs.
        unsafe { *first.ctx.get() = *from.ctx.get() };
        first.signal.take_stack_of(&from.signal);
    }
    // SAFETY: as above.
    unsafe { first.settle_on((*first.ctx.get()).fs) };
    for processor in each() {
        processor.reset();
    }
    set_count(1);
    IDLE.store(0, Ordering::Relaxed);
}

impl Processor {
    const fn new() -> Self {
        Processor {
            current: Cell::new(ptr::null()),
            ctx: UnsafeCell::new(Context { rsp: 0, fs: 0 }),
            shared_child: Cell::new(false),
            signal: OfThread::new(),
            cpu: Meter::new(),
            kernel_tid: AtomicI32::new(0),
            in_shim: AtomicBool::new(false),
            in_section: AtomicBool::new(false),
            turns: Cell::new(0),
            asleep: AtomicBool::new(false),
            turning: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            switches: AtomicU64::new(0),
            preemption: AtomicBool::new(false),
            preempted_at: Cell::new(0),
            preemption_took: [const { AtomicU64::new(0) }; 2],
            dead: Cell::new(ptr::null()),
            call: Cell::new(None),
            caller: Cell::new(ptr::null()),
            own: RunQueue::new(),
            asked: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            baton: Baton::new(),
            is_listed: Cell::new(false),
            bell: AtomicU32::new(0),
        }
    }

    /// Its place in [`each`].
    pub fn index(&self) -> usize {
        (self as *const Processor as usize - ALL.as_ptr() as usize) / size_of::<Processor>()
    }

    /// Whether it is the kernel thread that was the program's.
    #[inline]
    pub fn is_first(&self) -> bool {
        ptr::eq(self, first())
    }

    /// Id of its kernel thread; 0 before it has one.
    pub fn kernel_tid(&self) -> i32 {
        self.kernel_tid.load(Ordering::Relaxed)
    }

    /// Says which kernel thread it is.
    pub fn set_kernel_tid(&self, tid: i32) {
        self.kernel_tid.store(tid, Ordering::Release);
    }

    /// What runs on the TCB at `fs_base` runs here from now on.
    ///
    /// # Safety
    /// `fs_base` must be the thread pointer of a TCB that libc has set up, and that runs on
    /// no other processor.
    #[inline]
    pub unsafe fn settle_on(&self, fs_base: u64) {
        // SAFETY: the caller's contract.
        unsafe { arch::set_processor_of(fs_base, self as *const Processor as usize) };
    }

    /// `guest` is switched to next.
    #[inline]
    pub(super) fn hand_over(&self, guest: &Guest) {
        self.current.set(guest);
        if several() {
            // SAFETY: a guest that is runnable has its TCB, and runs nowhere.
            unsafe { self.settle_on((*guest.ctx.get()).fs) };
        }
    }

    /// Whether the host context has the CPU. In our code, here.
    pub(super) fn is_free(&self) -> bool {
        self.current.get().is_null()
    }

    /// Whether a guest is on the CPU that may as well run elsewhere. In our code.
    #[inline]
    pub(super) fn runs_a_rover(&self) -> bool {
        // SAFETY: null, or a live record.
        unsafe { self.current.get().as_ref() }.is_some_and(Guest::is_rover)
    }

    // --- preemption ----------------------------------------------------------------

    /// Whether our code runs. For the signal handler on its kernel thread.
    pub fn in_shim(&self) -> bool {
        self.in_shim.load(Ordering::Relaxed)
    }

    /// How often a guest was switched to. For the monitor.
    pub fn switches(&self) -> u64 {
        self.switches.load(Ordering::Relaxed)
    }

    /// Whether it sleeps for want of guests, or others run them. For the monitor.
    pub fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::SeqCst) || self.baton.is_out()
    }

    /// Whether others run its guests. For the monitor.
    pub fn is_out(&self) -> bool {
        self.baton.is_out()
    }

    /// Whether the reactor works here now. For the monitor.
    pub fn is_turning(&self) -> bool {
        self.turning.load(Ordering::Relaxed)
    }

    /// The guest that runs is about to let the others run, because of a signal.
    pub fn preemption_begins(&self) {
        self.preempted_at.set(raw::now());
    }

    /// It does so now.
    pub fn preemption_happens(&self) {
        let took = raw::now().saturating_sub(self.preempted_at.get());
        let last = self.preemption_took[0].swap(took, Ordering::Relaxed);
        self.preemption_took[1].store(last, Ordering::Relaxed);
    }

    /// How long a preemption takes before others run, in nanoseconds: the shorter one of the
    /// last two, since a kernel thread may lose its CPU in the middle of one. For the monitor.
    pub fn preemption_cost(&self) -> u64 {
        let [last, before] = &self.preemption_took;
        last.load(Ordering::Relaxed)
            .min(before.load(Ordering::Relaxed))
    }

    /// Asks that the guest that runs lets the others run.
    pub fn preempt(&self) {
        self.preemption.store(true, Ordering::Relaxed);
        self.interrupt();
    }

    /// The same, but a call that it is in just now ends first: a signal would cut some short
    /// (a long read of a device). For kernel threads that are no processors.
    pub fn preempt_between_calls(&self) {
        self.preemption.store(true, Ordering::Relaxed);
        if !self.in_shim() {
            self.interrupt();
        }
    }

    /// Makes its kernel thread run the signal handler, or end a call that is watched.
    pub fn interrupt(&self) {
        monitor::send(self.kernel_tid());
    }

    /// Makes a call that is not expected to wait: if it does nevertheless, the monitor
    /// ends it (-EINTR), as any signal does.
    ///
    /// # Safety
    /// As the call itself.
    pub unsafe fn watched(&self, nr: u64, args: [u64; 6]) -> i64 {
        self.watched.store(true, Ordering::Relaxed);
        // SAFETY: the caller's contract.
        let ret = unsafe { watched_syscall(nr, args) };
        self.watched.store(false, Ordering::Relaxed);
        ret
    }

    /// Whether such a call is being made. For the monitor.
    pub fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    // --- sleep ---------------------------------------------------------------------

    fn bit(&self) -> u64 {
        1 << self.index()
    }

    /// Says that it is about to sleep: who wakes it from now on finds its bit.
    pub(super) fn begin_idle(&self) {
        self.bell.store(0, Ordering::Relaxed);
        IDLE.fetch_or(self.bit(), Ordering::SeqCst);
    }

    /// Sleeps until it is woken or a handler ran.
    pub(super) fn sleep(&self) {
        const WAIT: u64 = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as u64;
        // SAFETY: a word of ours.
        unsafe { syscall4(libc::SYS_futex, self.bell.as_ptr() as u64, WAIT, 0, 0) };
    }

    /// It no longer sleeps, whoever woke it.
    pub(super) fn end_idle(&self) {
        IDLE.fetch_and(!self.bit(), Ordering::SeqCst);
    }

    /// Wakes it if it sleeps so. Any thread, async-signal-safe.
    pub fn wake(&self) -> bool {
        const WAKE: u64 = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64;
        if IDLE.fetch_and(!self.bit(), Ordering::SeqCst) & self.bit() == 0 {
            return false;
        }
        self.bell.store(1, Ordering::SeqCst);
        // SAFETY: a wake needs a valid address only.
        unsafe { syscall3(libc::SYS_futex, self.bell.as_ptr() as u64, WAKE, 1) };
        true
    }

    /// In a forked child: nothing of the parent's goes on.
    fn reset(&self) {
        self.current.set(ptr::null());
        self.shared_child.set(false);
        self.signal.reset();
        self.kernel_tid.store(0, Ordering::Relaxed);
        self.in_section.store(false, Ordering::Relaxed);
        self.dead.set(ptr::null());
        self.call.set(None);
        self.own.clear();
        self.asked.store(false, Ordering::Relaxed);
        self.waits.store(false, Ordering::Relaxed);
        self.baton.take_back();
        self.is_listed.set(false);
        self.asleep.store(false, Ordering::Relaxed);
        self.turning.store(false, Ordering::Relaxed);
        self.watched.store(false, Ordering::Relaxed);
    }
}
