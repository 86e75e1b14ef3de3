//! How a guest begins and ends.
#![allow(unsafe_code)]

use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

use super::{Guest, State, most};
use crate::arch::rare::Rare;
use crate::arch::{self, fs_base, prepare_call, resume_frame, set_word_of, syscall2, syscall3};
use crate::dispatch;
use crate::frame::{Frame, RED_ZONE};
use crate::hub::{Hub, processor};
use crate::maps;
use crate::ops::rseq;
use crate::parking;
use crate::probes;
use crate::raw::err;
use crate::sandbox;
use crate::sharers;
use crate::sharing;
use crate::signal;
use crate::trace;

/// What clone(2) and clone3(2) say about a thread to be made.
#[derive(Debug, Clone, Copy)]
pub struct ThreadArgs {
    /// CLONE_* flags.
    pub flags: u64,
    /// Initial stack pointer.
    pub stack_top: u64,
    /// Bytes of the stack; 0 for clone(2), which does not say.
    pub stack_size: u64,
    /// Thread pointer.
    pub tls: u64,
    /// Where the id is stored with CLONE_PARENT_SETTID.
    pub parent_tid: *mut u32,
    /// Where the id is stored with CLONE_CHILD_SETTID and cleared at exit with
    /// CLONE_CHILD_CLEARTID.
    pub child_tid: *mut u32,
}

/// The kernel's `struct clone_args`, as far as every kernel with clone3 has it.
#[repr(C)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// Decodes the arguments of `clone` or `clone3` in `frame`. `None` if they do
/// not ask for a thread that can be a guest.
///
/// # Safety
/// The arguments must be a program's own, as valid as the kernel needs them.
pub unsafe fn thread_args(frame: &Frame) -> Option<ThreadArgs> {
    let needed = (libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SETTLS) as u64;
    let args = if frame.rax as i64 == libc::SYS_clone3 {
        if (frame.rsi as usize) < size_of::<CloneArgs>() {
            return None;
        }
        let mut a = MaybeUninit::<CloneArgs>::uninit();
        // SAFETY: the size says that many bytes are there; those that are bad are the kernel's
        // to refuse.
        let whole = unsafe {
            let to = a.as_mut_ptr().cast();
            arch::copy(to, frame.rdi as *const u8, size_of::<CloneArgs>())
        };
        if !whole {
            return None;
        }
        // SAFETY: numbers, all of which were copied.
        let a = unsafe { a.assume_init() };
        ThreadArgs {
            flags: a.flags,
            stack_top: a.stack.wrapping_add(a.stack_size),
            stack_size: a.stack_size,
            tls: a.tls,
            parent_tid: a.parent_tid as *mut u32,
            child_tid: a.child_tid as *mut u32,
        }
    } else {
        ThreadArgs {
            flags: frame.rdi,
            stack_top: frame.rsi,
            stack_size: 0,
            tls: frame.r8,
            parent_tid: frame.rdx as *mut u32,
            child_tid: frame.r10 as *mut u32,
        }
    };
    (args.flags & needed == needed && args.stack_top != 0 && args.tls != 0).then_some(args)
}

/// Flags of clone(2).
pub fn clone_flags(frame: &Frame) -> u64 {
    if frame.rax as i64 == libc::SYS_clone3 {
        // SAFETY: the first word of clone_args, which the kernel reads too.
        unsafe { arch::read_word(frame.rdi) }.unwrap_or(0)
    } else {
        frame.rdi
    }
}

/// The address that clone(2) or clone3(2) is given for the child's id.
pub fn child_tid(frame: &Frame) -> usize {
    let address = if frame.rax as i64 == libc::SYS_clone3 {
        let field = core::mem::offset_of!(CloneArgs, child_tid) as u64;
        // SAFETY: a word of clone_args, which the kernel reads too.
        unsafe { arch::read_word(frame.rdi.wrapping_add(field)) }.unwrap_or(0)
    } else {
        frame.r10
    };
    address as usize
}

