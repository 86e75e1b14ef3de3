//! The scheduler and event loop of one kernel thread.
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
//! # Synchronization
//! A hub is used by its own kernel thread. Shared with others are `inbox` (a
//! lock-free stack that they push woken guests on and the hub empties),
//! `sleeping` (set by the hub before it looks at the inbox for the last time and
//! sleeps; who pushes and then finds it set must wake the hub), `mail` (likewise) and
//! `signals` (set by the signal handler, on the same kernel thread). `in_shim` is
//! read by the signal handler on the same kernel thread: compiler ordering is all
//! it needs.
#![allow(unsafe_code)]

use core::cell::{Cell, UnsafeCell};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, compiler_fence};

use crate::arch::{Context, switch, watched_syscall};
use crate::chaos::{self, Chaos};
use crate::control::snapshot;
use crate::guest::slab::Slab;
use crate::guest::stacks::Stacks;
use crate::guest::{Guest, Reason, State, life};
use crate::heir;
use crate::interrupt;
use crate::monitor;
use crate::probes;
use crate::raw;
use crate::reactor::{Reactor, Wait};
use crate::signal;
use crate::timer::Timers;
use crate::trace;

/// Guests that may run one after another before the reactor is asked again.
const TURN: u32 = 64;

/// A function a guest wants run on the host context.
type HostCall = unsafe fn(*mut ());

