//! The thread that sees that a guest keeps the processor from the others.
//!
//! # Policy
//! Programs written for threads compute, and spin while they wait for another
//! thread. A hub only switches where a guest parks, so such a guest would stop
//! all others. The monitor looks at the hub once a *quantum*: if no switch has
//! happened since the last look and the kernel thread is running (not asleep in a
//! call the hub cannot see, which a signal must not end), it sends it
//! [`PREEMPT`]. With several processors it does so for each. The handler then lets the other
//! guests run before it returns. One that is in a call is not sent the signal, which would cut
//! some calls short: it gives way when the call ends. A call
//! that was not expected to wait, and is marked so (`Hub::watched`), is ended by the same
//! signal if it does.
//!
//! One that is asleep in the kernel keeps the others from running too: they go on on another
//! kernel thread meanwhile ([`rescue`]).
//!
//! With several processors nobody is in the way while one of them waits for events, except
//! of those that run nowhere else. If none does, and one sleeps that could, it is woken for
//! that.
//!
//! Two guests that spin for each other are switched once a quantum, which is slow;
//! so after a preemption the next look comes four times sooner, down to
//! [`SHORTEST`], and the interval grows back when [`QUIET`] looks in a row found
//! nothing to do. While the hub sleeps, so does the monitor, unless somebody listens to
//! what only it can see ([`watch`](crate::trace::watch)).
//!
//! Where instructions take far longer than on a CPU, as under a tracer that runs them one at
//! a time, what a signal leads to may take longer than that interval, and guests would do
//! nothing else. So the next signal is sent when the last one has led to a switch, or after
//! [`PATIENCE`]; and not before the guests have had [`SHARE`] times as long for themselves as
//! a preemption takes.
//!
//! A guest that computes and takes a lock again and again (malloc's) is preempted while
//! it holds the lock, mostly; whoever was woken for the lock finds it taken, every time.
//! The kernel helps such a waiter by letting it preempt who woke it. So a guest that was
//! preempted since it last parked gives way when it wakes another.
//!
//! # Synchronization
//! The monitor reads `Processor::switches`, `Hub::count` and `Processor::asleep`, which
//! the processors write without ordering: an old value delays a preemption by one look.
//! `PAUSED` says that the monitor waits for the hub to wake; the monitor sets it and
//! then looks at `asleep` again, the hub clears `asleep` and then looks at it. Who
//! wants the monitor changes `BELL` after what it is to see; the monitor reads `BELL`
//! before it looks, and sleeps only while it is unchanged.
#![allow(unsafe_code)]

use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::os::unix::thread::JoinHandleExt;

use crate::arch::{self, syscall0, syscall2, syscall3, syscall4};
use crate::catch;
use crate::config;
use crate::control::name;
use crate::foreign::{FOREIGN_WORD, objects};
use crate::guest::Guest;
use crate::heap_lock;
use crate::heir;
use crate::hub::{Hub, Processor, hub, processor, rescue};
use crate::libc_threads;
use crate::offload;
use crate::proc_files::{self, File};
use crate::raw;
use crate::trace;
use crate::trace::watch::Watch;

/// The signal the monitor sends: libc's SIGCANCEL, which no program can block, wait for or read,
/// so that it never has to stand in line with the program's own. What libc sends with it to a
/// guest goes to the guest and not through the kernel; its timers' come from elsewhere. (A
/// debugger that does not know libc's signals stops at it: `handle SIG32 nostop noprint pass`.)
pub const PREEMPT: i32 = 32;

/// Shortest interval between two looks, in nanoseconds.
const SHORTEST: u64 = 250_000;

/// How long a signal may take to lead to a switch before another one is sent, in nanoseconds;
/// twice as long each further time.
const PATIENCE: u64 = 10_000_000;
const MOST_PATIENCE: u64 = 1_000_000_000;

/// Guests have this many times as long for themselves as a preemption takes.
const SHARE: u64 = 8;

/// Interval between two looks without preemption, in nanoseconds.
const WITHOUT: u64 = 10_000_000;

