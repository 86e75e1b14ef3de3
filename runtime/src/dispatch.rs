//! From the number in `rax` to the operation that carries the call out.
//!
//! Whose call it is stands in the thread-local word of the TCB it was made on:
//!
//! | word | caller | what happens |
//! |---|---|---|
//! | 0 | the program's thread before there is a hub, or a kernel thread that is no guest | the kernel's; futexes go to the table; the first thread creation starts the hub |
//! | [`POOL_WORD`] | a thread of the offload pool | as 0 |
//! | [`HOST_WORD`] | host code | the kernel's |
//! | [`FOREIGN_WORD`] | a kernel thread of the program's own beside the hub | see [`foreign`] |
//! | else | the guest whose record it points to | its operation |
#![allow(unsafe_code)]

mod operations;
mod start;

use core::sync::atomic::{AtomicU8, Ordering};

use patch_events::{events, numbers};

use crate::arch::{self, syscall0};
use crate::catch;
use crate::control;
use crate::foreign::{self, FOREIGN_WORD};
use crate::frame::{Frame, SYSCALL_LEN};
use crate::guest::{Guest, life};
use crate::heir;
use crate::host::{self, HOST_WORD, POOL_WORD};
use crate::hub::{hub, processor};
use crate::interrupt;
use crate::ops::{self, Call, Outcome};
use crate::preload;
use crate::raw::{self, err, is_restart};
use crate::sandbox::{self, guard};
use crate::sharers;
use crate::signal;
use crate::trace;
use crate::wanted;

pub(crate) use operations::operation_of;
pub use operations::{add_groups, guard_operations};
pub use start::{expect_thread, start_anywhere, start_here_only};

/// How far the process is on its way to a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// No hub: the first thread creation starts one.
    Bare = 0,
    /// The hub is being started.
    Starting = 1,
    /// Guests run.
    Running = 2,
    /// There will be none: something could not be patched or made.
    Off = 3,
}

static PHASE: AtomicU8 = AtomicU8::new(0);

/// Sets the phase. Called where only one thread can be concerned.
pub fn set_phase(phase: Phase) {
    PHASE.store(phase as u8, Ordering::Release);
}

fn phase() -> Phase {
    match PHASE.load(Ordering::Acquire) {
        0 => Phase::Bare,
        1 => Phase::Starting,
        2 => Phase::Running,
        _ => Phase::Off,
    }
}

/// Whether guests run.
pub fn is_running() -> bool {
    phase() == Phase::Running
}

/// Carries out the call in `frame` and leaves its result there.
///
/// Up to where our code begins, and from where it ends, a handler may run on top of this
/// function, and unwind the guest's stack through it, as that of an asynchronous cancellation
/// does. So it needs no cleaning up, and calls nothing that could unwind: its own functions
/// are `extern "C"`, and are not inlined. `scripts/check-unwinding` looks at what the compiler
/// made of it.
///
/// # Safety
/// Called by `arch::entry` alone, on the stack of the thread that made the call.
pub unsafe extern "C" fn dispatch(frame: *mut Frame) {
    // SAFETY: entry built the frame on this stack and uses it only after we return.
    let frame = unsafe { &mut *frame };
    let word = arch::current_word();
    if is_no_guest(word) {
        // SAFETY: the present call of this thread.
        unsafe { call_of_no_guest(word, frame) };
        return;
    }
    // SAFETY: the word of a guest's TCB points to its record while it lives.
    let guest: &'static Guest = unsafe { &*(word as *const Guest) };
    let hub = guest.hub();
    if sharers::any() {
        // SAFETY: the present call of this thread.
        if unsafe { is_of_sharer(frame) } {
            return;
        }
    }
    if processor::here().shared_child.get() {
        // SAFETY: as above.
        if unsafe { is_of_vforks_child(guest, frame) } {
            return;
        }
        hub.left_shim();
    }
    if operations::of(frame.rax).is_none() && !catch::is_on() {
        frame.run_native();
        return;
    }
    let began = hub.claim_shim();
    // SAFETY: the guest's present call.
    let mut leaves = unsafe { guest_call(guest, frame, began) };
    while leaves {
        hub.left_shim();
        if !is_called_back(guest) {
            return;
        }
        let began = hub.claim_shim();
        // SAFETY: as above.
        leaves = unsafe { look_again(guest, frame, began) };
    }
}

