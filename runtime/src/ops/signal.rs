//! Signal calls: masks, actions, alternate stacks, sending to a thread, waiting.
//!
//! kill(2) and sigqueue(3) name processes, and what comes to our own arrives through the
//! kernel. Only where they name it by the id of a guest is that guest the first to be asked.
#![allow(unsafe_code)]

use super::{Call, Outcome, cpu_clock, setxid};
use crate::arch::{self, syscall0};
use crate::guest::{Guest, Reason};
use crate::hub::{Hub, processor};
use crate::raw::{self, ERESTARTNOHAND, err};
use crate::signal::{self, Action, AltStack, Info, LAST, StackT, UNBLOCKABLE, bit};

/// Size of the kernel's signal set in bytes, which calls name.
const SET: u64 = 8;

fn done(errno: i32) -> Outcome {
    Outcome::Done(err(errno))
}

/// Copies a value of the program's. `None`: a bad address.
fn get<T: Copy>(from: u64) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: room for a `T`; the types used here are valid with any bytes.
    unsafe {
        arch::copy(value.as_mut_ptr().cast(), from as *const u8, size_of::<T>())
            .then(|| value.assume_init())
    }
}

/// Copies a value to the program. False: a bad address.
fn put<T: Copy>(to: u64, value: &T) -> bool {
    // SAFETY: the program's own pointer, which the kernel would write through.
    unsafe { arch::copy(to as *mut u8, (value as *const T).cast(), size_of::<T>()) }
}

/// rt_sigaction(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn rt_sigaction(c: &mut Call<'_>) -> Outcome {
    Outcome::Done(sigaction(c.hub, c.a))
}

/// As [`rt_sigaction`], for whoever calls.
pub fn sigaction(hub: &Hub, a: [u64; 6]) -> i64 {
    let [number, new, old, size, ..] = a;
    let signal = number as i32;
    if size != SET {
        return err(libc::EINVAL);
    }
    let action = if new == 0 {
        None
    } else {
        match get::<Action>(new) {
            Some(action) => Some(action),
            None => return err(libc::EFAULT),
        }
    };
    if !(1..=LAST).contains(&signal) || action.is_some() && bit(signal) & UNBLOCKABLE != 0 {
        return err(libc::EINVAL);
    }
    let before = signal::view(signal);
    if let Some(action) = action {
        signal::set_action(signal, action);
        signal::discard_ignored(hub, signal);
    }
    if old != 0 && !put(old, &before) {
        return err(libc::EFAULT);
    }
    0
}

/// rt_sigprocmask(2).
///
/// # Safety
/// As [`rt_sigaction`].
pub unsafe fn rt_sigprocmask(c: &mut Call<'_>) -> Outcome {
    let [how, new, old, size, ..] = c.a;
    if size != SET {
        return done(libc::EINVAL);
    }
    let before = c.guest.signal.mask();
    if new != 0 {
        // SAFETY: the program's own pointer, which the kernel would read.
        let Some(set) = (unsafe { arch::read_word(new) }) else {
            return done(libc::EFAULT);
        };
        let mask = match how as i32 {
            libc::SIG_BLOCK => before | set,
            libc::SIG_UNBLOCK => before & !set,
            libc::SIG_SETMASK => set,
            _ => return done(libc::EINVAL),
        };
        // Only libc itself blocks its own signal, and never for long.
        let of_libc = how as i32 == libc::SIG_BLOCK && set & bit(32) != 0;
        signal::change(c.guest, mask, of_libc);
    }
    // SAFETY: as above, for writing.
    if old != 0 && !unsafe { arch::write_word(old, before) } {
        return done(libc::EFAULT);
    }
    Outcome::Done(0)
}

/// rt_sigpending(2).
///
/// # Safety
/// As [`rt_sigaction`].
pub unsafe fn rt_sigpending(c: &mut Call<'_>) -> Outcome {
    let [to, size, ..] = c.a;
    if size > SET {
        return done(libc::EINVAL);
    }
    signal::route(c.hub);
    signal::settle_job_control(c.hub);
    let all = signal::pending_here(c.guest) | signal::pending_in_kernel();
    let set = (all & c.guest.signal.mask()).to_ne_bytes();
    // SAFETY: the program's own pointer, which the kernel would write through.
    if unsafe { arch::copy(to as *mut u8, set.as_ptr(), size as usize) } {
        Outcome::Done(0)
    } else {
        done(libc::EFAULT)
    }
}

