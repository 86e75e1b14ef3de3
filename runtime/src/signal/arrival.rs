//! The handler that the kernel calls.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};

use super::action::{self, Disposition, disposition};
use super::route;
use super::thread::Arrived;
use super::{Action, FAULTS, Info, always, bit, deliver, io_owner, mask, relatives, timer};
use crate::arch::{self, Ucontext, syscall0, syscall2, syscall3};
use crate::catch;
use crate::control::on_signal;
use crate::foreign::{FOREIGN_WORD, objects};
use crate::guest::Guest;
use crate::host::{HOST_WORD, POOL_WORD};
use crate::hub::{Hub, Processor, everywhere, hub, processor};
use crate::monitor::{self, PREEMPT};
use crate::sharers;
use crate::trace::sample;

/// Called by the kernel, with every signal blocked; where guests run it
/// runs on a stack of its own.
///
/// # Safety
/// Called by the kernel alone.
pub(super) unsafe extern "C" fn handler(signal: i32, info: *mut Info, uc: *mut Ucontext) {
    let hub = hub();
    let word = arch::current_word();
    // SAFETY: the kernel's own frame.
    let (info, uc) = unsafe { (&*info, &mut *uc) };
    if word == POOL_WORD {
        in_pool(hub, signal, info, uc);
        return;
    }
    if catch::is_caught(info) {
        return catch::caught(hub, word, info, uc);
    }
    uc.end_watched();
    if on_signal::is_meant(signal) && !is_shared_child(hub) {
        return;
    }
    if signal == PREEMPT
        && matches!(word, 0 | FOREIGN_WORD)
        && monitor::is_ours(info.code(), info.pid(), hub.pid.get())
        && !is_shared_child(hub)
    {
        // It is for a thread that runs guests: this one does not, or not yet. libc lets it
        // through on every thread that it makes, so a hub's has it before its first step.
        if info.code() == libc::SI_USER {
            monitor::pass_on();
        }
        return;
    }
    if matches!(word, 0 | FOREIGN_WORD) || is_shared_child(hub) {
        if bit(signal) & FAULTS != 0 && info.code() > 0 && uc.fix_up() {
            return;
        }
        on_no_guest(signal, info, uc);
        return;
    }
    let here = processor::here();
    if word != HOST_WORD && !here.in_shim() {
        uc.restart_claim();
    }
    if signal == PREEMPT && monitor::is_ours(info.code(), info.pid(), hub.pid.get()) {
        sample::answer(uc);
        everywhere::answer(here);
        if word != HOST_WORD && !here.in_shim() {
            // SAFETY: the word of a guest's TCB points to its record while it lives,
            // and the guest was interrupted in its own code.
            unsafe { asked_to_look(hub, here, &*(word as *const Guest), info, uc) };
        } else if !here.shared_child.get()
            && let Some(mask) = mask::changed_elsewhere()
        {
            uc.mask = mask;
        }
        return;
    }
    let fault = bit(signal) & FAULTS != 0 && info.code() > 0;
    if word == HOST_WORD || here.in_shim() {
        if fault {
            if always() & bit(signal) == 0 || !uc.fix_up() {
                action::give_up(signal);
            }
        } else if route::record(hub, arrived(hub, info)) {
            uc.mask = mask::shown(u64::MAX);
        }
        return;
    }
    // SAFETY: the word of a guest's TCB points to its record while it lives.
    let guest = unsafe { &*(word as *const Guest) };
    let nothing_here =
        !action::on_own_stack() || here.shared_child.get() || objects::is_on_their_stack(guest, uc);
    if nothing_here && !fault {
        // We are on the program's own stack, and nothing may be built there now; or
        // the guest is at its vfork, which a handler's calls must not get between.
        if route::record(hub, arrived(hub, info)) {
            uc.mask = mask::shown(!catch::signals());
        }
        return;
    }
    hub.enter_shim();
    // SAFETY: the guest was interrupted in its own code.
    unsafe { in_guest(hub, guest, signal, info, uc) };
    hub.leave_shim();
}

