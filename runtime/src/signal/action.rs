//! What the program wants done for each signal, and what the kernel is told.
//!
//! # Synchronization
//! As [`super`]. The table is read by the handler on foreign kernel threads too,
//! which may see an action that is just being replaced.
#![allow(unsafe_code)]

use core::cell::Cell;

use super::{
    AltStack, INTERNAL, LAST, StackT, UNBLOCKABLE, always, arrival, bit, mask, queue, route,
    signals, timer, wait,
};
use crate::arch::{self, syscall0, syscall2, syscall3, syscall4};
use crate::catch;
use crate::config;
use crate::control::name;
use crate::guest::Guest;
use crate::hub::{Hub, hub, processor};
use crate::monitor::PREEMPT;
use crate::raw;
use crate::trace;

/// The kernel's `struct sigaction`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// SIG_DFL, SIG_IGN or a function.
    pub handler: u64,
    /// SA_* flags.
    pub flags: u64,
    /// Not used: handlers return to our restorer.
    pub restorer: u64,
    /// Blocked while the handler runs.
    pub mask: u64,
}

impl Action {
    const DEFAULT: Action = Action {
        handler: libc::SIG_DFL as u64,
        flags: 0,
        restorer: 0,
        mask: 0,
    };

    /// A function of our own that runs with the mask as it is.
    pub(super) fn without_mask(handler: u64) -> Action {
        Action {
            handler,
            flags: libc::SA_NODEFER as u64,
            ..Action::DEFAULT
        }
    }

    /// Whether it has a flag.
    pub fn has(&self, flag: i32) -> bool {
        self.flags & flag as u32 as u64 != 0
    }

    fn is_function(&self) -> bool {
        self.handler != libc::SIG_DFL as u64 && self.handler != libc::SIG_IGN as u64
    }
}

/// What is to be done for a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disposition {
    /// Nothing.
    Ignore,
    /// The kernel ends or stops the process.
    Default,
    /// A handler.
    Handler(Action),
}

struct Table {
    view: [Cell<Action>; LAST as usize],
    /// Signals without a handler of the program's that reach ours.
    forced: Cell<u64>,
    /// Signals that reach ours while the program leaves it to the kernel to end it.
    ends: Cell<u64>,
    /// The same, while the kernel thread waits for a child of vfork.
    left: Cell<u64>,
    /// Mask of the one thread of a forked child.
    bare_mask: Cell<u64>,
}

// SAFETY: see Synchronization.
unsafe impl Sync for Table {}

static TABLE: Table = Table {
    view: [const { Cell::new(Action::DEFAULT) }; LAST as usize],
    forced: Cell::new(0),
    ends: Cell::new(0),
    left: Cell::new(0),
    bare_mask: Cell::new(0),
};

/// SA_RESTORER, which libc's header does not have.
const SA_RESTORER: u64 = 0x0400_0000;
/// Flags that change what the kernel does before a handler is called.
const KERNEL_FLAGS: u64 =
    (libc::SA_RESTART | libc::SA_NOCLDSTOP | libc::SA_NOCLDWAIT) as u32 as u64;
/// Flags the kernel knows; it forgets others. (0x800 is SA_EXPOSE_TAGBITS.)
const KNOWN_FLAGS: u64 = KERNEL_FLAGS
    | SA_RESTORER
    | 0x800
    | (libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER) as u32 as u64
    | libc::SA_RESETHAND as u32 as u64;

/// The program's action for a signal.
pub fn view(signal: i32) -> Action {
    TABLE.view[signal as usize - 1].get()
}

/// Sets the program's action; the arguments were checked.
pub fn set_action(signal: i32, action: Action) {
    TABLE.view[signal as usize - 1].set(Action {
        flags: action.flags & KNOWN_FLAGS,
        mask: action.mask & !UNBLOCKABLE,
        ..action
    });
    install(signal);
    mask::look_again(bit(signal));
}