/// See the file's first lines.
pub struct Hub {
    /// Where the host context goes on.
    pub ctx: UnsafeCell<Context>,
    /// The guest on the CPU; null on the host context.
    pub current: Cell<*const Guest>,
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
    /// A child made with CLONE_VM may be running in this memory: look at getpid.
    pub shared_child: Cell<bool>,
    /// What somebody asks about the guests, or null.
    pub mail: AtomicPtr<snapshot::Request>,
    /// Signals for guests were recorded and wait to be looked at.
    pub signals: AtomicBool,
    in_shim: AtomicBool,
    in_section: AtomicBool,
    run_head: Cell<*const Guest>,
    run_tail: Cell<*const Guest>,
    turns: Cell<u32>,
    timers: UnsafeCell<Timers>,
    reactor: UnsafeCell<Option<Reactor>>,
    inbox: AtomicPtr<Guest>,
    sleeping: AtomicBool,
    asleep: AtomicBool,
    /// Whether and how chance decides who runs.
    pub chaos: Chaos,
    turning: AtomicBool,
    watched: AtomicBool,
    switches: AtomicU64,
    preemption: AtomicBool,
    dead: Cell<*const Guest>,
    all: Cell<*const Guest>,
    count: AtomicUsize,
    created: Cell<u64>,
    peak: Cell<usize>,
    call: Cell<Option<(HostCall, *mut ())>>,
    caller: Cell<*const Guest>,
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
            ctx: UnsafeCell::new(Context { rsp: 0, fs: 0 }),
            current: Cell::new(ptr::null()),
            initial: Cell::new(ptr::null()),
            slab: Slab::new(),
            stacks: Stacks::new(),
            pid: Cell::new(0),
            foreign: Cell::new(false),
            shared_child: Cell::new(false),
            mail: AtomicPtr::new(ptr::null_mut()),
            signals: AtomicBool::new(false),
            in_shim: AtomicBool::new(false),
            in_section: AtomicBool::new(false),
            run_head: Cell::new(ptr::null()),
            run_tail: Cell::new(ptr::null()),
            turns: Cell::new(0),
            timers: UnsafeCell::new(Timers::new()),
            reactor: UnsafeCell::new(None),
            inbox: AtomicPtr::new(ptr::null_mut()),
            sleeping: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            chaos: Chaos::off(),
            turning: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            switches: AtomicU64::new(0),
            preemption: AtomicBool::new(false),
            dead: Cell::new(ptr::null()),
            all: Cell::new(ptr::null()),
            count: AtomicUsize::new(0),
            created: Cell::new(0),
            peak: Cell::new(0),
            call: Cell::new(None),
            caller: Cell::new(ptr::null()),
        }
    }

    // --- whose code runs ------------------------------------------------------

    /// From here on this kernel thread runs our code: the signal handler only
    /// records what arrives.
    #[inline]
    pub fn enter_shim(&self) {
        self.in_shim.store(true, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    /// From here on the program's code runs.
    #[inline]
    pub fn leave_shim(&self) {
        compiler_fence(Ordering::SeqCst);
        self.in_shim.store(self.in_section(), Ordering::Relaxed);
    }

    /// Begins a stretch of a guest's own code that counts as ours; see
    /// [`Section`](crate::api::section::Section).
    #[inline]
    pub fn enter_section(&self) {
        self.in_section.store(true, Ordering::Relaxed);
        self.enter_shim();
    }

    /// Ends it.
    #[inline]
    pub fn leave_section(&self) {
        self.in_section.store(false, Ordering::Relaxed);
        self.leave_shim();
    }

    /// Whether the guest that runs is in such a stretch.
    pub fn in_section(&self) -> bool {
        self.in_section.load(Ordering::Relaxed)
    }

    /// Whether our code runs. For the signal handler.
    pub fn in_shim(&self) -> bool {
        self.in_shim.load(Ordering::Relaxed)
    }

    // --- preemption ----------------------------------------------------------------

    /// How often a guest was switched to. For the monitor.
    pub fn switches(&self) -> u64 {
        self.switches.load(Ordering::Relaxed)
    }

    /// Whether the hub sleeps in its reactor. For the monitor.
    pub fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::SeqCst)
    }

    /// Whether the reactor works now. For the monitor.
    pub fn is_turning(&self) -> bool {
        self.turning.load(Ordering::Relaxed)
    }

    /// Asks that the guest that runs lets the others run. For the monitor.
    pub fn preempt(&self, kernel_tid: i32) {
        self.preemption.store(true, Ordering::Relaxed);
        monitor::send(kernel_tid);
    }

    /// Asks the same, without a signal: the caller makes the guest look.
    pub fn note_preemption(&self) {
        self.preemption.store(true, Ordering::Relaxed);
    }

    /// Whether that was asked for.
    #[inline]
    pub fn is_preemption_due(&self) -> bool {
        self.preemption.load(Ordering::Relaxed)
    }

    /// Whether that was asked for since the last call.
    #[inline]
    pub fn take_preemption(&self) -> bool {
        self.preemption.load(Ordering::Relaxed) && self.take_preemption_asked_for()
    }

    #[cold]
    fn take_preemption_asked_for(&self) -> bool {
        if self.chaos.is_on() {
            // It is asked for all the time, and chance decides.
            return self.chaos.gives_way();
        }
        self.preemption.swap(false, Ordering::Relaxed)
    }

    /// Begins to schedule at random.
    pub fn begin_chaos(&self, seed: u64) {
        self.chaos.begin(seed);
        self.note_preemption();
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

    // --- guests ----------------------------------------------------------------

    /// Number of guests that have not ended.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether kernel threads of the program's own run besides the hub.
    pub fn has_foreign(&self) -> bool {
        self.foreign.get()
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
        if let Some(head) = unsafe { head.as_ref() } {
            head.all_prev.set(guest);
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
            if let Some(next) = next.as_ref() {
                next.all_prev.set(prev);
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

    // --- run queue ---------------------------------------------------------------

    /// Puts a guest at the end of the run queue.
    pub fn make_ready(&self, guest: &'static Guest) {
        debug_assert_ne!(guest.state.get(), State::Ready);
        guest.state.set(State::Ready);
        guest.next.set(ptr::null());
        // SAFETY: the tail is a live record in the queue.
        match unsafe { self.run_tail.get().as_ref() } {
            Some(tail) => tail.next.set(guest),
            None => self.run_head.set(guest),
        }
        self.run_tail.set(guest);
    }

    /// Whether a guest waits in the run queue.
    pub fn has_ready(&self) -> bool {
        !self.run_head.get().is_null()
    }

    fn pop_ready(&self) -> Option<&'static Guest> {
        // SAFETY: the head is a live record in the queue.
        let guest = unsafe { self.run_head.get().as_ref() }?;
        if self.chaos.is_on() {
            return Some(self.pop_any(guest));
        }
        let next = guest.next.get();
        self.run_head.set(next);
        if next.is_null() {
            self.run_tail.set(ptr::null());
        }
        Some(guest)
    }

    /// Takes one of the first guests of the queue, which begins with `head`.
    #[cold]
    fn pop_any(&self, head: &'static Guest) -> &'static Guest {
        let (mut before, mut chosen) = (None::<&'static Guest>, head);
        for _ in 0..self.chaos.below(chaos::AMONG) {
            // SAFETY: guests in the queue are live records.
            let Some(next) = (unsafe { chosen.next.get().as_ref() }) else {
                break;
            };
            before = Some(chosen);
            chosen = next;
        }
        let next = chosen.next.get();
        match before {
            Some(before) => before.next.set(next),
            None => self.run_head.set(next),
        }
        if next.is_null() {
            self.run_tail
                .set(before.map_or(ptr::null(), |before| before as *const Guest));
        }
        chosen
    }

    /// Wakes a parked guest. False if it was not parked: somebody woke it before.
    pub fn wake(&self, guest: &'static Guest, reason: Reason) -> bool {
        if guest.state.get() != State::Parked {
            return false;
        }
        guest.reason.set(reason);
        probes::wake(guest);
        self.disarm(guest);
        self.make_ready(guest);
        true
    }

    /// Wakes a guest of this hub from whatever kernel thread runs. The caller must
    /// be the only one that may wake this guest for this event (it took the
    /// guest's waiter out of a queue), so that it is in the inbox once at most.
    ///
    /// # Safety
    /// `guest` must be a live record that waits for this wake.
    pub unsafe fn wake_from_anywhere(&self, guest: *const Guest) {
        let guest_mut = guest.cast_mut();
        let mut head = self.inbox.load(Ordering::Relaxed);
        loop {
            // SAFETY: the guest waits for this wake, so its record is live.
            unsafe { (*guest).inbox_next.store(head, Ordering::Relaxed) };
            match self.inbox.compare_exchange_weak(
                head,
                guest_mut,
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        self.notify();
    }

    /// Makes the hub look at its inbox and its signals if it sleeps.
    /// Async-signal-safe.
    pub fn notify(&self) {
        if self.sleeping.swap(false, Ordering::SeqCst) {
            crate::reactor::ring_the_bell();
        }
    }

    fn drain_inbox(&self) {
        if self.inbox.load(Ordering::Relaxed).is_null() {
            return;
        }
        // Pushed newest first; woken oldest first.
        let mut taken = self.inbox.swap(ptr::null_mut(), Ordering::SeqCst);
        let mut ordered: *mut Guest = ptr::null_mut();
        // SAFETY: every guest in the inbox waits for this wake.
        unsafe {
            while !taken.is_null() {
                let next = (*taken).inbox_next.load(Ordering::Relaxed);
                (*taken).inbox_next.store(ordered, Ordering::Relaxed);
                ordered = taken;
                taken = next;
            }
            while !ordered.is_null() {
                let guest = &*ordered;
                ordered = guest.inbox_next.load(Ordering::Relaxed);
                guest.in_flight.set(false);
                self.wake(guest, Reason::Event);
            }
        }
    }

    // --- parking -----------------------------------------------------------------

    /// Takes `guest`, the caller, off the CPU until it is woken, its deadline (in
    /// CLOCK_MONOTONIC nanoseconds) passes or, if `interruptible`, a signal is to
    /// be handled. Whatever is to wake it must have been registered before.
    pub fn park(
        &self,
        guest: &'static Guest,
        deadline: Option<u64>,
        interruptible: bool,
    ) -> Reason {
        debug_assert!(ptr::eq(self.current.get(), guest));
        if heir::is_wanted() {
            heir::look(guest);
        }
        if interruptible && self.has_signal(guest) {
            return Reason::Signal;
        }
        let limited = interruptible && guest.interrupt.is_armed();
        let deadline = if limited {
            match interrupt::limit(guest, deadline) {
                Ok(deadline) => deadline,
                Err(interrupt::Due) => return Reason::Signal,
            }
        } else {
            deadline
        };
        if let Some(deadline) = deadline {
            let node = guest.timer.get();
            // SAFETY: the node is the guest's own and not in the heap now.
            unsafe {
                (*node).deadline = deadline;
                (*node).owner = guest as *const Guest as *mut ();
                (*self.timers.get()).insert(node);
            }
            guest.timer_armed.set(true);
        }
        guest.interruptible.set(interruptible);
        guest.busy.set(false);
        guest.state.set(State::Parked);
        let timed = trace::waits();
        if timed {
            guest.since.set(raw::now());
        }
        probes::park(guest);
        self.switch_away(guest);
        if timed {
            trace::call::woke(guest);
        }
        match guest.reason.get() {
            // The caller sees which of its deadlines it was by asking again.
            Reason::Timeout if limited && interrupt::limit(guest, None).is_err() => Reason::Signal,
            reason => reason,
        }
    }

    /// Lets the other runnable guests run first.
    pub fn yield_now(&self, guest: &'static Guest) {
        self.make_ready(guest);
        self.turns.set(self.turns.get().saturating_sub(1));
        if ptr::eq(self.run_head.get(), guest) {
            // Nobody else is runnable: events may make somebody so.
            self.turns.set(0);
        }
        self.switch_away(guest);
    }

    /// Lets the others run after a long time on the CPU: also those whose events and
    /// deadlines came meanwhile.
    pub fn give_way(&self, guest: &'static Guest) {
        self.turns.set(0);
        self.yield_now(guest);
    }

    /// Runs `f` on the host context, where it may allocate, lock and make
    /// system calls through libc. `f` must not park.
    pub fn call<F: FnOnce() -> R, R>(&self, guest: &'static Guest, f: F) -> R {
        struct Job<F, R> {
            f: Option<F>,
            result: Option<R>,
        }
        unsafe fn run<F: FnOnce() -> R, R>(job: *mut ()) {
            // SAFETY: `call` below passes its own job, which outlives the call.
            let job = unsafe { &mut *job.cast::<Job<F, R>>() };
            if let Some(f) = job.f.take() {
                job.result = Some(f());
            }
        }
        let mut job = Job {
            f: Some(f),
            result: None,
        };
        self.call.set(Some((run::<F, R>, (&raw mut job).cast())));
        self.caller.set(guest);
        // SAFETY: the host context waits in its loop.
        unsafe { switch(guest.ctx.get(), self.ctx.get()) };
        match job.result {
            Some(result) => result,
            // The host runs the job before it switches back; there is no other way here.
            None => unreachable!("the host context returned without running the call"),
        }
    }

    /// Whether a signal is to be handled by `guest`, the caller.
    pub fn has_signal(&self, guest: &Guest) -> bool {
        if self.signals.load(Ordering::Relaxed) {
            signal::route(self);
        }
        guest.signal.deliverable()
    }

    fn disarm(&self, guest: &Guest) {
        if guest.timer_armed.replace(false) {
            // SAFETY: `timer_armed` says that the node is in this heap.
            unsafe { (*self.timers.get()).remove(guest.timer.get()) };
        }
    }

    /// Switches to the next runnable guest or to the host; returns when `guest`
    /// runs again.
    fn switch_away(&self, guest: &'static Guest) {
        // A stretch goes on when its guest does.
        let in_section = self.in_section();
        self.in_section.store(false, Ordering::Relaxed);
        let turns = self.turns.get();
        let next = if turns > 0 && self.inbox.load(Ordering::Relaxed).is_null() {
            self.pop_ready()
        } else {
            None
        };
        match next {
            Some(next) if ptr::eq(next, guest) => {}
            Some(next) => {
                self.turns.set(turns - 1);
                self.current.set(next);
                // SAFETY: a guest in the run queue has a context that may go on.
                unsafe { switch(guest.ctx.get(), next.ctx.get()) };
            }
            None => {
                self.current.set(ptr::null());
                // SAFETY: the host context waits in its loop.
                unsafe { switch(guest.ctx.get(), self.ctx.get()) };
            }
        }
        self.arrive(guest);
        self.in_section.store(in_section, Ordering::Relaxed);
    }

    /// What every context does first after it was switched to.
    pub fn arrive(&self, guest: &'static Guest) {
        guest.state.set(State::Running);
        self.current.set(guest);
        self.switches
            .store(self.switches().wrapping_add(1), Ordering::Relaxed);
        self.bury_dead();
    }

    /// Leaves the stack of a guest that has ended.
    pub fn leave_for_good(&'static self, guest: &'static Guest) -> ! {
        debug_assert!(self.dead.get().is_null());
        self.dead.set(guest);
        loop {
            self.current.set(ptr::null());
            let to = match if self.turns.get() > 0 {
                self.pop_ready()
            } else {
                None
            } {
                Some(next) => {
                    self.turns.set(self.turns.get() - 1);
                    self.current.set(next);
                    next.ctx.get()
                }
                None => self.ctx.get(),
            };
            // SAFETY: a runnable guest or the host; nobody switches back to a dead one.
            unsafe { switch(guest.ctx.get(), to) };
        }
    }

    fn bury_dead(&self) {
        let dead = self.dead.replace(ptr::null());
        // SAFETY: set by `leave_for_good`, whose stack we are no longer on.
        if let Some(dead) = unsafe { dead.as_ref() } {
            life::bury(hub(), dead);
        }
    }

    // --- the loop ------------------------------------------------------------------

    /// The reactor. Must not be held across a switch.
    ///
    /// # Safety
    /// No other reference to it may be in use.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn reactor(&self) -> &mut Reactor {
        // SAFETY: the caller's contract.
        match unsafe { &mut *self.reactor.get() } {
            Some(reactor) => reactor,
            // Adoption sets it before there is a guest; fork replaces it.
            None => unreachable!("a hub without a reactor"),
        }
    }

    /// Gives the hub its reactor.
    pub fn set_reactor(&self, reactor: Option<Reactor>) {
        // SAFETY: called at adoption and in a forked child, where nothing else runs.
        unsafe { *self.reactor.get() = reactor };
    }

    /// Takes the reactor away, in a forked child.
    ///
    /// # Safety
    /// As [`reactor`](Self::reactor).
    pub unsafe fn take_reactor(&self) -> Option<Reactor> {
        // SAFETY: the caller's contract.
        unsafe { (*self.reactor.get()).take() }
    }

    /// The body of the host context. Runs guests for ever.
    pub fn run(&'static self) -> ! {
        loop {
            self.current.set(ptr::null());
            self.bury_dead();
            if let Some((f, job)) = self.call.take() {
                let caller = self.caller.get();
                // SAFETY: the job of the guest that waits in `call`; it goes on at once.
                unsafe {
                    f(job);
                    self.current.set(caller);
                    switch(self.ctx.get(), (*caller).ctx.get());
                }
                continue;
            }
            self.drain_inbox();
            if self.signals.load(Ordering::Relaxed) {
                signal::route(self);
            }
            trace::deadlock::answer(self);
            if !self.mail.load(Ordering::Relaxed).is_null() {
                snapshot::answer(self);
            }
            self.expire();
            if self.turns.get() == 0 || self.run_head.get().is_null() {
                self.turn();
                self.turns.set(TURN);
            }
            if let Some(next) = self.pop_ready() {
                self.turns.set(self.turns.get().saturating_sub(1));
                self.current.set(next);
                // SAFETY: a guest in the run queue has a context that may go on.
                unsafe { switch(self.ctx.get(), next.ctx.get()) };
            }
        }
    }

    /// Hands submissions to the kernel and takes events from it; sleeps if nobody
    /// is runnable.
    fn turn(&'static self) {
        let mut wait = Wait::No;
        if self.run_head.get().is_null() {
            // Publish, look again, sleep: who pushes after this look rings the bell.
            self.sleeping.store(true, Ordering::SeqCst);
            if self.inbox.load(Ordering::SeqCst).is_null()
                && !self.signals.load(Ordering::SeqCst)
                && self.mail.load(Ordering::SeqCst).is_null()
            {
                // SAFETY: no other reference to the heap is in use.
                wait = match unsafe { (*self.timers.get()).next_deadline() } {
                    Some(deadline) => Wait::Until(deadline),
                    None => Wait::Forever,
                };
            }
        }
        let sleeps = wait != Wait::No;
        if sleeps {
            self.asleep.store(true, Ordering::Relaxed);
        }
        let slept_since = (sleeps && trace::totals::are_kept()).then(raw::now);
        // The kernel may have much to do for a batch: that is nobody's fault.
        self.turning.store(true, Ordering::Relaxed);
        // SAFETY: guests hold no reference to the reactor across a switch.
        unsafe { self.reactor() }.turn(self, wait);
        self.turning.store(false, Ordering::Relaxed);
        if sleeps {
            self.asleep.store(false, Ordering::SeqCst);
            if let Some(since) = slept_since {
                trace::totals::slept(since);
            }
            monitor::resume();
        }
        self.sleeping.store(false, Ordering::Relaxed);
        self.drain_inbox();
        self.expire();
    }

    fn expire(&'static self) {
        // SAFETY: `wake` does not touch the heap here: the node was popped and
        // `timer_armed` is cleared before.
        unsafe {
            if (*self.timers.get()).next_deadline().is_none() {
                return;
            }
            let now = raw::now();
            while let Some(node) = (*self.timers.get()).pop_expired(now) {
                let guest = &*(*node).owner.cast::<Guest>();
                guest.timer_armed.set(false);
                self.wake(guest, Reason::Timeout);
            }
        }
    }

    /// In a forked child: forgets every guest and everything they waited for.
    pub fn reset_after_fork(&self) {
        self.run_head.set(ptr::null());
        self.run_tail.set(ptr::null());
        self.inbox.store(ptr::null_mut(), Ordering::Relaxed);
        self.mail.store(ptr::null_mut(), Ordering::Relaxed);
        self.sleeping.store(false, Ordering::Relaxed);
        self.dead.set(ptr::null());
        self.signals.store(false, Ordering::Relaxed);
        self.shared_child.set(false);
        self.current.set(ptr::null());
        self.initial.set(ptr::null());
        // SAFETY: the only thread of the child; no reference is in use.
        unsafe { *self.timers.get() = Timers::new() };
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