/// A signal on a thread that is no guest.
fn on_no_guest(signal: i32, info: &Info, uc: &mut Ucontext) {
    let fault = bit(signal) & FAULTS != 0 && info.code() > 0;
    match disposition(signal) {
        // SAFETY: a handler of the program's, on a thread that is no guest.
        Disposition::Handler(action) => unsafe { call(&action, signal, info, uc) },
        Disposition::Ignore if !fault => {}
        // Ours stands for no handler: a fault happens again and ends the process.
        _ if fault => action::give_up(signal),
        _ => {
            action::give_up(signal);
            // What was sent does not. The kernel acts when this has returned.
            // SAFETY: no pointers.
            unsafe {
                let (pid, tid) = (syscall0(libc::SYS_getpid), syscall0(libc::SYS_gettid));
                syscall3(libc::SYS_tgkill, pid as u64, tid as u64, signal as u64);
            }
        }
    }
}

/// The monitor's signal, or another processor's, found a guest in its own code. In our code
/// it is seen when the call ends.
///
/// # Safety
/// As [`deliver::into_context`].
unsafe fn asked_to_look(
    hub: &Hub,
    here: &Processor,
    guest: &Guest,
    info: &Info,
    uc: &mut Ucontext,
) {
    if !action::on_own_stack() || here.shared_child.get() || !objects::may_be_preempted(guest, uc) {
        return;
    }
    // Several may have queued up: one is enough, and a guest that is giving way already is
    // not asked again, or the frames would pile up on its stack. Handlers run when it is over.
    if guest.giving_way.get() {
        return;
    }
    // SAFETY: the caller's contract.
    let room = unsafe { deliver::has_room(guest, uc) };
    let gives_way = room && hub.take_preemption_by_signal();
    if !gives_way && !processor::several() {
        return;
    }
    hub.enter_shim();
    // SAFETY: the caller's contract.
    unsafe {
        if gives_way && !guest.signal.deliverable() {
            deliver::preemption(guest, uc, info);
        } else {
            if gives_way {
                // Once its handlers have begun.
                hub.note_preemption();
            }
            mask::hold();
            deliver::told_into_context(guest, uc);
        }
    }
    hub.leave_shim();
}

/// A signal found a guest in its own code.
///
/// # Safety
/// As [`deliver::into_context`].
unsafe fn in_guest(hub: &Hub, guest: &Guest, signal: i32, info: &Info, uc: &mut Ucontext) {
    if bit(signal) & FAULTS != 0 && info.code() > 0 {
        let action = match disposition(signal) {
            Disposition::Handler(action) if guest.signal.mask() & bit(signal) == 0 => action,
            // As the kernel does with a fault that is blocked or ignored. A call does not
            // happen again.
            _ if signal == libc::SIGSYS => return action::perform_default(hub, signal),
            _ => return action::give_up_all(hub, signal),
        };
        mask::hold();
        // SAFETY: the caller's contract.
        unsafe { deliver::into_context(guest, uc, Some((signal, *info, action))) };
        return;
    }
    mask::hold();
    processor::here().signal.put(arrived(hub, info));
    route::route(hub);
    // SAFETY: as above.
    unsafe {
        if guest.giving_way.get() {
            // It is at the end of that, and begins again: frames would pile up. Handlers run
            // when it is over.
            hub.note_preemption();
            deliver::nothing(uc);
        } else if guest.signal.deliverable() || !hub.has_ready() {
            deliver::into_context(guest, uc, None);
        } else if !deliver::has_room(guest, uc) {
            // It is asked again when its handlers have returned.
            hub.note_preemption();
            deliver::into_context(guest, uc, None);
        } else {
            // Another guest was woken for it. This one may compute for long, or be in
            // a call the hub does not see: it gives way.
            hub.note_preemption();
            deliver::preemption(guest, uc, info);
        }
    }
}

