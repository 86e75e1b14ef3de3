//! The host side on may: the only file that knows it.
//!
//! The hub is a may coroutine on may's only worker, and the worker runs on the
//! kernel thread that was the program's: when may starts, it makes its timer
//! thread first, which stays a kernel thread, and then the worker, whose `clone3`
//! is caught like a guest's. The worker's stack and TCB become the *host context*
//! of the adopted kernel thread; nothing switches to it before the first guest
//! parks.
//!
//! may 0.3.51 as it is used here: without its default features (a worker would
//! wake every 10 ms); workers not pinned; one pooled coroutine (the pool maps its
//! whole capacity at start). Its `park_timeout` resumes on the timer thread, so
//! timers are our own. Its scheduler cannot be started again, so a forked child
//! keeps the host context that fork copied and never calls may again. While the
//! hub is the only coroutine of the worker it sleeps in its own reactor, which
//! saves two system calls a sleep against waiting through may's.
//!
//! generator installs handlers for SIGSEGV and SIGBUS; they are put back.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use crate::arch::{self, syscall0, syscall2, syscall3, syscall4};
use crate::catch;
use crate::frame::Frame;
use crate::guest::life::{self, ThreadArgs};
use crate::hub::{hub, processor};
use crate::libc_threads;
use crate::monitor;
use crate::ops::rseq;
use crate::private;
use crate::raw;
use crate::sandbox;
use crate::signal;

/// The thread-local word of a TCB that runs host code.
pub const HOST_WORD: usize = 1;

/// The thread-local word of a thread of the offload pool.
pub const POOL_WORD: usize = 2;

/// Stack of the hub's coroutine in words.
const HUB_STACK: usize = 32 << 10;

/// Thread pointer of may's timer thread; 0 before libc asks for that thread. The kernel may
/// refuse `clone3` with ENOSYS, as it does under the seccomp profiles of container engines: libc
/// then asks by `clone` for the same thread, which has the same thread pointer.
static TIMER: AtomicU64 = AtomicU64::new(0);
/// Begin and end of the stack that libc made for the worker; 0 if that is not known. Above the
/// end is static thread-local storage, of any size.
static WORKER_STACK: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
/// Kernel thread that starts may; 0 when nobody does.
static STARTER: AtomicI32 = AtomicI32::new(0);

/// Whether the calling kernel thread is starting may now.
pub fn is_starting(kernel_tid: i32) -> bool {
    STARTER.load(Ordering::Relaxed) == kernel_tid
}

/// Whether somebody is starting may.
pub fn any_starting() -> bool {
    STARTER.load(Ordering::Relaxed) != 0
}

/// Starts may with its worker on the calling kernel thread.
///
/// # Errors
/// Why its threads could not be made as expected; then the program stays bare.
pub fn start(kernel_tid: i32) -> Result<(), &'static str> {
    // may cannot be stopped half-way.
    if !can_open(DESCRIPTORS) {
        return Err("no descriptors are left for the hub");
    }
    needs(kernel_tid)?;
    rseq::find();
    let segv = action(libc::SIGSEGV);
    let bus = action(libc::SIGBUS);
    TIMER.store(0, Ordering::Relaxed);
    STARTER.store(kernel_tid, Ordering::Relaxed);
    let spawned = catch::while_starting(spawn_hub);
    STARTER.store(0, Ordering::Relaxed);
    restore_action(libc::SIGSEGV, &segv);
    restore_action(libc::SIGBUS, &bus);
    // SAFETY: the hub's context is written by `catch` on this thread.
    let worker = unsafe { *processor::first().ctx.get() };
    if spawned && worker.rsp != 0 {
        libc_threads::discount(2);
        // SAFETY: the worker never ends, and only its timer thread runs beside us.
        if unsafe { libc_threads::unlist(worker.fs) } {
            shrink_worker_stack(worker.fs);
            return Ok(());
        }
    }
    Err("may's worker could not be started on this thread")
}