/// Copies `frame` to the new stack as the child sees it: result 0.
///
/// # Safety
/// `args.stack_top` must be the top of an unused stack.
pub unsafe fn child_frame(frame: &Frame, args: &ThreadArgs) -> *mut Frame {
    let at = (args.stack_top as usize - RED_ZONE - size_of::<Frame>()) & !15;
    let child = at as *mut Frame;
    let mut regs = frame.clone();
    regs.rax = 0;
    regs.rsp = args.stack_top;
    // The vector registers of a new thread mean nothing; the creator's XSAVE area
    // is on another stack.
    regs.xsave = ptr::null_mut();
    // SAFETY: below the top of the new stack.
    unsafe { child.write(regs) };
    child
}

/// Stacks that were looked for among the mappings, and the most that are: libc had a few before
/// the hub, and a program that brings its own would pay for every mapping with each thread.
static LOOKUPS: AtomicU32 = AtomicU32::new(0);
const MOST_LOOKUPS: u32 = 16;

/// Makes a guest of the thread that `creator` asks for, runnable. Returns its id,
/// or -EAGAIN when the program has as many as it may, or there is no room for its record, and
/// -EINVAL after what forbids the creator threads.
///
/// # Safety
/// `frame` and `args` must be of the creator's present clone call.
pub unsafe fn create(creator: &'static Guest, frame: &Frame, args: &ThreadArgs) -> i64 {
    let hub = creator.hub();
    if creator.makes_no_threads.get() {
        return err(libc::EINVAL);
    }
    if most::is_reached(hub) {
        return err(libc::EAGAIN);
    }
    let Some(guest) = hub.slab.take() else {
        return err(libc::EAGAIN);
    };
    // SAFETY: libc made the stack and the TCB for this thread.
    let child = unsafe { child_frame(frame, args) };
    guest.hub.set(hub);
    guest.frame.set(child);
    // clone(2), which libc uses before 2.34 and where there is no clone3(2), tells no size.
    let low = match args.stack_size {
        0 => {
            let within = args.stack_top as usize - 1;
            let ours = hub.stacks.bounds(within).map(|(low, _)| low as u64);
            // Another one, which was there before the hub or is the program's own, ends at a
            // guard that is a mapping of its own.
            ours.or_else(|| {
                if LOOKUPS.load(Ordering::Relaxed) >= MOST_LOOKUPS {
                    return None;
                }
                LOOKUPS.fetch_add(1, Ordering::Relaxed);
                let mapping = hub.call(creator, || maps::around(within));
                mapping.map(|mapping| mapping.start as u64)
            })
        }
        size => Some(args.stack_top.wrapping_sub(size)),
    };
    if let Some(low) = low {
        // What libc gives begins with the guard.
        let low = low + hub.stacks.guard_at(low as usize) as u64;
        guest.stack.set((low.min(args.stack_top), args.stack_top));
    }
    guest.name.set(creator.name.get());
    guest.repeats.set(false);
    guest.holds_limit.set(false);
    guest.interrupt.clear();
    guest.go_anywhere();
    guest.filter.set(creator.filter.get());
    guest.rare.set(Rare::current());
    if sandbox::is_on() {
        guest.stay_on(processor::first());
    }
    signal::inherit(guest, creator);
    creator.sched.inherit_to(&guest.sched);
    let tid = guest.tid.get();
    if args.flags & libc::CLONE_PARENT_SETTID as u64 != 0 {
        // SAFETY: the creator's pointer; the kernel would write there too.
        unsafe { args.parent_tid.write(tid as u32) };
    }
    if args.flags & libc::CLONE_CHILD_SETTID as u64 != 0 {
        // SAFETY: as above, threads share their memory.
        unsafe { args.child_tid.write(tid as u32) };
    }
    if args.flags & libc::CLONE_CHILD_CLEARTID as u64 != 0 {
        guest.clear_child_tid.set(args.child_tid);
    }
    // SAFETY: the TCB is set up, and the stack below the frame is the guest's.
    unsafe {
        set_word_of(args.tls, guest as *const Guest as usize);
        *guest.ctx.get() = prepare_call(
            child as u64,
            args.tls,
            begin,
            guest as *const Guest as usize,
        );
    }
    hub.enroll(guest);
    hub.make_ready(guest);
    probes::spawn(guest, creator);
    trace::guest_started(guest, creator, frame, args.stack_size);
    tid as i64
}