/// Interval between two looks whether events are waited for, in nanoseconds.
const UNLED: u64 = 1_000_000;

/// Looks without a preemption after which the interval doubles.
const QUIET: u32 = 16;

/// Changed whenever the monitor is to look up.
static BELL: AtomicU32 = AtomicU32::new(0);
static PAUSED: AtomicBool = AtomicBool::new(false);
static PRESENT: AtomicBool = AtomicBool::new(false);
/// Its thread pointer.
static THREAD_POINTER: AtomicU64 = AtomicU64::new(0);

const WAIT: u64 = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as u64;
const WAKE: u64 = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64;

/// Starts the monitor of the processors that there are; with a quantum in
/// nanoseconds it preempts. Every signal must be blocked. Without the thread nothing
/// is preempted.
pub fn start(quantum: Option<u64>) {
    PAUSED.store(false, Ordering::Relaxed);
    rescue::begin();
    let spawned = std::thread::Builder::new()
        .stack_size(64 << 10)
        .spawn(move || watch(quantum));
    PRESENT.store(spawned.is_ok(), Ordering::Relaxed);
    if let Ok(thread) = spawned {
        // In glibc a pthread_t is the thread pointer.
        THREAD_POINTER.store(thread.as_pthread_t(), Ordering::Release);
        // A program's last thread is its last, whatever we run beside it.
        libc_threads::discount(1);
    }
    // Here and not by the monitor: a guest that opens an object holds the lock that making
    // a thread takes, and waits for the monitor.
    trace::start_drain();
}

/// The thread pointer of the monitor, a thread that libc lists.
pub fn thread_pointer() -> Option<u64> {
    Some(THREAD_POINTER.load(Ordering::Acquire)).filter(|&pointer| pointer != 0)
}

/// Whether there is a monitor.
pub fn is_present() -> bool {
    PRESENT.load(Ordering::Relaxed)
}

/// The hub wakes: so does a monitor that paused.
#[inline]
pub fn resume() {
    if PAUSED.load(Ordering::SeqCst) && PAUSED.swap(false, Ordering::SeqCst) {
        ring();
    }
}

/// A function for a kernel thread of its own.
struct Task {
    function: extern "C" fn(*mut c_void),
    argument: *mut c_void,
    next: *mut Task,
}

// SAFETY: a task goes to the one thread that is made for it.
unsafe impl Send for Task {}

impl Task {
    fn run(self) {
        (self.function)(self.argument);
    }
}

/// Tasks that wait for the monitor, newest first.
static TASKS: AtomicPtr<Task> = AtomicPtr::new(ptr::null_mut());

/// Has `function` run on a kernel thread that is no guest, with every signal blocked.
/// Allocates: for the program's own code. Where libc can make no thread it never runs.
pub fn start_thread(function: extern "C" fn(*mut c_void), argument: *mut c_void) {
    let task = Box::into_raw(Box::new(Task {
        function,
        argument,
        next: ptr::null_mut(),
    }));
    let mut head = TASKS.load(Ordering::Relaxed);
    loop {
        // SAFETY: ours until it is in the list.
        unsafe { (*task).next = head };
        match TASKS.compare_exchange(head, task, Ordering::SeqCst, Ordering::Relaxed) {
            Ok(_) => break,
            Err(now) => head = now,
        }
    }
    ring();
}

fn start_tasks() {
    let mut at = TASKS.swap(ptr::null_mut(), Ordering::SeqCst);
    if at.is_null() {
        return;
    }
    offload::begin_thread_making();
    while !at.is_null() {
        // SAFETY: a box of `start_thread`, taken out of the list.
        let task = unsafe { Box::from_raw(at) };
        at = task.next;
        // A program's last thread is its last, whatever we run beside it. At its end libc
        // counts it.
        let run = move || {
            libc_threads::discount(1);
            arch::set_current_word(FOREIGN_WORD);
            task.run();
            arch::set_current_word(0);
            libc_threads::discount(-1);
        };
        // That there can be none is said at `start_thread`; nobody is left to be told.
        let _ = std::thread::Builder::new().spawn(run);
    }
    offload::end_thread_making();
}

