//! The scheduler and event loop that all guests share.
//!
//! # Policy
//! Guests run in the order in which they became runnable. A guest that parks
//! switches straight to the next one; it goes through the host only when the run
//! queue is empty or [`TURN`] guests have run since the reactor was last asked.
//! So under load a batch of completions is turned into a batch of guest runs, and
//! their new operations go to the kernel in one call.
//!
//! The host context is may's worker running the hub's coroutine
//! ([`host`](crate::host)). It owns everything that may allocate or lock: a guest
//! that needs such a thing asks for it with [`Hub::call`].
//!
//! # Several processors
//! With `GEVENT_SHIM_HUBS` there are further kernel threads that run guests
//! ([`processor`]), each with a host context of its own. They share this hub: one run
//! queue, from which whoever is free takes the next guest, one heap of deadlines, one
//! reactor. The guests' own code runs in parallel; ours, on one processor at a time (the
//! giant lock). So a program that computes gains, and what is said below about one
//! kernel thread holds for whoever has the lock. The initial guest alone stays on the first
//! processor, whose kernel thread was its own.
//!
//! # Synchronization
//! A hub is used by the holder of the [giant lock](giant), with one processor by its own
//! kernel thread. Shared with others are `inbox` (a
//! lock-free stack that they push woken guests on and the hub empties),
//! `sleeping` (set by the hub before it looks at the inbox for the last time and
//! sleeps; who pushes and then finds it set must wake the hub), `mail` (likewise) and
//! `signals` (set by the signal handler, which interrupts our code too).
//!
//! | file | subject |
//! |---|---|
//! | [`processor`], `giant`, [`everywhere`] | kernel threads; the lock of our code; calls that all of them must make |
//! | [`recruit`] | how there come to be several |
//! | [`rescue`] | whose guests go on elsewhere while it is blocked in the kernel |
//! | `queue` | who can run, and who makes it so |
//! | `park` | a guest leaves its processor and comes back |
//! | `clock` | when who is parked is to wake |
//! | `turn` | the loop, and sleep |
#![allow(unsafe_code)]

mod clock;
pub mod everywhere;
mod giant;
mod park;
pub mod processor;
mod queue;
pub mod recruit;
pub mod rescue;
mod turn;

use core::cell::{Cell, UnsafeCell};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, compiler_fence};

use crate::chaos::Chaos;
use crate::control::snapshot;
use crate::guest::Guest;
use crate::guest::slab::Slab;
use crate::guest::stacks::Stacks;
use crate::monitor;
use crate::reactor::Reactor;
use crate::timer::Timers;
use giant::GIANT;
pub use processor::Processor;
use queue::RunQueue;

/// Guests that may run one after another before the reactor is asked again.
const TURN: u32 = 64;

/// See the file's first lines.
pub struct Hub {
    /// The guest that was the process's initial thread, or null once it ended.
    pub initial: Cell<*const Guest>,
    /// Records of the guests.
    pub slab: Slab,
    /// Memory of their stacks.
    pub stacks: Stacks,
    /// Process id, to tell a forked or vforked child apart.
    pub pid: Cell<i32>,
    /// Kernel threads of the program existed when the hub started.
    pub foreign: Cell<bool>,
    /// What somebody asks about the guests, or null.
    pub mail: AtomicPtr<snapshot::Request>,
    /// Signals for guests were recorded and wait to be looked at.
    pub signals: AtomicBool,
    /// Whether and how chance decides who runs.
    pub chaos: Chaos,
    ready: RunQueue,
    timers: UnsafeCell<Timers>,
    reactor: UnsafeCell<Option<Reactor>>,
    inbox: AtomicPtr<Guest>,
    sleeping: AtomicBool,
    /// The processor that sleeps in the reactor, or null.
    leader: AtomicPtr<Processor>,
    /// Until when it sleeps there (CLOCK_MONOTONIC, nanoseconds); 0 while nobody does.
    sleeps_until: Cell<u64>,
    all: Cell<*const Guest>,
    /// The last one of that list.
    oldest: Cell<*const Guest>,
    count: AtomicUsize,
    created: Cell<u64>,
    peak: Cell<usize>,
}

// SAFETY: see Synchronization above; nothing else is touched from other threads.
unsafe impl Sync for Hub {}

pub(crate) static HUB: Hub = Hub::new();

/// The hub.
#[inline]
pub fn hub() -> &'static Hub {
    &HUB
}