/// What rt_sigaction(2) does besides: pending signals that are ignored from now on are
/// discarded.
pub fn discard_ignored(hub: &Hub, signal: i32) {
    if disposition(signal) != Disposition::Ignore {
        return;
    }
    arrival::forget_kill(signal);
    route::discard(hub, signal);
    let caught = super::always() | TABLE.forced.get() | mask::waited();
    if caught & bit(signal) != 0 {
        // The kernel has a handler of ours, and keeps what waits for it.
        while wait::take_from_kernel(bit(signal)).is_some() {}
    }
}

/// After SA_RESETHAND.
pub(super) fn reset(signal: i32) {
    let action = view(signal);
    set_action(
        signal,
        Action {
            handler: libc::SIG_DFL as u64,
            ..action
        },
    );
}

/// Signals whose default action does not end the process (signal(7)).
const HARMLESS: u64 = bit(libc::SIGCHLD)
    | bit(libc::SIGCONT)
    | bit(libc::SIGURG)
    | bit(libc::SIGWINCH)
    | bit(libc::SIGTSTP)
    | bit(libc::SIGTTIN)
    | bit(libc::SIGTTOU);

/// Whether it is our handler that ends the process for a signal.
pub(super) fn ends_here(signal: i32) -> bool {
    TABLE.ends.get() & bit(signal) != 0 && view(signal).handler == libc::SIG_DFL as u64
}

/// Signals that reach our handler without one of the program's, whose action is `view`.
fn caught(view: &Action) -> u64 {
    let ends = match view.handler == libc::SIG_DFL as u64 {
        true => TABLE.ends.get(),
        false => 0,
    };
    always() | TABLE.forced.get() | mask::waited() | ends
}

/// What is to be done for a signal.
pub(super) fn disposition(signal: i32) -> Disposition {
    let action = view(signal);
    if action.handler == libc::SIG_IGN as u64 {
        return Disposition::Ignore;
    }
    if action.handler != libc::SIG_DFL as u64 {
        return Disposition::Handler(action);
    }
    match signal {
        libc::SIGCHLD | libc::SIGCONT | libc::SIGURG | libc::SIGWINCH => Disposition::Ignore,
        _ => Disposition::Default,
    }
}

/// Tells the kernel what is due for a signal now.
fn install(signal: i32) {
    let view = view(signal);
    if !view.is_function() && caught(&view) & bit(signal) == 0 {
        set_kernel(signal, &view);
        return;
    }
    // Its handler runs for calls of guests that it does not end, whatever libc has installed.
    let restart = if view.is_function() && signal != PREEMPT {
        0
    } else {
        libc::SA_RESTART as u64
    };
    set_kernel(
        signal,
        &Action {
            handler: arrival::handler as *const () as u64,
            flags: view.flags & KERNEL_FLAGS
                | restart
                | SA_RESTORER
                | (libc::SA_SIGINFO | libc::SA_ONSTACK) as u64,
            restorer: arch::kernel_restorer(),
            mask: u64::MAX,
        },
    );
}

/// Tells the kernel again what is due for a signal, after that has changed.
pub fn reinstall(signal: i32) {
    install(signal);
}

/// Makes signals reach our handler for good, whatever the program's action is.
/// An ignored one is left out: the kernel does more for SIG_IGN than drop it.
pub fn force(set: u64) {
    for signal in signals(set & !(TABLE.forced.get() | always() | UNBLOCKABLE)) {
        if view(signal).handler != libc::SIG_IGN as u64 {
            TABLE.forced.set(TABLE.forced.get() | bit(signal));
            install(signal);
        }
    }
}

/// Makes every signal that ends the process by default reach our handler first, so that what is
/// ours goes with it. The first process of a pid namespace ends by none. (Behind a SIGTRAP the
/// program would go on.)
pub fn catch_ends(hub: &Hub) {
    if hub.pid.get() == 1 {
        return;
    }
    TABLE
        .ends
        .set(!(HARMLESS | UNBLOCKABLE | INTERNAL | always() | bit(libc::SIGTRAP)));
    show_ends();
}

/// Tells the kernel what is due for these.
fn show_ends() {
    for signal in signals(TABLE.ends.get()) {
        if view(signal).handler == libc::SIG_DFL as u64 {
            install(signal);
        }
    }
}

