//! Handlers on guests: from a pending signal to the handler's first instruction,
//! and from its return to where the guest was.
#![allow(unsafe_code)]

use core::ptr;

use super::action::{self, Disposition, disposition};
use super::state::{AltStack, SS_AUTODISARM};
use super::{Action, Info, bit, mask, route, wait};
use crate::arch::{self, Interrupted, SigFrame, Ucontext};
use crate::frame::Frame;
use crate::guest::Guest;
use crate::hub::{hub, processor};
use crate::monitor;
use crate::raw::{ERESTARTNOINTR, ERESTARTSYS, err};

/// A signal that is to be handled now.
type Due = (i32, Info, Action);

/// Room below our stack pointer that is left to the code that runs until the
/// guest has left our code.
const SLACK: u64 = if cfg!(debug_assertions) { 8192 } else { 2048 };

/// Takes the next signal with a handler, and carries out what others ask for.
fn next(guest: &Guest) -> Option<Due> {
    loop {
        let (signal, info) = wait::take(guest, !guest.signal.mask.get())?;
        match disposition(signal) {
            Disposition::Ignore => {}
            Disposition::Default => action::perform_default(guest.hub(), signal),
            Disposition::Handler(action) => return Some((signal, info, action)),
        }
    }
}

/// What the kernel does around the frame: the mask of the handler, SA_RESETHAND.
fn enter(guest: &Guest, (signal, _, action): &Due) {
    let mut blocked = guest.signal.mask.get() | action.mask;
    if !action.has(libc::SA_NODEFER) {
        blocked |= bit(*signal);
    }
    mask::change(guest, blocked, false);
    if action.has(libc::SA_RESETHAND) {
        action::reset(*signal);
    }
    let stack = guest.signal.altstack.get();
    if stack.flags & SS_AUTODISARM != 0 {
        guest.signal.altstack.set(AltStack::NONE);
    }
}

/// Whether the program's memory can be written from `low` up to `high`. Every signal is blocked,
/// so that no fault of ours could be caught: the kernel is asked.
fn is_writable(low: u64, high: u64) -> bool {
    const PAGE: u64 = 4096;
    // What is asked about is a word, which must not reach beyond.
    let last = high - size_of::<u64>() as u64;
    let pages = (low & !(PAGE - 1)..high).step_by(PAGE as usize);
    pages
        .map(|page| page.max(low).min(last))
        .all(mask::is_writable)
}

/// Builds the frame of one handler on top of `context`. `running` is our own stack
/// pointer if we run on a stack of the guest's. False if there is no room, which the program
/// must be told with a SIGSEGV.
///
/// # Safety
/// As [`Interrupted::push`].
unsafe fn push(guest: &Guest, context: &mut Interrupted, due: &Due, running: Option<u64>) -> bool {
    let (_, info, action) = due;
    let stack = guest.signal.altstack.get();
    let sp = context.sp();
    let on_it = stack.holds(sp);
    let entered = action.has(libc::SA_ONSTACK) && stack.size != 0 && !on_it;
    let top = if entered {
        stack.sp.wrapping_add(stack.size)
    } else if action.handler == monitor::preempted as *const () as u64
        && !stack.contains(sp)
        && let Some(top) = guest.far_below(sp)
    {
        top
    } else {
        match running {
            Some(running) if stack.contains(running) == stack.contains(sp) => {
                context.below_red_zone().min(running - SLACK)
            }
            _ => context.below_red_zone(),
        }
    };
    let kernels_top = if entered {
        top
    } else {
        context.below_red_zone()
    };
    // SAFETY: the caller's contract.
    let (frame, kernels) = unsafe { (context.place(top), context.kernels_place(kernels_top)) };
    let outside = !stack.contains(frame) || !stack.contains(kernels);
    if (entered || on_it) && outside || !is_writable(frame, top) {
        return false;
    }
    let old = guest.signal.saved.take().unwrap_or(guest.signal.mask.get());
    // SAFETY: the caller's contract.
    unsafe { context.push(top, info, old, stack.report(sp), action.handler) };
    enter(guest, due);
    true
}

/// Builds the frames of `first` and of what else is pending. False if there is none.
///
/// # Safety
/// As [`Interrupted::push`].
unsafe fn push_all(
    guest: &Guest,
    context: &mut Interrupted,
    first: Option<Due>,
    running: Option<u64>,
) -> bool {
    let mut entered = false;
    let mut due = first;
    while let Some(this) = due {
        // SAFETY: the caller's contract.
        due = if unsafe { push(guest, context, &this, running) } {
            entered = true;
            next(guest)
        } else {
            no_room(guest, this.0).or_else(|| next(guest))
        };
    }
    entered
}