impl Hub {
    /// Offset of the list of all guests, for [`debugger`](crate::debugger).
    pub(crate) const ALL_AT: usize = core::mem::offset_of!(Hub, all);

    const fn new() -> Self {
        Hub {
            initial: Cell::new(ptr::null()),
            slab: Slab::new(),
            stacks: Stacks::new(),
            pid: Cell::new(0),
            foreign: Cell::new(false),
            mail: AtomicPtr::new(ptr::null_mut()),
            signals: AtomicBool::new(false),
            chaos: Chaos::off(),
            ready: RunQueue::new(),
            timers: UnsafeCell::new(Timers::new()),
            reactor: UnsafeCell::new(None),
            inbox: AtomicPtr::new(ptr::null_mut()),
            sleeping: AtomicBool::new(false),
            leader: AtomicPtr::new(ptr::null_mut()),
            sleeps_until: Cell::new(0),
            all: Cell::new(ptr::null()),
            oldest: Cell::new(ptr::null()),
            count: AtomicUsize::new(0),
            created: Cell::new(0),
            peak: Cell::new(0),
        }
    }

    // --- whose code runs ------------------------------------------------------

    /// From here on this kernel thread runs our code: the signal handler only
    /// records what arrives, and no other processor runs any of ours. Does nothing if
    /// that is so already.
    #[inline]
    pub fn enter_shim(&self) {
        let began = self.claim_shim();
        self.claimed_shim(began);
    }

    /// The first half of [`enter_shim`](Self::enter_shim), which calls nothing that could
    /// unwind. Whether our code begins here.
    #[inline(always)]
    pub fn claim_shim(&self) -> bool {
        processor::enter_shim_here()
    }

    /// The second half, with what the first one answered.
    #[inline]
    pub fn claimed_shim(&self, began: bool) {
        compiler_fence(Ordering::SeqCst);
        if began && processor::is_shared() {
            self.claimed_among_several();
        }
    }

    #[inline]
    fn claimed_among_several(&self) {
        if processor::is_rescued() {
            self.claimed_after_rescue();
        } else {
            GIANT.lock();
        }
    }

    /// From here on the program's code runs.
    #[inline]
    pub fn leave_shim(&self) {
        self.leaves_shim();
        self.left_shim();
    }

    /// The first half of [`leave_shim`](Self::leave_shim).
    #[inline]
    pub fn leaves_shim(&self) {
        compiler_fence(Ordering::SeqCst);
        if processor::is_parallel() && !self.in_section() {
            self.share();
            GIANT.unlock();
        }
    }

    /// The second half, which calls nothing that could unwind.
    #[inline(always)]
    pub fn left_shim(&self) {
        let here = processor::here();
        compiler_fence(Ordering::SeqCst);
        if !here.in_section.load(Ordering::Relaxed) {
            here.in_shim.store(false, Ordering::Relaxed);
        }
    }

    /// Begins a stretch of a guest's own code that counts as ours; see
    /// [`Section`](crate::api::section::Section).
    #[inline]
    pub fn enter_section(&self) {
        self.enter_shim();
        processor::here().in_section.store(true, Ordering::Relaxed);
    }

    /// Ends it.
    #[inline]
    pub fn leave_section(&self) {
        processor::here().in_section.store(false, Ordering::Relaxed);
        self.leave_shim();
    }

    /// Whether the guest that runs here is in such a stretch.
    pub fn in_section(&self) -> bool {
        processor::here().in_section.load(Ordering::Relaxed)
    }

    /// Whether our code runs here. Also in a guest's own code.
    pub fn in_shim(&self) -> bool {
        processor::is_in_shim_here()
    }

    /// Lets the other processors run our code while this one sleeps in `f`, which touches
    /// nothing that is the hub's.
    pub fn unlocked<R>(&self, f: impl FnOnce() -> R) -> R {
        if !processor::several() {
            return self.waiting(f);
        }
        GIANT.unlock();
        let result = f();
        GIANT.lock();
        result
    }