/// The calling kernel thread is to wait for a child of vfork, and runs no handler meanwhile: the
/// kernel ends the process by itself.
pub fn leave_ends() {
    let ends = TABLE.ends.replace(0);
    // Another hub may wait for a child already.
    TABLE.left.set(TABLE.left.get() | ends);
    for signal in signals(ends) {
        if view(signal).handler == libc::SIG_DFL as u64 {
            install(signal);
        }
    }
}

/// After that.
pub fn take_ends_again() {
    if TABLE.left.get() != 0 {
        TABLE.ends.set(TABLE.left.replace(0));
        show_ends();
    }
}

/// After the set of signals that guests wait for has changed: those that the
/// program ignores.
pub(super) fn reinstall_ignored(set: u64) {
    for signal in signals(set & !UNBLOCKABLE) {
        if view(signal).handler == libc::SIG_IGN as u64 {
            install(signal);
        }
    }
}

fn kernel_action(signal: i32) -> Action {
    let mut action = Action::DEFAULT;
    // SAFETY: the kernel writes one action.
    unsafe {
        syscall4(
            libc::SYS_rt_sigaction,
            signal as u64,
            0,
            &raw mut action as u64,
            8,
        )
    };
    action
}

fn set_kernel(signal: i32, action: &Action) {
    // SAFETY: an action of ours, or one the program gave the kernel.
    unsafe {
        syscall4(
            libc::SYS_rt_sigaction,
            signal as u64,
            action as *const Action as u64,
            0,
            8,
        )
    };
}

/// Has the kernel call a function of ours for a signal, with every signal blocked, whatever the
/// program's action is; that is returned. Before there are guests.
pub fn handle_raw(signal: i32, handler: u64) -> Action {
    let old = kernel_action(signal);
    set_kernel(
        signal,
        &Action {
            handler,
            flags: SA_RESTORER | (libc::SA_SIGINFO | libc::SA_ONSTACK) as u64,
            restorer: arch::kernel_restorer(),
            mask: u64::MAX,
        },
    );
    old
}

/// Gives the kernel what [`handle_raw`] returned.
pub fn restore_raw(signal: i32, old: &Action) {
    set_kernel(signal, old);
}

/// Gives the kernel its default action back, so that the fault the CPU is at ends
/// the process as it would without us.
pub(super) fn give_up(signal: i32) {
    if HARMLESS & bit(signal) == 0 && signal != libc::SIGTRAP {
        name::remove();
    }
    trace::last_words();
    set_kernel(signal, &Action::DEFAULT);
}

/// The same where our code may look at the guests.
pub(super) fn give_up_all(hub: &Hub, signal: i32) {
    if HARMLESS & bit(signal) == 0 {
        trace::open::tell_all(hub);
    }
    give_up(signal);
}

/// The default action that ends or stops the process: done by the kernel.
pub(super) fn perform_default(hub: &Hub, signal: i32) {
    give_up_all(hub, signal);
    let old = mask::set_kernel_mask(!bit(signal));
    // SAFETY: no pointers.
    unsafe {
        let tid = syscall0(libc::SYS_gettid) as u64;
        syscall3(libc::SYS_tgkill, hub.pid.get() as u64, tid, signal as u64);
    }
    // Stopped and continued, or the init of a pid namespace, which does not die.
    mask::set_kernel_mask(old);
    install(signal);
}

/// Size of the stack our handler runs on, and of the guard below it.
const STACK: usize = 64 << 10;
const GUARD: usize = 4096;

/// Whether our handler runs on a stack of its own on this kernel thread.
pub(super) fn on_own_stack() -> bool {
    processor::here().signal.on_own_stack.get()
}

/// The stack our handler runs on.
pub(super) fn own_stack() -> StackT {
    StackT {
        sp: processor::here().signal.stack.get() + GUARD as u64,
        flags: 0,
        pad: 0,
        size: STACK as u64,
    }
}

/// Unmaps such a stack, by its lowest address, if there is one.
pub(super) fn free_own_stack(low: u64) {
    if low != 0 {
        // SAFETY: a mapping of `take_own_stack`, which no kernel thread has any more.
        unsafe { syscall2(libc::SYS_munmap, low, (STACK + GUARD) as u64) };
    }
}