/// Makes the monitor look up.
pub fn ring() {
    BELL.fetch_add(1, Ordering::SeqCst);
    // SAFETY: a wake needs a valid address only.
    unsafe { syscall3(libc::SYS_futex, BELL.as_ptr() as u64, WAKE, 1) };
}

fn watch(quantum: Option<u64>) {
    let hub = hub();
    let mut watch = Watch::new();
    let mut leading = Leading::default();
    let mut each: Vec<_> = processor::each()
        .iter()
        .map(|processor| Preemption::new(processor, quantum))
        .collect();
    loop {
        let interval = watch.interval().unwrap_or(u64::MAX);
        nap(
            BELL.load(Ordering::SeqCst),
            each.iter()
                .map(|preemption| preemption.interval)
                .chain([interval, leading.interval()])
                .min(),
        );
        if trace::has_changed() {
            watch = Watch::new();
        }
        if hub.is_asleep() {
            PAUSED.store(true, Ordering::SeqCst);
            let begin = raw::now();
            loop {
                let seen = BELL.load(Ordering::SeqCst);
                if !hub.is_asleep() || !PAUSED.load(Ordering::SeqCst) {
                    break;
                }
                nap(seen, watch.idle_interval(hub));
                if hub.is_asleep() {
                    watch.look_asleep(hub, raw::now() - begin);
                }
            }
            PAUSED.store(false, Ordering::SeqCst);
            each.iter_mut().for_each(Preemption::begin);
            continue;
        }
        watch.look(hub);
        leading.look(hub);
        for processor in &processor::each()[each.len()..] {
            each.push(Preemption::new(processor, quantum));
        }
        for preemption in &mut each {
            preemption.look(hub);
        }
    }
}

/// Whether somebody waits for events while guests run.
#[derive(Default)]
struct Leading {
    /// The switches when nobody did.
    nobody_at: Option<u64>,
}

impl Leading {
    fn interval(&self) -> u64 {
        if processor::several() && !processor::is_exclusive() {
            UNLED
        } else {
            u64::MAX
        }
    }

    fn look(&mut self, hub: &Hub) {
        let nobody_at = (hub.lacks_leader() && !processor::is_exclusive()).then(|| hub.switches());
        if nobody_at.is_some() && nobody_at == self.nobody_at {
            hub.call_leader();
        }
        self.nobody_at = nobody_at;
    }
}

/// How long a guest may wait in the code of certain [`objects`], in nanoseconds, before it is
/// preempted there: it may wait for another guest.
const LONG: u64 = 200_000_000;

/// When the running guest was last looked at, and is looked at next.
struct Preemption {
    processor: &'static Processor,
    /// Without, only watched calls are ended.
    preempts: bool,
    /// Its guests go on elsewhere where it is blocked.
    rescues: bool,
    quantum: u64,
    interval: u64,
    quiet: u32,
    /// The switches of the last look, and when that was.
    before: u64,
    at: u64,
    /// The first look that has seen no other switches.
    since: u64,
    /// The last signal.
    sent: Sent,
}

/// A signal that is to lead to a switch.
#[derive(Default)]
struct Sent {
    /// The switches that there had been, and when it was sent.
    switches: u64,
    at: u64,
    /// How long it may take.
    patience: u64,
}

impl Sent {
    /// Whether the switches, as many as there have been at a time, still lack the one that it
    /// is to lead to.
    fn is_awaited(&self, switches: u64, at: u64) -> bool {
        switches == self.switches && at - self.at < self.patience
    }

    /// Another one is sent.
    fn again(&mut self, switches: u64, at: u64) {
        let patience = if switches == self.switches {
            (self.patience * 2).clamp(PATIENCE, MOST_PATIENCE)
        } else {
            PATIENCE
        };
        *self = Sent {
            switches,
            at,
            patience,
        };
    }
}