/// Looks for calls that may and the hub cannot do without, and that a filter of system calls
/// (seccomp(2)) or the kernel itself may refuse.
///
/// # Errors
/// Names the call that is refused.
fn needs(kernel_tid: i32) -> Result<(), &'static str> {
    let mut word = 0u64;
    let mut processors = [0u64; 16];
    let (at, set) = (&raw mut word as u64, processors.as_mut_ptr() as u64);
    // SAFETY: what is asked for is written to variables of ours; no signal is sent.
    let asked = unsafe {
        let pid = syscall0(libc::SYS_getpid) as u64;
        [
            (
                "rt_sigaction is refused",
                syscall4(libc::SYS_rt_sigaction, monitor::PREEMPT as u64, 0, 0, 8),
            ),
            (
                "rt_sigprocmask is refused",
                syscall4(libc::SYS_rt_sigprocmask, 0, 0, at, 8),
            ),
            (
                "tgkill is refused",
                syscall3(libc::SYS_tgkill, pid, kernel_tid as u64, 0),
            ),
            (
                "sched_getaffinity is refused",
                syscall3(libc::SYS_sched_getaffinity, 0, 128, set),
            ),
        ]
    };
    asked
        .into_iter()
        .find(|&(_, ret)| raw::is_refused(ret))
        .map_or(Ok(()), |(reason, _)| Err(reason))
}

/// What may opens (an epoll set and an eventfd), and a reactor at least (the same).
const DESCRIPTORS: usize = 4;

/// Whether that many descriptors can be opened.
fn can_open(count: usize) -> bool {
    let mut opened = [-1; DESCRIPTORS];
    let mut all = true;
    for fd in opened.iter_mut().take(count) {
        // SAFETY: no pointers.
        *fd = unsafe { syscall2(libc::SYS_eventfd2, 0, libc::EFD_CLOEXEC as u64) };
        all &= *fd >= 0;
    }
    for fd in opened.into_iter().filter(|&fd| fd >= 0) {
        raw::close(fd as i32);
    }
    all
}

/// Stack for may's start, in bytes: its scheduler is built on the stack, which may
/// be a small one of the program's.
const START_STACK: usize = 1 << 20;

/// Bytes of stack that may's worker needs at most: it runs the hub's coroutine, which has a stack
/// of its own.
const STACK: u64 = 128 << 10;
const PAGE: u64 = 4096;

/// Thread pointer of the thread whose stack is not there as a whole; 0 if there is none.
static SHRUNK: AtomicU64 = AtomicU64::new(0);

/// Whether libc must not have the stack of the thread with this thread pointer for another one:
/// a part of it is not there any more, or is somebody else's.
pub fn has_partial_stack(thread_pointer: u64) -> bool {
    SHRUNK.load(Ordering::Relaxed) == thread_pointer
}

/// Gives back most of what the worker has as its stack: may does not let us say how
/// much. The timer thread's stays whole, since libc lists that thread, and makes the stacks of
/// those executable as a whole for an object that asks for it.
fn shrink_worker_stack(thread_pointer: u64) {
    let [low, end] = [0, 1].map(|at| WORKER_STACK[at].load(Ordering::Relaxed));
    let guard = end.saturating_sub(STACK) & !(PAGE - 1);
    if low == 0 || guard <= low {
        return;
    }
    // SAFETY: memory of a stack, far below where it is in use.
    unsafe {
        if syscall3(libc::SYS_mprotect, guard, PAGE, libc::PROT_NONE as u64) == 0 {
            SHRUNK.store(thread_pointer, Ordering::Relaxed);
            syscall2(libc::SYS_munmap, low, guard - low);
        }
    }
}

/// In a forked child, before libc takes the stacks of threads that are not there for new ones:
/// the timer thread's is too small for that. The worker is in no list.
pub fn keep_timer_stack() {
    let timer = TIMER.swap(0, Ordering::Relaxed);
    if timer != 0 {
        // SAFETY: a thread that libc made, which is not there any more.
        unsafe { libc_threads::unlist_in_child(timer) };
    }
}

/// Makes the hub may's first coroutine, which starts may.
fn spawn_hub() -> bool {
    unsafe extern "C" fn spawn(spawned: usize) {
        may::config()
            .set_workers(1)
            .set_pool_capacity(1)
            .set_stack_size(HUB_STACK);
        may::config().set_worker_pin(false);
        // may panics where a thread cannot be made. The message is not for the program's
        // standard error.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let outcome = std::panic::catch_unwind(|| {
            // SAFETY: the hub uses no `thread_local!` across a switch.
            unsafe { may::coroutine::Builder::new().spawn(|| -> () { hub().run() }) }.is_ok()
        });
        std::panic::set_hook(hook);
        // SAFETY: the variable of the caller, which waits.
        unsafe { *(spawned as *mut bool) = outcome.unwrap_or(false) };
    }
    let Some(stack) = raw::reserve(START_STACK) else {
        return false;
    };
    let mut spawned = false;
    // SAFETY: a stack of our own, given back when nothing is on it any more.
    unsafe {
        let top = stack.add(START_STACK) as u64;
        arch::call_on(top, spawn, &raw mut spawned as usize);
        syscall2(libc::SYS_munmap, stack as u64, START_STACK as u64);
    }
    spawned
}