/// The kernel's `force_sigsegv`, after the frame of a signal's handler could not be built: the
/// SIGSEGV that is handled instead. `None` if it has ended the process, but for one that
/// nothing ends.
fn no_room(guest: &Guest, signal: i32) -> Option<Due> {
    let blocked = guest.signal.mask.get() & bit(libc::SIGSEGV) != 0;
    match disposition(libc::SIGSEGV) {
        Disposition::Handler(action) if !blocked && signal != libc::SIGSEGV => {
            let info = Info::of_sender(libc::SIGSEGV, libc::SI_KERNEL, 0, 0);
            Some((libc::SIGSEGV, info, action))
        }
        _ => {
            action::perform_default(guest.hub(), libc::SIGSEGV);
            None
        }
    }
}

/// Whether a guest's stack has room for the frame of a preemption and what that runs. A small
/// one has none while handlers run, nested; they are let go on.
///
/// # Safety
/// `uc` must be the kernel's own frame of the present signal.
pub(super) unsafe fn has_room(guest: &Guest, uc: &Ucontext) -> bool {
    let (low, high) = guest.stack.get();
    let sp = uc.sp();
    // Elsewhere is the initial thread's stack, which grows.
    let stack = guest.signal.altstack.get();
    let low = if stack.contains(sp) {
        stack.sp
    } else if (low..high).contains(&sp) {
        low
    } else {
        return true;
    };
    // SAFETY: the caller's contract.
    sp - low >= unsafe { uc.frame_size() } as u64 + SLACK
}

/// Makes a guest that was interrupted in its own code give way before it goes on. Handlers
/// run when that is over: one that is cancelled unwinds, and must not find our code below it.
///
/// # Safety
/// As [`into_context`].
pub(super) unsafe fn preemption(guest: &Guest, uc: &mut Ucontext, info: &Info) {
    guest.giving_way.set(true);
    processor::here().preemption_begins();
    mask::hold();
    let give_way = Action::without_mask(monitor::preempted as *const () as u64);
    let mut context = Interrupted::of_context(uc);
    let due = (monitor::PREEMPT, *info, give_way);
    // SAFETY: as in `into_context`.
    if !unsafe { push(guest, &mut context, &due, None) } {
        guest.giving_way.set(false);
        return nothing(uc);
    }
    context.enter_from_kernel(uc, mask::release());
}

/// Lets a guest go on as it was, after the mask was held.
pub(super) fn nothing(uc: &mut Ucontext) {
    let kernel_mask = mask::release();
    if !processor::here().shared_child.get() {
        uc.mask = kernel_mask;
    }
}

/// As [`into_context`], by the monitor's signal or another processor's in the place of the guest's
/// own: the kernel has found no handler that ends a call.
///
/// # Safety
/// As [`into_context`].
pub(super) unsafe fn told_into_context(guest: &Guest, uc: &mut Ucontext) {
    let due = guest.signal.deliverable().then(|| next(guest)).flatten();
    if due.is_some_and(|(_, _, action)| !action.has(libc::SA_RESTART)) {
        uc.end_repeated();
    }
    // SAFETY: the caller's contract.
    unsafe { into_context(guest, uc, due) };
}

/// Delivers to a guest that was interrupted in its own code: `first`, which the
/// CPU raised, and what else is pending; without, what the guest was told of, for what it was
/// interrupted by may be another's. The mask is held and released here.
///
/// # Safety
/// `uc` must be the kernel's own frame of the present signal, and our code must
/// run on a stack that is not the guest's.
pub(super) unsafe fn into_context(guest: &Guest, uc: &mut Ucontext, first: Option<Due>) {
    let mut context = Interrupted::of_context(uc);
    let told = || guest.signal.deliverable().then(|| next(guest)).flatten();
    let first = first.or_else(told);
    // SAFETY: the stack below the guest's red zone is free.
    if unsafe { push_all(guest, &mut context, first, None) } {
        context.enter_from_kernel(uc, mask::release());
    } else {
        nothing(uc);
    }
}

/// Delivers at the end of a call. With `interrupted`, the call's restart result.
fn into_call(guest: &Guest, frame: &mut Frame, interrupted: Option<i64>) -> bool {
    let hub = guest.hub();
    action::take_own_stack();
    route::route(hub);
    if !guest.signal.deliverable() {
        route::found_nothing(guest);
        return false;
    }
    // Nothing may arrive between the frames' being built and the handler's start.
    mask::set_kernel_mask(u64::MAX);
    mask::hold();
    route::route(hub);
    let Some(first) = next(guest) else {
        mask::set_kernel_mask(mask::release());
        return false;
    };
    let restart = match interrupted {
        Some(ERESTARTNOINTR) => true,
        Some(ERESTARTSYS) => first.2.has(libc::SA_RESTART),
        _ => false,
    };
    if interrupted.is_some() && !restart {
        frame.rax = err(libc::EINTR) as u64;
    }
    let mut context = Interrupted::of_call(frame, restart);
    let running = Some(arch::stack_pointer());
    // SAFETY: below our own stack pointer, with room for what still runs.
    if !unsafe { push_all(guest, &mut context, Some(first), running) } {
        mask::set_kernel_mask(mask::release());
        return false;
    }
    // SAFETY: frames were pushed.
    unsafe { context.enter_from_call(frame, mask::release()) };
    true
}