/// A signal on a thread of the pool, which lets nothing through but what ends its call
/// (and its own faults).
fn in_pool(hub: &Hub, signal: i32, info: &Info, uc: &mut Ucontext) {
    if bit(signal) & FAULTS != 0 && info.code() > 0 && uc.fix_up() {
        return;
    }
    if signal != PREEMPT {
        action::give_up(signal);
        return;
    }
    uc.end_call();
    let pid = hub.pid.get() as u64;
    let (to, with) = (signal as u64, info as *const Info as u64);
    match info.code() {
        libc::SI_TKILL => {}
        code if monitor::is_ours(code, info.pid(), hub.pid.get()) => monitor::pass_on(),
        // The program's own, for whoever takes it: the kernel asks the initial thread first.
        // Only that one may say whom a signal of kill(2) is from.
        // SAFETY: no pointers.
        libc::SI_USER => unsafe { _ = syscall2(libc::SYS_kill, pid, to) },
        // SAFETY: an info that the kernel gave, sent to our own process.
        _ => unsafe { _ = syscall3(libc::SYS_rt_sigqueueinfo, pid, to, with) },
    }
}

/// A child of vfork on our memory, or another thread on a guest's TCB, whose signals are its
/// own.
fn is_shared_child(hub: &Hub) -> bool {
    let shared_child = processor::here().shared_child.get();
    // SAFETY: no arguments.
    shared_child && unsafe { syscall0(libc::SYS_getpid) } != hub.pid.get() as i64
        || sharers::is_one()
}

/// Signals of kill(2) to its own process that are on their way and look like the kernel's.
static KILLED: AtomicU64 = AtomicU64::new(0);

/// The program sends its own process a signal.
pub fn note_kill(signal: i32) {
    let looks_so = matches!(signal, libc::SIGPIPE | libc::SIGXFSZ);
    // The kernel drops one that is ignored, and nobody would take it.
    if looks_so && disposition(signal) != Disposition::Ignore {
        KILLED.fetch_or(bit(signal), Ordering::Relaxed);
    }
}

/// Such a signal was taken. Whether it was one of kill(2).
pub(super) fn forget_kill(signal: i32) -> bool {
    let set = bit(signal);
    let killed = KILLED.load(Ordering::Relaxed) & set != 0;
    killed && KILLED.fetch_and(!set, Ordering::Relaxed) & set != 0
}

/// In a forked child: none is on its way.
pub(super) fn clear() {
    KILLED.store(0, Ordering::Relaxed);
}

/// `si_code` of what the kernel sends.
const SI_KERNEL: i32 = 0x80;

/// A signal and whom the kernel meant: a guest where that can be told.
pub(super) fn arrived(hub: &Hub, info: &Info) -> Arrived {
    let mut info = *info;
    if let Some(guest) = relatives::meant(&mut info) {
        return Arrived { info, guest };
    }
    let guest = match info.signal() {
        // Sent by a failing write to the thread that made it.
        libc::SIGPIPE | libc::SIGXFSZ
            if info.code() == libc::SI_USER
                && info.pid() == hub.pid.get()
                && !forget_kill(info.signal()) =>
        {
            // SAFETY: the current guest is a live record.
            unsafe { processor::here().current.get().as_ref() }.map_or(0, |g| g.tid.get())
        }
        _ if info.code() == libc::SI_TIMER => timer::owner(info.pid()).unwrap_or(0),
        // Of setitimer(2).
        libc::SIGPROF | libc::SIGVTALRM if info.code() == SI_KERNEL => timer::RUNNING,
        _ => io_owner::meant(hub, &info),
    };
    Arrived { info, guest }
}

/// Calls the program's handler right here.
///
/// # Safety
/// `action.handler` must be a function for this signal.
unsafe fn call(action: &Action, signal: i32, info: &Info, uc: &mut Ucontext) {
    let mut blocked = uc.mask | action.mask;
    if !action.has(libc::SA_NODEFER) {
        blocked |= bit(signal);
    }
    if action.has(libc::SA_RESETHAND) {
        action::reset(signal);
    }
    mask::set_kernel_mask(blocked);
    timer::was_taken(info);
    // SAFETY: the caller's contract; every handler may be called with three
    // arguments.
    unsafe {
        let handler: extern "C" fn(i32, *const Info, *mut Ucontext) =
            core::mem::transmute(action.handler as usize);
        handler(signal, info, uc);
    }
}