/// Gives the kernel our stack for handlers. It refuses while the program runs on
/// an alternate stack: then this is called again later.
pub fn take_own_stack() {
    let thread = &processor::here().signal;
    if thread.on_own_stack.get() {
        return;
    }
    if thread.stack.get() == 0 {
        let Some(low) = raw::reserve(STACK + GUARD) else {
            return;
        };
        // SAFETY: the lowest page of a new mapping.
        unsafe { syscall3(libc::SYS_mprotect, low as u64, GUARD as u64, 0) };
        thread.stack.set(low as u64);
    }
    let stack = own_stack();
    // SAFETY: memory that is never freed.
    let ret = unsafe { syscall2(libc::SYS_sigaltstack, &raw const stack as u64, 0) };
    thread.on_own_stack.set(ret == 0);
}

/// Takes over what the kernel thread has; called once when `guest` is adopted,
/// with every signal blocked. `mask` is what the thread blocked before.
pub fn adopt(guest: &Guest, mask: u64) {
    guest.hub().enter_shim();
    for signal in signals(!UNBLOCKABLE) {
        let action = match signal {
            libc::SIGSYS => catch::take_programs_action(),
            _ => None,
        };
        let action = action.unwrap_or_else(|| kernel_action(signal));
        TABLE.view[signal as usize - 1].set(action);
        if action.is_function() || always() & bit(signal) != 0 {
            install(signal);
        }
    }
    let mut stack = AltStack::NONE.report(0);
    // SAFETY: the kernel writes one stack_t.
    unsafe { syscall2(libc::SYS_sigaltstack, 0, &raw mut stack as u64) };
    stack.flags &= !libc::SS_ONSTACK;
    guest
        .signal
        .altstack
        .set(AltStack::of(&stack).unwrap_or(AltStack::NONE));
    processor::here().signal.on_own_stack.set(false);
    take_own_stack();
    guest.signal.mask.set(mask & !UNBLOCKABLE);
    mask::add(guest.signal.mask.get());
    mask::begin();
    queue::reserve();
    timer::adopt();
    if config::get().hubs > 1 {
        // Processors but the first let them through whoever blocks them.
        force(mask & mask::TO_A_THREAD);
    }
}

/// There is another processor than the first one from now on, which lets through what that
/// blocks.
pub fn expect_on_any() {
    force(mask::of_first() & mask::TO_A_THREAD);
}

/// In a forked child: the kernel gets the program's own handlers and the guest's
/// alternate stack back. Every signal is blocked.
pub fn become_bare(guest: &Guest) {
    for signal in signals(!UNBLOCKABLE) {
        let action = view(signal);
        if action.is_function() || caught(&action) & bit(signal) != 0 {
            set_kernel(signal, &action);
        }
    }
    for set in [&TABLE.forced, &TABLE.ends, &TABLE.left] {
        set.set(0);
    }
    let mut stack = guest.signal.altstack.get().report(0);
    if guest.signal.altstack.get().size == 0 {
        stack.flags = libc::SS_DISABLE;
    }
    // SAFETY: the program's own stack.
    unsafe { syscall2(libc::SYS_sigaltstack, &raw const stack as u64, 0) };
    processor::here().signal.on_own_stack.set(false);
    TABLE.bare_mask.set(guest.signal.mask.get());
    arrival::clear();
    wait::clear();
    timer::clear();
    route::clear(hub());
    mask::clear();
}

/// In a forked child: the mask of the one thread.
pub fn mask_of_bare() -> u64 {
    TABLE.bare_mask.get()
}

/// Before exec, with the kernel thread's mask that of the guest: what the new
/// program inherits must be in the kernel.
pub fn before_exec(guest: &Guest) {
    for signal in signals(always() | TABLE.forced.get() | mask::waited()) {
        let action = view(signal);
        if action.handler == libc::SIG_IGN as u64 {
            set_kernel(signal, &action);
        }
    }
    wait::carry_over(guest);
}

/// After an exec that failed.
pub fn after_exec() {
    route::let_few_through();
    reinstall_ignored(always() | TABLE.forced.get() | mask::waited());
}