/// Prepares `frame` to run the handlers that are to run on `guest`. If it returns
/// true, every signal is blocked in the kernel until the handler begins, so the
/// guest must go on at once.
pub fn deliver(guest: &Guest, frame: &mut Frame) -> bool {
    into_call(guest, frame, None)
}

/// A call ended with one of the restart results. Prepares `frame` to run the
/// handlers that ended it, and then to return EINTR or to start over; as
/// [`deliver`]. False if there is no handler to run: the call goes on.
pub fn deliver_interrupted(guest: &Guest, frame: &mut Frame, ret: i64) -> bool {
    let entered = into_call(guest, frame, Some(ret));
    if !entered {
        mask::restore_saved(guest);
    }
    entered
}

/// A handler has returned to our restorer, and rsp is its ucontext. Gives the
/// guest its mask and alternate stack back. The answer is the frame of another
/// handler to run, or null to go on with the context.
///
/// Until our code begins another handler may run on top of this function, and unwind, as with
/// [`dispatch`](fn@crate::dispatch::dispatch).
///
/// # Safety
/// Called by the restorer alone.
pub unsafe extern "C" fn handler_returned(uc: *mut Ucontext) -> *mut SigFrame {
    let word = arch::current_word();
    let began = word != 0 && hub().claim_shim();
    // SAFETY: the restorer's contract.
    unsafe { go_on_after_handler(uc, word, began) }
}

/// As [`handler_returned`]. Our code has been claimed, if `word` is of a guest. It ends with
/// every signal blocked.
#[inline(never)]
unsafe extern "C" fn go_on_after_handler(
    uc: *mut Ucontext,
    word: usize,
    began: bool,
) -> *mut SigFrame {
    // SAFETY: the restorer's contract.
    let frame = unsafe { SigFrame::of(uc) };
    if word == 0 {
        // The child of a fork in a handler: mask and stack are the kernel's again.
        frame.go_on_for_real();
        return ptr::null_mut();
    }
    // SAFETY: handlers run on guests; their TCB's word is their record.
    let guest: &'static Guest = unsafe { &*(word as *const Guest) };
    let hub = hub();
    hub.claimed_shim(began);
    mask::set_kernel_mask(u64::MAX);
    // Who asked for it at the end of `preempted` does not ask again.
    while hub.is_to_give_way() && hub.take_preemption() {
        mask::resync();
        hub.give_way(guest);
        mask::set_kernel_mask(u64::MAX);
    }
    mask::hold();
    mask::change(guest, frame.uc.mask, false);
    if frame.handler == monitor::preempted as *const () as u64 {
        guest.giving_way.set(false);
    }
    if let Ok(stack) = AltStack::of(&frame.uc.stack) {
        guest.signal.altstack.set(stack);
    }
    route::route(hub);
    // SAFETY: the restorer's contract.
    let entered = next(guest).and_then(|due| unsafe { enter_next(guest, frame, due) });
    let next_frame = match entered {
        None => {
            frame.go_on_for_real();
            // What sigreturn gives back is the kernel thread's.
            frame.uc.mask = mask::release();
            if action::on_own_stack() {
                frame.uc.stack = action::own_stack();
            }
            ptr::null_mut()
        }
        Some(next_frame) => next_frame,
    };
    hub.leave_shim();
    next_frame
}

/// Enters another handler in place of the one that has returned. `None` if there was no
/// room for its frame, and nothing ends the process.
///
/// # Safety
/// `frame` must be the frame of the handler that has returned.
unsafe fn enter_next(guest: &Guest, frame: &mut SigFrame, first: Due) -> Option<*mut SigFrame> {
    let running = Some(arch::stack_pointer());
    let stack = guest.signal.altstack.get();
    let sp = frame.interrupted_sp();
    let wanted = stack.size != 0 && first.2.has(libc::SA_ONSTACK) || stack.holds(sp);
    let (mut context, first, reused) = if wanted == stack.contains(frame as *const SigFrame as u64)
    {
        // The frame is where it has to be: it is used again, so that signals that
        // come one after another need no more stack than one.
        let mask = guest.signal.mask.get();
        let context = Interrupted::reuse(frame, &first.1, mask, stack.report(sp), first.2.handler);
        enter(guest, &first);
        (context, next(guest), true)
    } else {
        (frame.interrupted(), Some(first), false)
    };
    // SAFETY: on the other of the guest's two stacks, or below our own stack pointer, with room
    // for what still runs.
    let pushed = unsafe { push_all(guest, &mut context, first, running) };
    // SAFETY: a frame was pushed or reused.
    (pushed || reused).then(|| unsafe { context.enter_from_return(mask::release()) })
}