impl Preemption {
    fn new(processor: &'static Processor, quantum: Option<u64>) -> Self {
        let preempts = quantum.is_some();
        let rescues = preempts && config::get().rescue;
        let quantum = quantum.unwrap_or(WITHOUT);
        Preemption {
            processor,
            preempts,
            rescues,
            quantum,
            interval: quantum,
            quiet: 0,
            before: processor.switches(),
            at: raw::now(),
            since: raw::now(),
            sent: Sent::default(),
        }
    }

    /// Whether the guest waits in a call of its own, for longer than what is not a guest takes
    /// to answer, in code that expects to be interrupted. Any other call is not cut short.
    fn waits_for_long(&self) -> bool {
        objects::are_there() && self.at - self.since > LONG
    }

    /// The processor has slept.
    fn begin(&mut self) {
        (self.before, self.at) = (self.processor.switches(), raw::now());
    }

    fn look(&mut self, hub: &'static Hub) {
        // Somebody else may look more often.
        let share = SHARE * self.processor.preemption_cost();
        if raw::now() - self.at < self.interval.max(share) {
            return;
        }
        let before = self.before;
        self.begin();
        if self.before != before {
            self.since = self.at;
        }
        let processor = self.processor;
        if processor.is_out() {
            rescue::look_at_returned(processor);
            self.interval = rescue::OUT.min(self.quantum);
            return;
        }
        let stays = self.before == before
            && hub.count() > 1
            && !processor.is_turning()
            && !processor.is_asleep();
        // Whoever computes may hold a lock that is to be inherited.
        let in_the_way = stays && (hub.is_needed(processor) || heir::is_wanted());
        if stays && processor.is_watched() {
            if !is_running(processor) {
                processor.interrupt();
            }
            return;
        }
        if stays && self.rescues && rescue::try_to(hub, processor, self.at - self.since) {
            self.interval = rescue::OUT.min(self.quantum);
            return;
        }
        if in_the_way && self.sent.is_awaited(self.before, self.at) {
            return;
        }
        if in_the_way && self.preempts && (is_running(processor) || self.waits_for_long()) {
            processor.preempt_between_calls();
            self.sent.again(self.before, self.at);
            self.interval = (self.interval / 4).max(SHORTEST.min(self.quantum));
            self.quiet = 0;
            return;
        }
        self.quiet += 1;
        if self.quiet == QUIET {
            self.quiet = 0;
            self.interval = (self.interval * 2).min(self.quantum);
        }
    }
}

/// Sleeps for so many nanoseconds, or until the bell differs from what was `seen`;
/// does what was asked for.
fn nap(seen: u32, ns: Option<u64>) {
    work();
    let ts = ns.map(raw::ns_timespec);
    let timeout = ts
        .as_ref()
        .map_or(0, |ts| ts as *const libc::timespec as u64);
    // SAFETY: a word and a time span of ours.
    unsafe {
        syscall4(
            libc::SYS_futex,
            BELL.as_ptr() as u64,
            WAIT,
            seen as u64,
            timeout,
        )
    };
    work();
}

/// How the process is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With this exit status.
    With(i32),
    /// By this signal.
    By(i32),
}

/// 0, or one more than an exit status, or the negative number of a signal.
static ENDS: AtomicI32 = AtomicI32::new(0);

/// Ends the process from the monitor's thread, for a caller that may not do it itself, as under
/// a filter of system calls.
pub fn end_process(how: End) -> ! {
    ENDS.store(
        match how {
            End::With(status) => status + 1,
            End::By(signal) => -signal,
        },
        Ordering::SeqCst,
    );
    if is_present() {
        ring();
        for _ in 0..LONGEST_END {
            core::hint::spin_loop();
        }
    }
    loop {
        // SAFETY: no pointers.
        unsafe {
            let pid = syscall0(libc::SYS_getpid) as u64;
            syscall2(libc::SYS_kill, pid, libc::SIGKILL as u64);
            // Most filters that deny that let this pass.
            syscall2(libc::SYS_exit_group, 128 + libc::SIGSYS as u64, 0);
        }
        core::hint::spin_loop();
    }
}