    /// Makes a call that may wait, on the only processor: others may take its guests over
    /// meanwhile.
    fn waiting<R>(&self, f: impl FnOnce() -> R) -> R {
        let waits = &processor::first().waits;
        waits.store(true, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        let result = f();
        waits.store(false, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        if processor::is_shared() {
            self.claimed_after_rescue();
        }
        result
    }

    /// There are `count` processors from now on. On the only one there is, in our code, with
    /// the TCB of its host context and of `guest`, its caller.
    pub fn begin_several(&self, count: usize, guest: &Guest) {
        let first = processor::first();
        GIANT.set_held(true);
        // SAFETY: the contexts of this processor, of which one runs.
        unsafe {
            first.settle_on((*first.ctx.get()).fs);
            first.settle_on((*guest.ctx.get()).fs);
        }
        processor::set_count(count);
    }

    /// What a kernel thread that becomes `processor` does for ever, on its own TCB, which
    /// is a host's from now on.
    pub fn join(&'static self, processor: &'static Processor) -> ! {
        processor.in_shim.store(true, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        GIANT.lock();
        self.run()
    }

    /// Makes a call that is not expected to wait: if it does nevertheless, the monitor
    /// ends it (-EINTR), as any signal does.
    ///
    /// # Safety
    /// As the call itself.
    pub unsafe fn watched(&self, nr: u64, args: [u64; 6]) -> i64 {
        // SAFETY: the caller's contract.
        unsafe { processor::here().watched(nr, args) }
    }

    // --- preemption ----------------------------------------------------------------

    /// How often a guest was switched to.
    pub fn switches(&self) -> u64 {
        processor::each().iter().map(Processor::switches).sum()
    }

    /// Whether every processor sleeps. For the monitor.
    pub fn is_asleep(&self) -> bool {
        processor::each().iter().all(Processor::is_asleep)
    }

    /// Whether nobody waits for events, and a processor sleeps that could: whoever took the
    /// last ones is still with the guest that they were for. For the monitor.
    pub fn lacks_leader(&self) -> bool {
        self.leader().is_null() && processor::has_idle()
    }

    /// Has one that sleeps look at events. For the monitor.
    pub fn call_leader(&self) {
        processor::wake_idle();
    }

    /// Whether the guest on a processor may keep somebody waiting: not if another one sleeps
    /// until there is something to do, but for those that run on this one alone. For the
    /// monitor.
    pub fn is_needed(&self, processor: &Processor) -> bool {
        if processor::is_exclusive() {
            return GIANT.is_contended()
                || self.leader().is_null()
                || !self.ready.is_empty()
                || !processor.own.is_empty();
        }
        let somebody_waits = !self.leader().is_null() && self.sleeping.load(Ordering::Relaxed);
        !somebody_waits || !processor.own.is_empty()
    }

    /// Makes those that work look at what came. For kernel threads that are no guests.
    pub fn urge(&self) {
        let works = |processor: &&Processor| {
            !processor.is_asleep() && !processor.is_turning() && monitor::is_running(processor)
        };
        if !self.is_asleep() {
            processor::each()
                .iter()
                .filter(works)
                .for_each(Processor::preempt_between_calls);
        }
    }

    /// Asks that the guest that runs here lets the others run; the caller makes it look.
    pub fn note_preemption(&self) {
        processor::here().preemption.store(true, Ordering::Relaxed);
    }

    /// Whether that was asked for.
    #[inline]
    pub fn is_preemption_due(&self) -> bool {
        processor::here().preemption.load(Ordering::Relaxed)
    }

    /// Whether it is to let others run before its own code goes on: who asked that may have
    /// found our code at its last steps, and does not ask again.
    #[inline(always)] // into what must not unwind
    pub fn is_to_give_way(&self) -> bool {
        let here = processor::here();
        here.preemption.load(Ordering::Relaxed) && (!self.chaos.is_on() || self.is_in_the_way(here))
    }

    /// Whether who runs here may as well run where one sleeps, and let those run that run here
    /// alone.
    #[inline(always)] // as above
    fn is_in_the_way(&self, here: &Processor) -> bool {
        here.runs_a_rover() && !here.own.is_empty() && self.has_sleeper()
    }

    /// Whether that was asked for since the last call.
    #[inline]
    pub fn take_preemption(&self) -> bool {
        let here = processor::here();
        here.preemption.load(Ordering::Relaxed) && self.take_preemption_asked_for(here)
    }

    /// The same for the handler of the monitor's signal: no chance decides whether a guest
    /// that makes no call gives way, or it might do so never.
    pub fn take_preemption_by_signal(&self) -> bool {
        self.chaos.is_on() || self.take_preemption()
    }

    #[cold]
    fn take_preemption_asked_for(&self, here: &Processor) -> bool {
        if self.chaos.is_on() {
            // It is asked for all the time, and chance decides; but not that somebody waits
            // for this processor for ever.
            return self.chaos.gives_way() || self.is_in_the_way(here);
        }
        here.preemption.swap(false, Ordering::Relaxed)
    }

    /// Begins to schedule at random.
    pub fn begin_chaos(&self, seed: u64) {
        self.chaos.begin(seed);
        for processor in processor::every() {
            processor.preemption.store(true, Ordering::Relaxed);
        }
    }

    // --- guests ----------------------------------------------------------------

    /// Number of guests that have not ended.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether kernel threads of the program's own run besides the hub.
    pub fn has_foreign(&self) -> bool {
        self.foreign.get()
    }

    /// Kernel threads of the program's own run besides the hub from now on. Guest mode.
    pub fn take_foreign(&self) {
        self.foreign.set(true);
    }

    /// The live guest with that id.
    pub fn find(&self, tid: i32) -> Option<&'static Guest> {
        match self.slab.find(tid) {
            Some(guest) => Some(guest),
            // SAFETY: the initial guest is a live record until it ends.
            None => unsafe { self.initial.get().as_ref() }.filter(|g| g.tid.get() == tid),
        }
    }

    /// Adds a guest to the list of all guests.
    pub fn enroll(&self, guest: &'static Guest) {
        let head = self.all.get();
        guest.all_prev.set(ptr::null());
        guest.all_next.set(head);
        // SAFETY: enrolled guests are live records.
        match unsafe { head.as_ref() } {
            Some(head) => head.all_prev.set(guest),
            None => self.oldest.set(guest),
        }
        self.all.set(guest);
        self.count.store(self.count() + 1, Ordering::Relaxed);
        self.created.set(self.created.get() + 1);
        self.peak.set(self.peak.get().max(self.count()));
    }

    /// How many guests there have been, and the most that there were at once.
    pub fn census(&self) -> (u64, usize) {
        (self.created.get(), self.peak.get())
    }

    /// Takes a guest out of the list of all guests.
    pub fn dismiss(&self, guest: &Guest) {
        let (prev, next) = (guest.all_prev.get(), guest.all_next.get());
        // SAFETY: neighbours in the list are live records.
        unsafe {
            match prev.as_ref() {
                Some(prev) => prev.all_next.set(next),
                None => self.all.set(next),
            }
            match next.as_ref() {
                Some(next) => next.all_prev.set(prev),
                None => self.oldest.set(prev),
            }
        }
        if ptr::eq(self.initial.get(), guest) {
            self.initial.set(ptr::null());
        }
        self.count.store(self.count() - 1, Ordering::Relaxed);
    }

    /// Every guest, newest first.
    pub fn guests(&self) -> impl Iterator<Item = &'static Guest> + use<> {
        let mut at = self.all.get();
        core::iter::from_fn(move || {
            // SAFETY: the list holds live records; callers do not end guests while
            // they iterate.
            let guest = unsafe { at.as_ref() }?;
            at = guest.all_next.get();
            Some(guest)
        })
    }

    /// The guest that was created after `guest`, one of the list; after the newest, the oldest.
    pub fn after(&self, guest: &Guest) -> &'static Guest {
        // SAFETY: the list holds live records, and is not empty.
        unsafe {
            let newer = guest.all_prev.get().as_ref();
            newer.unwrap_or_else(|| &*self.oldest.get())
        }
    }

    /// In a forked child: forgets every guest and everything they waited for. The kernel
    /// thread is the first processor, and the only one.
    pub fn reset_after_fork(&self) {
        processor::become_first(processor::here());
        GIANT.set_held(false);
        everywhere::reset_after_fork();
        self.ready.clear();
        self.inbox.store(ptr::null_mut(), Ordering::Relaxed);
        self.mail.store(ptr::null_mut(), Ordering::Relaxed);
        self.sleeping.store(false, Ordering::Relaxed);
        self.set_leader(ptr::null());
        self.sleeps_until.set(0);
        self.signals.store(false, Ordering::Relaxed);
        self.initial.set(ptr::null());
        // SAFETY: the only thread of the child; no reference is in use.
        unsafe { *self.timers.get() = Timers::new() };
        self.oldest.set(ptr::null());
        let mut at = self.all.replace(ptr::null());
        // SAFETY: records of the parent's guests, copied by fork.
        while let Some(guest) = unsafe { at.as_ref() } {
            at = guest.all_next.get();
            self.slab.put(guest);
        }
        self.count.store(0, Ordering::Relaxed);
        self.created.set(0);
        self.peak.set(0);
    }
}