/// A clone call of the starting thread. The worker's is answered here; the result
/// is left in the frame.
///
/// # Safety
/// `frame` and `args` must be of the present clone call of the starting thread.
pub unsafe fn catch(frame: &mut Frame, args: &ThreadArgs, kernel_tid: i32) {
    let timer = TIMER.load(Ordering::Relaxed);
    let is_timer = timer == 0 || timer == args.tls;
    if !is_timer && args.stack_size != 0 {
        let [low, end] = &WORKER_STACK;
        low.store(args.stack_top - args.stack_size, Ordering::Relaxed);
        end.store(args.stack_top, Ordering::Relaxed);
    }
    if is_timer {
        TIMER.store(args.tls, Ordering::Relaxed);
        catch::run_native_for_thread(frame);
        return;
    }
    // SAFETY: libc made the stack and the TCB for the worker.
    unsafe {
        let child = life::child_frame(frame, args);
        if !args.parent_tid.is_null() {
            args.parent_tid.write(kernel_tid as u32);
        }
        arch::set_word_of(args.tls, HOST_WORD);
        *processor::first().ctx.get() = arch::prepare_frame(child, args.tls);
    }
    frame.rax = kernel_tid as u64;
}

/// A system call of host code: everything is the kernel's, but what libc asks of
/// a new kernel thread was already done for this one.
///
/// # Safety
/// `frame` must be of the present call.
pub unsafe fn host_call(frame: &mut Frame) {
    match frame.rax as i64 {
        libc::SYS_rt_sigprocmask => {
            // libc asks for the mask of a thread it is about to make.
            if frame.rdx != 0 {
                // SAFETY: libc's own set.
                unsafe { (frame.rdx as *mut u64).write(signal::HOST_MASK) };
            }
            frame.rax = 0;
        }
        libc::SYS_epoll_wait => wait_for_events(frame),
        libc::SYS_rseq | libc::SYS_set_robust_list | libc::SYS_sigaltstack | libc::SYS_prctl => {
            frame.rax = 0
        }
        _ if sandbox::refuses(frame.rax, &frame.args()) => {
            frame.rax = raw::err(libc::EPERM) as u64;
        }
        // SAFETY: the caller's contract.
        libc::SYS_clone | libc::SYS_clone3 if unsafe { life::thread_args(frame) }.is_some() => {
            catch::run_native_for_thread(frame);
        }
        _ => catch::run_native_of_host(frame),
    }
}

/// may's own wait, in whichever form the kernel allows.
fn wait_for_events(frame: &mut Frame) {
    let args = frame.args();
    // SAFETY: may's own call; epoll_pwait(2) without a mask is the same.
    unsafe {
        let mut ret = arch::syscall(frame.rax, args);
        if raw::is_refused(ret) {
            let [fd, events, most, timeout, ..] = args;
            let pwait = libc::SYS_epoll_pwait as u64;
            ret = arch::syscall(pwait, [fd, events, most, timeout, 0, 0]);
        }
        frame.rax = ret as u64;
    }
}

/// A descriptor that may opened while it started goes to a high number.
///
/// # Safety
/// `frame` must be of the present `epoll_create1` or `eventfd2` call.
pub unsafe fn open_private(frame: &mut Frame) {
    // SAFETY: may's own call, unchanged.
    let fd = private::open(|| unsafe { arch::syscall(frame.rax, frame.args()) });
    frame.rax = fd as u64;
}

/// The kernel's `struct sigaction`.
type KernelAction = [u64; 4];

fn action(signal: i32) -> KernelAction {
    let mut old = [0; 4];
    // SAFETY: the kernel writes one action of 32 bytes.
    unsafe {
        syscall4(
            libc::SYS_rt_sigaction,
            signal as u64,
            0,
            &raw mut old as u64,
            8,
        )
    };
    old
}

fn restore_action(signal: i32, action: &KernelAction) {
    // SAFETY: an action the kernel itself gave.
    unsafe {
        syscall4(
            libc::SYS_rt_sigaction,
            signal as u64,
            action as *const _ as u64,
            0,
            8,
        )
    };
}