/// First thing a guest runs: leaves host code behind.
unsafe extern "C" fn begin(guest: usize) -> ! {
    // SAFETY: `create` passed the record, which lives until the guest ends.
    let guest = unsafe { &*(guest as *const Guest) };
    let hub = guest.hub();
    guest.rare.get().restore();
    hub.arrive(guest);
    let frame = guest.frame.get();
    // SAFETY: the frame that `create` wrote on this stack.
    unsafe {
        dispatch::leave(guest, &mut *frame);
        resume_frame(frame)
    }
}

/// Makes the running thread, which has no record yet, a guest in place: the
/// initial thread at adoption, or the only thread of a forked child.
pub fn adopt(hub: &'static Hub, tid: i32) -> Option<&'static Guest> {
    let guest = hub.slab.take()?;
    guest.tid.set(tid);
    guest.hub.set(hub);
    guest.interrupt.clear();
    guest.filter.set(ptr::null());
    // SAFETY: no switch to this context happens before `switch` has filled it.
    unsafe { (*guest.ctx.get()).fs = fs_base() };
    guest.state.set(State::Running);
    let (mut clear, mut robust, mut size) = (0usize, 0usize, 0usize);
    let mut death_signal = 0i32;
    let mut name = [0u8; 16];
    // SAFETY: each writes to variables of ours; what a kernel without it leaves is null.
    unsafe {
        syscall2(
            libc::SYS_prctl,
            libc::PR_GET_TID_ADDRESS as u64,
            &raw mut clear as u64,
        );
        syscall2(
            libc::SYS_prctl,
            libc::PR_GET_NAME as u64,
            &raw mut name as u64,
        );
        syscall2(
            libc::SYS_prctl,
            libc::PR_GET_PDEATHSIG as u64,
            &raw mut death_signal as u64,
        );
        syscall3(
            libc::SYS_get_robust_list,
            0,
            &raw mut robust as u64,
            &raw mut size as u64,
        );
    }
    processor::first().cpu.begin(&guest.cpu);
    guest.name.set(name);
    guest.clear_child_tid.set(clear as *mut u32);
    guest.robust_list.set(robust);
    guest.death_signal.set(death_signal as u8);
    guest.sched.begin();
    hub.enroll(guest);
    hub.initial.set(guest);
    processor::first().current.set(guest);
    guest.stay_on(processor::first());
    rseq::begin();
    arch::set_current_word(guest as *const Guest as usize);
    Some(guest)
}

/// Ends `guest`, the caller: what `exit(2)` does to a thread. Does not return.
pub fn end(guest: &'static Guest) -> ! {
    let hub = guest.hub();
    guest.state.set(State::Dead);
    hub.leave_for_good(guest)
}

/// The last act for a guest whose stack has been left: its record is freed, and
/// its joiner may take the stack.
pub fn bury(hub: &'static Hub, guest: &'static Guest) {
    let clear = guest.clear_child_tid.get();
    if !clear.is_null() {
        // A handle of the program's is good until somebody joins: what it leads to is no
        // guest any more.
        // SAFETY: libc keeps the TCB until it reads zero at that address.
        unsafe { set_word_of((*guest.ctx.get()).fs, 0) };
    }
    signal::forget(guest);
    signal::disown(guest);
    hub.dismiss(guest);
    hub.slab.put(guest);
    if !clear.is_null() {
        // SAFETY: the address the program registered; libc keeps the TCB until it
        // reads zero there.
        unsafe { AtomicU32::from_ptr(clear).store(0, Ordering::Release) };
        parking::wake(clear as usize, 1);
        if sharing::is_shared(clear as usize) || hub.has_foreign() || sharers::any() {
            // A wait for it may have gone to the kernel.
            // SAFETY: a wake needs a valid address only.
            unsafe { syscall3(libc::SYS_futex, clear as u64, libc::FUTEX_WAKE as u64, 1) };
        }
    }
}