/// Whether something came at the last steps of our code, which have just been made. What
/// arrives after this look finds the guest's own code. Nothing must come between a vfork's
/// being prepared and made.
#[inline(always)] // into what must not unwind
fn is_called_back(guest: &Guest) -> bool {
    let hub = guest.hub();
    (signal::pending(guest) || hub.is_to_give_way())
        && !processor::here().shared_child.get()
        && !hub.in_section()
}

/// Does what [`is_called_back`] found. True: the handlers of signals are to run at `frame`.
fn answer(guest: &'static Guest, frame: &mut Frame) -> bool {
    let hub = guest.hub();
    if hub.take_preemption() {
        hub.give_way(guest);
    }
    signal::deliver(guest, frame)
}

/// The call of a kernel thread that is no guest, by its word.
#[inline(never)]
unsafe extern "C" fn call_of_no_guest(word: usize, frame: &mut Frame) {
    // SAFETY: the present call of this thread.
    if word != HOST_WORD && unsafe { catch::change_mask(frame) } {
        return;
    }
    match word {
        // Host code and the pool's threads share locks, so their futexes meet in
        // the table too.
        // SAFETY: the present call of this thread.
        HOST_WORD if frame.rax as i64 == libc::SYS_futex => unsafe { ops::futex::foreign(frame) },
        // SAFETY: as above.
        HOST_WORD => unsafe { host::host_call(frame) },
        // SAFETY: as above.
        FOREIGN_WORD => unsafe { foreign::call(frame) },
        // SAFETY: as above.
        _ => unsafe { bare_call(frame) },
    }
}

/// A kernel thread on the guest's TCB: its call is carried out. False: the guest itself.
#[inline(never)]
unsafe extern "C" fn is_of_sharer(frame: &mut Frame) -> bool {
    let is_one = sharers::is_one();
    if is_one {
        // SAFETY: the present call of this thread.
        unsafe { foreign::call(frame) };
    }
    is_one
}

/// The child of a vfork, on its parent's TCB; or, false, its parent, which is back: in our
/// code up to its last step.
#[inline(never)]
unsafe extern "C" fn is_of_vforks_child(guest: &'static Guest, frame: &mut Frame) -> bool {
    let hub = guest.hub();
    // SAFETY: no arguments.
    let pid = unsafe { syscall0(libc::SYS_getpid) } as i32;
    if pid != hub.pid.get() {
        signal::note_child(pid, guest);
        trace::program::about_to_exec(frame);
        // SAFETY: the child's present call.
        if !unsafe { of_vforks_child(frame) } {
            frame.run_native();
        }
        return true;
    }
    // First: who waits for this may be in our code.
    if guest.holds_limit.replace(false) {
        numbers::release();
    }
    hub.enter_shim();
    // Not before: a guest may be moved to another processor.
    if processor::here().shared_child.replace(false) {
        preload::forget_children();
        signal::take_ends_again();
        signal::resync();
    }
    hub.leaves_shim();
    false
}

/// A guest's call. Our code has been claimed. True: it has come to its last step, but for
/// handlers that are to run; false: the guest goes on at `frame` as that says.
#[inline(never)]
unsafe extern "C" fn guest_call(guest: &'static Guest, frame: &mut Frame, began: bool) -> bool {
    let hub = guest.hub();
    hub.claimed_shim(began);
    let operation = operations::of(frame.rax);
    guest.frame.set(frame);
    if heir::is_wanted() {
        // Others may learn by this call that it holds a lock.
        heir::look(guest);
    }
    let Some(operation) = operation else {
        catch::run_native(frame);
        hub.leaves_shim();
        return true;
    };
    let nr = frame.rax;
    loop {
        let a = frame.args();
        let mut call = Call {
            guest,
            hub,
            frame,
            a,
        };
        // SAFETY: the guest's present call.
        let mut outcome = unsafe { operation(&mut call) };
        // One that was parked while a filter was installed.
        if sandbox::is_on() && !guard::is_around(operation) {
            outcome = guard::settle(&mut call, (nr, a), outcome);
        }
        match outcome {
            Outcome::Done(ret) if is_restart(ret) => {
                if trace::waits() {
                    trace::call::returned(guest, nr, frame, err(libc::EINTR));
                }
                if !signal::deliver_interrupted(guest, frame, ret) {
                    if guest.interrupt.is_armed()
                        && let Some(ret) = interrupt::deliver(guest, nr as i64)
                    {
                        frame.rax = ret as u64;
                        break;
                    }
                    // No handler ran after all: as if nothing had happened.
                    continue;
                }
                // Every signal is blocked.
                hub.leave_shim();
                return false;
            }
            // A call that is never restarted.
            Outcome::Done(ret)
                if ret == err(libc::EINTR)
                    && guest.interrupt.is_armed()
                    && !signal::pending(guest) =>
            {
                let ret = interrupt::deliver(guest, nr as i64).unwrap_or(ret);
                frame.rax = ret as u64;
            }
            Outcome::Done(ret) => frame.rax = ret as u64,
            Outcome::Native => catch::run_native(frame),
            Outcome::AsSet => {}
        }
        break;
    }
    if phase() != Phase::Running {
        // The child of a fork: bare again.
        return false;
    }
    if trace::waits() {
        trace::call::returned(guest, nr, frame, frame.rax as i64);
    }
    // Not between a vfork's being prepared and made: whoever ran then would take the
    // child for gone.
    if !hub.in_section() && hub.take_preemption() && !processor::here().shared_child.get() {
        hub.give_way(guest);
    }
    hub.leaves_shim();
    true
}