/// How long the monitor may take, in turns of a loop: some seconds.
const LONGEST_END: u64 = 1 << 30;

fn end_if_asked() {
    let ends = ENDS.load(Ordering::SeqCst);
    if ends != 0 {
        name::remove();
    }
    if ends > 0 {
        // SAFETY: no pointers.
        unsafe { syscall2(libc::SYS_exit_group, (ends - 1) as u64, 0) };
    } else if ends < 0 {
        let (signal, default) = (ends.unsigned_abs(), [0u64; 4]);
        let (set, at) = (1u64 << (signal - 1), default.as_ptr() as u64);
        // SAFETY: the default action, and a set of ours.
        unsafe {
            let pid = syscall0(libc::SYS_getpid) as u64;
            syscall4(libc::SYS_rt_sigaction, signal.into(), at, 0, 8);
            let unblock = libc::SIG_UNBLOCK as u64;
            syscall4(
                libc::SYS_rt_sigprocmask,
                unblock,
                &raw const set as u64,
                0,
                8,
            );
            let tid = syscall0(libc::SYS_gettid) as u64;
            syscall3(libc::SYS_tgkill, pid, tid, signal.into());
            syscall2(libc::SYS_kill, pid, libc::SIGKILL as u64);
        }
    }
}

fn work() {
    end_if_asked();
    repeat_untaken();
    offload::serve_brief();
    catch::tell();
    heap_lock::tell();
    start_tasks();
}

/// Whether a processor's kernel thread is on a CPU or waits for one, by the state in its
/// stat file.
pub fn is_running(processor: &Processor) -> bool {
    let mut text = [0; proc_files::MAX];
    // "tid (name) state …", of which the name and what is before it are left out.
    match proc_files::read(File::Stat(processor.index()), &mut text) {
        Some(text) => text.starts_with(" R"),
        None => is_computing(processor.kernel_tid()),
    }
}

/// Whether it is on a CPU, by its CPU time: where there is no file to ask.
fn is_computing(kernel_tid: i32) -> bool {
    /// CPUCLOCK_SCHED of a thread (linux/posix-timers_types.h).
    const OF_THREAD: i32 = 6;
    let time = || {
        let mut ts = raw::ns_timespec(0);
        let clock = !kernel_tid << 3 | OF_THREAD;
        // SAFETY: the kernel writes a time span of ours.
        let ret = unsafe { syscall2(libc::SYS_clock_gettime, clock as u64, &raw mut ts as u64) };
        (ret == 0).then_some((ts.tv_sec, ts.tv_nsec))
    };
    let before = time();
    let moment = raw::ns_timespec(50_000);
    // SAFETY: a time span of ours.
    unsafe { syscall2(libc::SYS_nanosleep, &raw const moment as u64, 0) };
    time() != before
}

/// Kernel threads that are about to send the signal.
static SENDING: AtomicU32 = AtomicU32::new(0);
/// It is not to be sent.
static HELD: AtomicBool = AtomicBool::new(false);

/// Signals were sent without anything that comes with them.
static UNQUEUED: AtomicBool = AtomicBool::new(false);

/// Sends the signal to a kernel thread of the process `pid`, this one. Where RLIMIT_SIGPENDING
/// leaves no room for what comes with it, it goes without, as kill(2) may send it: to the
/// process, of which only threads that run guests take it, the first one before others. False:
/// so it went.
///
/// # Safety
/// The thread must expect it.
pub unsafe fn signal(pid: u64, thread: u64) -> bool {
    // SAFETY: the caller's contract; no pointers.
    unsafe {
        let ret = syscall3(libc::SYS_tgkill, pid, thread, PREEMPT as u64);
        let unqueued = ret == raw::err(libc::EAGAIN);
        if unqueued {
            UNQUEUED.store(true, Ordering::SeqCst);
            syscall2(libc::SYS_kill, pid, PREEMPT as u64);
        }
        !unqueued
    }
}

/// One that went to the process found a thread that it is not for.
static UNTAKEN: AtomicBool = AtomicBool::new(false);