/// sigaltstack(2).
///
/// # Safety
/// As [`rt_sigaction`].
pub unsafe fn sigaltstack(c: &mut Call<'_>) -> Outcome {
    let [new, old, ..] = c.a;
    let present = c.guest.signal.altstack.get();
    if new != 0 {
        let Some(stack) = get::<StackT>(new) else {
            return done(libc::EFAULT);
        };
        if present.holds(c.frame.rsp) {
            return done(libc::EPERM);
        }
        match AltStack::of(&stack) {
            Ok(stack) => c.guest.signal.altstack.set(stack),
            Err(errno) => return done(errno),
        }
    }
    if old != 0 && !put(old, &present.report(c.frame.rsp)) {
        return done(libc::EFAULT);
    }
    Outcome::Done(0)
}

/// signalfd(2).
///
/// # Safety
/// As [`rt_sigaction`].
pub unsafe fn signalfd(c: &mut Call<'_>) -> Outcome {
    if c.a[2] == SET
        && let Some(set) = get::<u64>(c.a[1])
    {
        signal::note_signalfd(set);
    }
    Outcome::Native
}

/// The guest that `tid` names, if it is for us to answer.
enum Target {
    Guest(&'static Guest),
    /// The initial thread, which has ended: signals to it do nothing.
    Ended,
    /// Another process, a kernel thread that is no guest, or nobody.
    Other,
}

fn target(hub: &Hub, tid: i32) -> Target {
    match hub.find(tid) {
        Some(guest) => Target::Guest(guest),
        None if tid == hub.pid.get() && !hub.has_foreign() => Target::Ended,
        None => Target::Other,
    }
}

fn send(hub: &Hub, tid: i32, signal: i32, info: Option<Info>) -> Outcome {
    if !(0..=LAST).contains(&signal) {
        return done(libc::EINVAL);
    }
    match target(hub, tid) {
        Target::Guest(_) if signal == 0 => Outcome::Done(0),
        Target::Guest(guest) => {
            let info = info.unwrap_or_else(|| of_caller(hub, signal, libc::SI_TKILL));
            Outcome::Done(signal::send(hub, guest, signal, &info))
        }
        Target::Ended => Outcome::Done(0),
        Target::Other => Outcome::Native,
    }
}

/// tkill(2).
///
/// # Safety
/// As [`rt_sigaction`].
pub unsafe fn tkill(c: &mut Call<'_>) -> Outcome {
    to_thread(c.hub, c.guest.tid.get(), libc::SYS_tkill, c.a)
}

/// tgkill(2).
///
/// # Safety
/// As [`rt_sigaction`].
pub unsafe fn tgkill(c: &mut Call<'_>) -> Outcome {
    if let Some(ret) = signal::relatives::send(&c.a) {
        return Outcome::Done(ret);
    }
    to_thread(c.hub, c.guest.tid.get(), libc::SYS_tgkill, c.a)
}

/// kill(2) and rt_sigqueueinfo(2). `None`: only what id they name is to be seen to.
pub(super) fn to_process(c: &Call<'_>) -> Option<Outcome> {
    let [id, signal, ..] = c.a.map(|a| a as i32);
    let mut info = None;
    if c.frame.rax as i64 == libc::SYS_rt_sigqueueinfo {
        let Some(given) = get::<Info>(c.a[2]) else {
            return Some(done(libc::EFAULT));
        };
        if poses_as_kernel(&given, c.guest.tid.get(), id) {
            return Some(done(libc::EPERM));
        }
        info = Some(given);
    }
    // The kernel, which knows the initial one's, tells the first processor. With several that
    // may be some time after the call, if it is not the caller's, or has yet to take a mask.
    let at_once = !processor::several();
    let guest = c.hub.find(id)?;
    if guest.is_initial() && at_once {
        let valid = (1..=LAST).contains(&signal);
        if valid && info.is_some_and(|info| signal::is_exceeded(signal, &info)) {
            return Some(done(libc::EAGAIN));
        }
        if valid {
            signal::note_kill(signal);
        }
        return None;
    }
    if signal == 0 {
        return Some(Outcome::Done(0));
    }
    if !(1..=LAST).contains(&signal) {
        return None;
    }
    let info = info.unwrap_or_else(|| of_caller(c.hub, signal, libc::SI_USER));
    let ret = signal::send_to_process(c.hub, guest, signal, &info);
    if ret.is_none() {
        signal::note_kill(signal);
    }
    ret.map(Outcome::Done)
}

/// What comes with a signal of kill(2) or tgkill(2).
fn of_caller(hub: &Hub, signal: i32, code: i32) -> Info {
    // SAFETY: no arguments.
    let uid = unsafe { syscall0(libc::SYS_getuid) } as u32;
    Info::of_sender(signal, code, hub.pid.get(), uid)
}

/// Whether the thread `from` says to another that a signal comes from the kernel, or from
/// tgkill(2), which nobody may.
fn poses_as_kernel(info: &Info, from: i32, to: i32) -> bool {
    from != to && (info.code() >= 0 || info.code() == libc::SI_TKILL)
}

/// rt_tgsigqueueinfo(2).
///
/// # Safety
/// As [`rt_sigaction`].
pub unsafe fn rt_tgsigqueueinfo(c: &mut Call<'_>) -> Outcome {
    to_thread(c.hub, c.guest.tid.get(), libc::SYS_rt_tgsigqueueinfo, c.a)
}

/// The three calls above, made by the thread `from`.
pub fn to_thread(hub: &Hub, from: i32, nr: i64, a: [u64; 6]) -> Outcome {
    let [group, tid, signal] = match nr {
        libc::SYS_tkill => [hub.pid.get() as u64, a[0], a[1]],
        _ => [a[0], a[1], a[2]],
    }
    .map(|a| a as i32);
    let mut info = None;
    if nr == libc::SYS_rt_tgsigqueueinfo {
        let Some(mut given) = get::<Info>(a[3]) else {
            return done(libc::EFAULT);
        };
        given.set_signal(signal);
        info = Some(given);
    }
    if group <= 0 || tid <= 0 {
        return done(libc::EINVAL);
    }
    if info.is_some_and(|info| poses_as_kernel(&info, from, tid)) {
        return done(libc::EPERM);
    }
    if group != hub.pid.get() {
        // No guest is in another process: the kernel says ESRCH if it is one of ours.
        return Outcome::Native;
    }
    if let Target::Guest(guest) = target(hub, tid) {
        setxid::signalled(from, guest, signal);
    }
    send(hub, tid, signal, info)
}

/// rt_sigtimedwait(2): sigwait, sigwaitinfo, sigtimedwait.
///
/// # Safety
/// As [`rt_sigaction`].
pub unsafe fn rt_sigtimedwait(c: &mut Call<'_>) -> Outcome {
    let [set, to, timeout, size, ..] = c.a;
    if size != SET {
        return done(libc::EINVAL);
    }
    // SAFETY: the program's own pointer, which the kernel would read.
    let Some(set) = (unsafe { arch::read_word(set) }) else {
        return done(libc::EFAULT);
    };
    let set = set & !UNBLOCKABLE;
    let mut deadline = None;
    if timeout != 0 {
        let Some([sec, nsec]) = get::<[i64; 2]>(timeout) else {
            return done(libc::EFAULT);
        };
        let span = libc::timespec {
            tv_sec: sec,
            tv_nsec: nsec,
        };
        match raw::timespec_ns(&span) {
            Some(ns) => deadline = Some((raw::now().saturating_add(ns), ns == 0)),
            None => return done(libc::EINVAL),
        }
    }
    let mut last = deadline.is_some_and(|(_, now)| now);
    let mut interrupted = false;
    loop {
        signal::route(c.hub);
        signal::settle_job_control(c.hub);
        if let Some((signal, info)) = signal::take_waited(c.guest, set) {
            return if to != 0 && !put(to, &info) {
                done(libc::EFAULT)
            } else {
                Outcome::Done(signal as i64)
            };
        }
        if last {
            return done(libc::EAGAIN);
        }
        if interrupted && c.guest.signal.deliverable() {
            return done(libc::EINTR);
        }
        signal::begin_wait(c.guest, set);
        let reason = c.hub.park(c.guest, deadline.map(|(at, _)| at), true);
        signal::end_wait(c.guest);
        last = reason == Reason::Timeout;
        interrupted = reason == Reason::Signal;
    }
}

/// The kernel's `struct sigevent`, as far as it says whom to signal.
#[repr(C)]
#[derive(Clone, Copy)]
struct Event {
    value: u64,
    signal: i32,
    notify: i32,
    tid: i32,
    rest: [i32; 11],
}

const _: () = assert!(size_of::<Event>() == 64);

/// timer_create(2): a timer for a guest is one for the kernel thread, which the
/// signal's way leads to the guest.
///
/// # Safety
/// As [`rt_sigaction`].
pub unsafe fn timer_create(c: &mut Call<'_>) -> Outcome {
    let [clock, event, to, ..] = c.a;
    let of_process = signal::counts_process_time(clock as i32);
    let clock = cpu_clock::for_a_timer(c, clock as i32) as u64;
    // `process`: the signal that the process gets.
    let by_the_kernel = |process: Option<i32>| {
        // SAFETY: the guest's own call, by a clock that the kernel knows.
        let ret = unsafe { arch::syscall3(libc::SYS_timer_create, clock, event, to) };
        if ret == 0
            && let Some(timer) = get::<i32>(to)
        {
            match process.filter(|_| of_process) {
                Some(signal) => signal::add_cpu_timer(timer, signal),
                // Without room the kernel counts its overruns.
                None => _ = signal::add_timer(timer, 0),
            }
        }
        ret
    };
    if event == 0 {
        return Outcome::Done(by_the_kernel(Some(libc::SIGALRM)));
    }
    let Some(mut described) = get::<Event>(event) else {
        return done(libc::EFAULT);
    };
    let valid = (1..=LAST).contains(&described.signal);
    if described.notify != libc::SIGEV_THREAD_ID || !valid {
        let process = (described.notify == libc::SIGEV_SIGNAL && valid).then_some(described.signal);
        return Outcome::Done(by_the_kernel(process));
    }
    let guest = described.tid;
    if c.hub.find(guest).is_none() {
        return Outcome::Done(by_the_kernel(None));
    }
    signal::force(bit(described.signal));
    let mut timer = 0i32;
    // SAFETY: an event and an id of ours.
    let ret = unsafe {
        described.tid = processor::first().kernel_tid();
        let event = &raw const described as u64;
        arch::syscall3(libc::SYS_timer_create, clock, event, &raw mut timer as u64)
    };
    if ret != 0 {
        return Outcome::Done(ret);
    }
    let known = signal::add_timer(timer, guest);
    if known && put(to, &timer) {
        return Outcome::Done(0);
    }
    signal::remove_timer(timer);
    // SAFETY: no pointers.
    unsafe { arch::syscall1(libc::SYS_timer_delete, timer as u64) };
    done(if known { libc::EFAULT } else { libc::EAGAIN })
}

/// timer_getoverrun(2).
///
/// # Safety
/// As [`rt_sigaction`].
pub unsafe fn timer_getoverrun(c: &mut Call<'_>) -> Outcome {
    match signal::overrun_of(c.a[0] as i32) {
        Some(overrun) => Outcome::Done(i64::from(overrun)),
        None => Outcome::Native,
    }
}

/// timer_delete(2).
///
/// # Safety
/// As [`rt_sigaction`].
pub unsafe fn timer_delete(c: &mut Call<'_>) -> Outcome {
    // SAFETY: no pointers.
    let ret = unsafe { arch::syscall1(libc::SYS_timer_delete, c.a[0]) };
    if ret == 0 {
        signal::remove_timer(c.a[0] as i32);
    }
    Outcome::Done(ret)
}

/// Parks until a handler is to run.
fn until_a_handler_runs(c: &Call<'_>) -> Outcome {
    while c.hub.park(c.guest, None, true) != Reason::Signal {}
    Outcome::Done(ERESTARTNOHAND)
}

/// pause(2).
///
/// # Safety
/// As [`rt_sigaction`].
pub unsafe fn pause(c: &mut Call<'_>) -> Outcome {
    until_a_handler_runs(c)
}

/// rt_sigsuspend(2).
///
/// # Safety
/// As [`rt_sigaction`].
pub unsafe fn rt_sigsuspend(c: &mut Call<'_>) -> Outcome {
    let [set, size, ..] = c.a;
    if size != SET {
        return done(libc::EINVAL);
    }
    // SAFETY: the program's own pointer, which the kernel would read.
    let Some(mask) = (unsafe { arch::read_word(set) }) else {
        return done(libc::EFAULT);
    };
    let old = signal::begin_mask(c.guest, mask);
    let outcome = until_a_handler_runs(c);
    signal::end_mask(c.guest, old, true);
    outcome
}