/// Something came before the guest's own code goes on at `frame`. Our code has been
/// claimed. As [`guest_call`].
#[inline(never)]
unsafe extern "C" fn look_again(guest: &'static Guest, frame: &mut Frame, began: bool) -> bool {
    let hub = guest.hub();
    hub.claimed_shim(began);
    if answer(guest, frame) {
        // Every signal is blocked.
        hub.leave_shim();
        return false;
    }
    hub.leaves_shim();
    true
}

/// The guest's own code goes on at `frame`: handlers of what arrived meanwhile
/// run first. For the begin of a thread, on top of which nothing unwinds.
pub fn leave(guest: &'static Guest, frame: &mut Frame) {
    let hub = guest.hub();
    loop {
        hub.leave_shim();
        if !is_called_back(guest) {
            return;
        }
        hub.enter_shim();
        if answer(guest, frame) {
            hub.leave_shim();
            return;
        }
    }
}

/// What holds for all kernel threads that are no guests: filters are noted, and new programs are
/// given an environment that is for them. True: the call has been made.
///
/// # Safety
/// The thread's present call.
pub unsafe fn of_no_guest(frame: &mut Frame) -> bool {
    // SAFETY: the caller's contract.
    unsafe { preload::filter(frame, None) || preload::exec(frame) }
}

/// As [`of_no_guest`], for a child of vfork, on the memory of the hub's process.
///
/// # Safety
/// The child's present call.
pub unsafe fn of_vforks_child(frame: &mut Frame) -> bool {
    let parent = hub().pid.get();
    // SAFETY: the caller's contract.
    unsafe { preload::filter(frame, Some(parent)) || preload::exec(frame) }
}

/// Whether the call starts Syscall User Dispatch for the program itself: calls from all code but
/// a stretch that it names, such as libc's, are then its own signal handler's, and our stubs are
/// elsewhere.
fn dispatches_itself(frame: &Frame) -> bool {
    const OFF: u64 = 0;
    let [option, mode, ..] = frame.args();
    option == catch::PR_SET_SYSCALL_USER_DISPATCH as u64 && mode != OFF
}

/// Takes every patch back, for good, while there is no thread but the caller. False: the program
/// has threads, or not all can be.
fn leave_alone() -> bool {
    let alone = phase() == Phase::Bare && start::may_start_here();
    let left = alone && wanted::unpatch_all();
    if left {
        set_phase(Phase::Off);
        let reason = "it dispatches system calls of its own (Syscall User Dispatch)";
        events::NotPatched { reason }.emit();
    }
    left
}

/// A call on a TCB that is neither a guest's nor the host's.
unsafe fn bare_call(frame: &mut Frame) {
    let nr = frame.rax as i64;
    foreign::note_shared_descriptors(nr, frame);
    if phase() == Phase::Starting {
        // SAFETY: no arguments.
        let tid = unsafe { syscall0(libc::SYS_gettid) } as i32;
        if host::is_starting(tid) {
            // SAFETY: the present call.
            unsafe { starting_call(frame, tid) };
            return;
        }
    }
    match nr {
        libc::SYS_exit_group => {
            tell_of_end(frame);
            frame.run_native();
        }
        libc::SYS_execve | libc::SYS_execveat => {
            if phase() == Phase::Bare {
                tell_of_end(frame);
            }
            // SAFETY: the present call.
            if !unsafe { of_no_guest(frame) } {
                frame.run_native();
            }
        }
        libc::SYS_prctl if dispatches_itself(frame) && leave_alone() => {
            // The code there is the object's own again.
            frame.rip = frame.ra - SYSCALL_LEN;
        }
        libc::SYS_prctl | libc::SYS_seccomp => {
            // SAFETY: the present call.
            if !unsafe { preload::filter(frame, None) } {
                frame.run_native();
            }
        }
        libc::SYS_tgkill => match signal::relatives::send(&frame.args()) {
            Some(ret) => frame.rax = ret as u64,
            None => frame.run_native(),
        },
        libc::SYS_futex if phase() == Phase::Running => {
            // SAFETY: the present call.
            unsafe { ops::futex::foreign(frame) };
        }
        libc::SYS_clone | libc::SYS_clone3 => {
            // SAFETY: the present call.
            unsafe { bare_clone(frame) };
        }
        _ => frame.run_native(),
    }
}