/// Called by the handler of such a thread: the monitor sends the signal again in a moment, when
/// a thread that it is for may let it through again.
pub fn pass_on() {
    UNTAKEN.store(true, Ordering::SeqCst);
    ring();
}

fn repeat_untaken() {
    if !UNTAKEN.load(Ordering::SeqCst) || !UNTAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let moment = raw::ns_timespec(SHORTEST);
    // SAFETY: a time span of ours.
    unsafe { syscall2(libc::SYS_nanosleep, &raw const moment as u64, 0) };
    unless_held(|pid| {
        // SAFETY: no pointers; whoever takes it expects it.
        unsafe { syscall2(libc::SYS_kill, pid, PREEMPT as u64) };
    });
}

/// Whether a signal of this code and sender is one that [`signal`] sent to the process `pid`.
/// The sender of one that came with nothing is 0.
pub fn is_ours(code: i32, sender: i32, pid: i32) -> bool {
    code == libc::SI_TKILL && sender == pid
        || code == libc::SI_USER
            && (sender == 0 || sender == pid)
            && UNQUEUED.load(Ordering::SeqCst)
}

/// Sends the signal. Async-signal-safe, from any thread.
pub fn send(kernel_tid: i32) {
    unless_held(|pid| {
        // SAFETY: no pointers; our own thread.
        unsafe { signal(pid, kernel_tid as u64) };
    });
}

/// Has the signal sent, to this process or its threads, if it may be sent.
fn unless_held(send: impl FnOnce(u64)) {
    SENDING.fetch_add(1, Ordering::SeqCst);
    if !HELD.load(Ordering::SeqCst) {
        // SAFETY: no arguments.
        let pid = unsafe { syscall0(libc::SYS_getpid) };
        // A filter may refuse to tell; to kill(2), -1 is every process.
        if pid > 0 {
            send(pid as u64);
        }
    }
    SENDING.fetch_sub(1, Ordering::SeqCst);
}

/// From here on the signal is sent to nobody: a new program would inherit it, and not know
/// it.
pub fn hold() {
    HELD.store(true, Ordering::SeqCst);
    while SENDING.load(Ordering::SeqCst) != 0 {
        core::hint::spin_loop();
    }
}

/// In a forked child, which the monitor may have been about to signal when it was made.
pub fn reset_after_fork() {
    SENDING.store(0, Ordering::SeqCst);
    UNTAKEN.store(false, Ordering::SeqCst);
    HELD.store(false, Ordering::SeqCst);
    THREAD_POINTER.store(0, Ordering::Release);
}

/// Ends that.
pub fn release() {
    HELD.store(false, Ordering::SeqCst);
}

/// What a preempted guest runs, as a signal handler on its own stack.
///
/// # Safety
/// Called by a signal frame alone, on a guest that was in its own code.
pub unsafe extern "C" fn preempted() {
    // SAFETY: the frame was built for this guest.
    let guest = unsafe { &*(crate::arch::current_word() as *const Guest) };
    let hub = guest.hub();
    let mut first = true;
    loop {
        hub.enter_shim();
        guest.busy.set(true);
        if first {
            processor::here().preemption_happens();
            first = false;
        }
        hub.give_way(guest);
        hub.leave_shim();
        if !hub.take_preemption() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_sent_again_when_it_led_to_a_switch_or_took_too_long() {
        let mut sent = Sent::default();
        assert!(!sent.is_awaited(0, 1));
        sent.again(5, 100);
        assert!(sent.is_awaited(5, 99 + PATIENCE));
        assert!(!sent.is_awaited(6, 101));
        assert!(!sent.is_awaited(5, 100 + PATIENCE));
        sent.again(5, 100 + PATIENCE);
        assert!(sent.is_awaited(5, 99 + 3 * PATIENCE));
        assert!(!sent.is_awaited(5, 100 + 3 * PATIENCE));
        sent.again(6, 1);
        assert_eq!(sent.patience, PATIENCE);
    }
}