/// A clone(2) on such a TCB, which may make the first thread. Apart, as is what follows, so that
/// other calls have a small frame: a child of vfork may have a small stack.
#[inline(never)]
unsafe fn bare_clone(frame: &mut Frame) {
    // SAFETY: the caller's contract.
    let Some(args) = (unsafe { life::thread_args(frame) }) else {
        frame.run_native();
        return;
    };
    let may_start =
        phase() == Phase::Bare && start::may_start_here() && !foreign::objects::are_there();
    if !may_start {
        catch::run_native_for_thread(frame);
        return;
    }
    // SAFETY: as above.
    if !unsafe { start::start(frame.rax) } {
        frame.run_native();
        return;
    }
    // SAFETY: `start` made this thread a guest.
    let guest = unsafe { &*(arch::current_word() as *const Guest) };
    guest.hub().enter_shim();
    // SAFETY: the present call.
    frame.rax = unsafe { life::create(guest, frame, &args) } as u64;
    leave(guest, frame);
}

#[inline(never)]
unsafe fn starting_call(frame: &mut Frame, tid: i32) {
    match frame.rax as i64 {
        libc::SYS_clone | libc::SYS_clone3 => {
            // SAFETY: the present call.
            match unsafe { life::thread_args(frame) } {
                // SAFETY: as above.
                Some(args) => unsafe { host::catch(frame, &args, tid) },
                None => frame.run_native(),
            }
        }
        // SAFETY: as above.
        libc::SYS_epoll_create1 | libc::SYS_eventfd2 => unsafe { host::open_private(frame) },
        _ => frame.run_native(),
    }
}

/// If the call ends the program, or makes it another one: what is left is told first. For
/// kernel threads that are no guests.
pub fn tell_of_end(frame: &Frame) {
    let _floats = arch::DefaultFloats::begin();
    match frame.rax as i64 {
        libc::SYS_exit_group => {
            trace::finish(None);
            control::name::remove();
        }
        libc::SYS_execve | libc::SYS_execveat => trace::before_exec(None, frame),
        _ => {}
    }
}

/// Whether our code runs on a guest's TCB now, where it must not allocate. For
/// assertions.
pub fn in_guest_mode() -> bool {
    let word = arch::current_word();
    !is_no_guest(word) && phase() == Phase::Running && hub().in_shim() && !hub().in_section()
}

/// Whether a TCB's word is none that points to a guest.
pub fn is_no_guest(word: usize) -> bool {
    matches!(word, 0 | HOST_WORD | POOL_WORD | FOREIGN_WORD)
}

/// The guest that makes this call, if the program runs on one now.
#[inline]
pub fn current_guest() -> Option<&'static Guest> {
    match arch::current_word() {
        word if is_no_guest(word) => None,
        // SAFETY: the word of a guest's TCB points to its record while it lives.
        word => Some(unsafe { &*(word as *const Guest) }),
    }
}

/// The guest whose `pthread_t` this is, if it is a guest's; any other number may be one's that
/// has ended, or none. The initial thread's name is the kernel's, so it is left out.
pub fn guest_of(thread: libc::pthread_t) -> Option<&'static Guest> {
    if phase() != Phase::Running {
        return None;
    }
    // In glibc a pthread_t is the thread pointer.
    let word = arch::word_at(thread);
    if !word.is_aligned() || !raw::is_readable(word as u64) {
        return None;
    }
    // SAFETY: it can be read; what is no TCB has no record's address there.
    let guest = hub().slab.at(unsafe { word.read_volatile() })?;
    Some(guest).filter(|guest| !guest.is_initial())
}
