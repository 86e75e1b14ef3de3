//! Calls made where the engine has not been: `GEVENT_SHIM_CATCH`.
//!
//! Code that a program makes at run time, or whose sites were refused, has `syscall`
//! instructions that lead nowhere. If asked to, the kernel sends SIGSYS for every call of
//! the hub's kernel thread that this library's own text does not make (Syscall User
//! Dispatch, Linux 5.11), and the handler leads it to [`dispatch`], as
//! a site's stub would have done:
//!
//! ```text
//! syscall anywhere ─SIGSYS─▶ handler ─returns to─▶ entry ─▶ dispatch ─▶ … ─▶ behind the syscall
//! ```
//!
//! Nothing of the program's code is changed: it may be gone, or another's, a moment later.
//! So each such call costs a signal, some fifteen plain calls. What it has instead of a
//! stub is a [slot](crate::arch::find_slot), where a call that is the kernel's is run.
//! Calls of patched sites that are the kernel's are run there too, as stubs are not in
//! our text: so every number is [`wanted`] in this mode.
//!
//! # Where no code can be patched
//! A process may be forbidden to make code (PR_SET_MDWE, systemd's MemoryDenyWriteExecute=,
//! SELinux's execmem). There this carries every call of the guests, and of our own threads that
//! use libc, whose locks guests share: [`everything`]. No site tells of the program's first
//! thread then. The library's `pthread_create` does, and until it is called nothing is caught:
//! a program that makes no thread pays nothing. While may starts, whose worker's `clone3` must
//! be caught before there is a guest, a handler of its own stands in
//! ([`while_starting`]).
//!
//! Where only some sites of libc could not be patched, the same is done for them, and the others
//! lead to dispatch as ever.
//!
//! A kernel thread has this for itself, without heirs: threads that are no guests, children
//! of fork and vfork and new programs are as ever, and a child of fork that makes a
//! thread begins again. SIGSYS of a seccomp filter stays the program's. A program that uses
//! Syscall User Dispatch itself takes it over, and nothing is caught any more.
//!
//! # Synchronization
//! `ON` is written on the hub's kernel thread alone; others may see an old value, and slots
//! serve them all the same. `TEXT` and `FULL` are written before it is set, and read after.
//! `EVERYTHING` is written at load. `TO_TELL` passes a reason to the monitor.
#![allow(unsafe_code)]

use core::ffi::{c_int, c_void};
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use patch_events::events;

use crate::arch::{self, Ucontext, syscall};
use crate::config;
use crate::dispatch;
use crate::frame::{Frame, SYSCALL_LEN, SiteRecord};
use crate::host::HOST_WORD;
use crate::hub::{Hub, processor};
use crate::monitor;
use crate::raw::{self, err};
use crate::signal::{self, Action, Info};
use crate::wanted;

/// prctl(2) of Syscall User Dispatch; libc does not have them all yet.
pub const PR_SET_SYSCALL_USER_DISPATCH: i32 = 59;
const DISPATCH_OFF: u64 = 0;
const DISPATCH_ON: u64 = 1;
/// si_code of its SIGSYS.
const SYS_USER_DISPATCH: i32 = 2;
/// si_arch of a call by the `syscall` instruction (AUDIT_ARCH_X86_64).
const ARCH_X86_64: u32 = 0xc000_003e;

static ON: AtomicBool = AtomicBool::new(false);
/// Whether libc makes calls that no site leads to us.
static EVERYTHING: AtomicBool = AtomicBool::new(false);
/// Whether calls enter with the whole vector state saved.
static FULL: AtomicBool = AtomicBool::new(false);
/// Our text: first address and bytes.
static TEXT: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
/// First addresses and bytes of texts that use no wider registers.
static BASELINE: [[AtomicU64; 2]; 8] = [const { [const { AtomicU64::new(0) }; 2] }; 8];
/// Why nothing is caught any more, by its place in [`REASONS`] plus one.
static TO_TELL: AtomicU8 = AtomicU8::new(0);

/// Why catching stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// No slot is left.
    Full,
    /// A call by `int 0x80` or the like, whose numbers are others.
    Foreign,
    /// The program uses Syscall User Dispatch itself.
    Program,
}

const REASONS: [&str; 3] = [
    "too many places make calls",
    "a call was made as 32-bit programs make them",
    "the program uses Syscall User Dispatch itself",
];

/// Whether calls are caught.
#[inline]
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Whether the kernel has this, and lets the process have it.
pub fn is_available() -> bool {
    // Off is off already.
    set(DISPATCH_OFF, 0, 0)
}

/// libc cannot be patched, or not as a whole: from the first thread on, calls that no site leads
/// to us are to be caught.
/// `baseline` are texts that use no wider registers than every x86-64 has.
pub fn everything(baseline: impl Iterator<Item = Range<u64>>) {
    for (place, text) in BASELINE.iter().zip(baseline) {
        place[0].store(text.start, Ordering::Relaxed);
        place[1].store(text.end - text.start, Ordering::Relaxed);
    }
    EVERYTHING.store(true, Ordering::Relaxed);
}

/// Whether a call of the instruction before `back` enters with the whole vector state saved,
/// which takes much of a small stack.
fn is_full(back: u64) -> bool {
    let within = |[start, len]: &[AtomicU64; 2]| {
        back.wrapping_sub(start.load(Ordering::Relaxed)) < len.load(Ordering::Relaxed)
    };
    FULL.load(Ordering::Relaxed) && !BASELINE.iter().any(within)
}

/// Whether libc makes calls that no site leads to us.
#[inline]
pub fn is_everything() -> bool {
    EVERYTHING.load(Ordering::Relaxed)
}

/// Whether the program is to have this.
pub fn is_wanted() -> bool {
    config::get().catch || is_everything()
}

/// Signals that must always reach our handler because of this.
pub fn signals() -> u64 {
    if is_on() {
        signal::bit(libc::SIGSYS)
    } else {
        0
    }
}

/// Gets ready, if the program is to have this, before the first guest is adopted.
pub fn prepare() {
    if !is_wanted() {
        return;
    }
    find_text();
    ON.store(true, Ordering::Relaxed);
}

fn find_text() {
    if TEXT[0].load(Ordering::Relaxed) != 0 {
        // In a forked child another thread of the parent may have held libc's lock for ever.
        return;
    }
    let text = own_text();
    TEXT[0].store(text.start, Ordering::Relaxed);
    TEXT[1].store(text.end - text.start, Ordering::Relaxed);
    FULL.store(arch::init_entry(), Ordering::Relaxed);
}

/// Catches the calls of the calling kernel thread from here on. False if the kernel does not.
fn catch_here() -> bool {
    let [at, len] = [0, 1].map(|i| TEXT[i].load(Ordering::Relaxed));
    at != 0 && set(DISPATCH_ON, at, len)
}

/// Does so where no site leads to us, once the first guest is adopted: the host context's first
/// steps are libc's.
pub fn start_early() {
    if is_on() && is_everything() {
        catch_here();
    }
}

/// The same for a thread of ours that libc makes, from its first step: it shares locks with
/// guests, which wait for them in our table.
pub fn start_on_own_thread() {
    signal::unblock_on_this_thread(signal::bit(libc::SIGSYS));
    catch_here();
}

/// Runs `f`, which starts may, with its calls caught if no site leads to us.
pub fn while_starting<R>(f: impl FnOnce() -> R) -> R {
    if !is_everything() {
        return f();
    }
    find_text();
    let old = signal::handle_raw(libc::SIGSYS, at_start as *const () as u64);
    let mask = signal::unblock_on_this_thread(signal::bit(libc::SIGSYS));
    catch_here();
    let result = f();
    set(DISPATCH_OFF, 0, 0);
    signal::restore_kernel_mask(mask);
    // The handler stays, for may's timer thread, until that of all signals takes its place.
    *programs_action() = Some(old);
    result
}

/// The program's action for SIGSYS, while a handler of [`while_starting`] stands in.
pub fn take_programs_action() -> Option<Action> {
    programs_action().take()
}

fn programs_action() -> MutexGuard<'static, Option<Action>> {
    static ACTION: Mutex<Option<Action>> = Mutex::new(None);
    ACTION.lock().unwrap_or_else(PoisonError::into_inner)
}

/// There will be no guests: the program's action for SIGSYS is the kernel's again.
pub fn give_up() {
    if let Some(action) = take_programs_action() {
        signal::restore_raw(libc::SIGSYS, &action);
    }
}

/// The handler meanwhile.
unsafe extern "C" fn at_start(_: c_int, info: *const Info, uc: *mut Ucontext) {
    // SAFETY: the kernel's own frame.
    let (info, uc) = unsafe { (&*info, &mut *uc) };
    if info.code() != SYS_USER_DISPATCH {
        return;
    }
    let back = uc.ip();
    let Some(slot) = arch::find_or_make_slot(back, back) else {
        set(DISPATCH_OFF, 0, 0);
        uc.set_ip(back - SYSCALL_LEN);
        return;
    };
    match i64::from(info.call().0) {
        libc::SYS_clone
        | libc::SYS_clone3
        | libc::SYS_epoll_create1
        | libc::SYS_eventfd2
        | libc::SYS_rt_sigprocmask => uc.enter_call(slot, is_full(back)),
        // SAFETY: records are never freed.
        _ => uc.set_ip(unsafe { (*slot).resume } - SYSCALL_LEN),
    }
}

/// A thread that is no guest changes its mask: with the signal blocked the kernel would end the
/// process at the next call. True: that is done.
///
/// # Safety
/// `frame` must be of the present call.
pub unsafe fn change_mask(frame: &mut Frame) -> bool {
    let changes = frame.rax as i64 == libc::SYS_rt_sigprocmask
        && frame.rsi != 0
        && frame.rdi != libc::SIG_UNBLOCK as u64;
    if !is_everything() || !changes {
        return false;
    }
    // SAFETY: the caller's own set, which may be none.
    let Ok(set) = (unsafe { raw::get::<u64>(frame.rsi) }) else {
        return false;
    };
    let set = set & !signal::bit(libc::SIGSYS);
    let mut a = frame.args();
    a[1] = &raw const set as u64;
    // SAFETY: the caller's own call, with a set of ours.
    frame.rax = unsafe { syscall(frame.rax, a) } as u64;
    true
}

/// Begins to catch the calls of the calling kernel thread, the hub's. Host mode.
pub fn start() {
    if !is_on() {
        return;
    }
    if !catch_here() {
        ON.store(false, Ordering::Relaxed);
        signal::reinstall(libc::SIGSYS);
        let reason = "the kernel has no Syscall User Dispatch";
        events::NotCatching { reason }.emit();
        return;
    }
    for nr in 0..wanted::TABLE_LEN {
        wanted::want(nr, true);
    }
    events::Catching {}.emit();
}

/// Ends it for good. Guest mode or the signal handler.
pub fn stop(why: Stop) {
    if ON.swap(false, Ordering::Relaxed) {
        set(DISPATCH_OFF, 0, 0);
        signal::reinstall(libc::SIGSYS);
        TO_TELL.store(why as u8 + 1, Ordering::Release);
        monitor::ring();
    }
}

/// Tells that catching was stopped, if it was. Called by the monitor.
pub fn tell() {
    let why = TO_TELL.swap(0, Ordering::Acquire);
    if let Some(reason) = REASONS.get(usize::from(why).wrapping_sub(1)) {
        events::NotCatching { reason }.emit();
    }
}

/// In a forked child, for which the kernel has ended it, until it makes a thread.
pub fn reset_after_fork() {
    ON.store(false, Ordering::Relaxed);
}

/// Tells the kernel for this thread. False if it can't.
fn set(mode: u64, at: u64, len: u64) -> bool {
    let nr = libc::SYS_prctl as u64;
    // Without a selector: text outside the range is never let through.
    let a = [PR_SET_SYSCALL_USER_DISPATCH as u64, mode, at, len, 0, 0];
    // SAFETY: no pointers.
    unsafe { syscall(nr, a) == 0 }
}

/// Makes a guest run the real call, as [`Frame::run_native`], where the kernel lets it
/// through.
#[inline]
pub fn run_native(frame: &mut Frame) {
    if is_on() {
        go_to_slot(frame, arch::find_or_make_slot);
        if is_everything() && processor::here().shared_child.get() {
            let makes_child = matches!(
                frame.rax as i64,
                libc::SYS_vfork | libc::SYS_clone | libc::SYS_clone3
            );
            if makes_child {
                go_to(frame, arch::child_slot(frame.record));
            }
        }
    }
    frame.run_native();
}

/// The child of a vfork begins, whose own calls are not caught.
pub fn note_child() {
    if let Some(guest) = dispatch::current_guest() {
        // SAFETY: no arguments.
        let pid = unsafe { syscall(libc::SYS_getpid as u64, [0; 6]) } as i32;
        signal::note_child(pid, guest);
    }
}

fn go_to(frame: &mut Frame, slot: *const SiteRecord) {
    frame.record = slot;
    // SAFETY: records are never freed.
    frame.rip = unsafe { (*slot).resume };
}

/// The same for host code, on any kernel thread.
#[inline]
pub fn run_native_of_host(frame: &mut Frame) {
    if is_on() {
        go_to_slot(frame, |resume, _| arch::find_slot(resume));
    }
    frame.run_native();
}

/// The same for a call that makes a thread of ours by libc. Where no site leads to us its own
/// calls are caught from its first one on: libc's code at its begin may wake a guest that
/// changes its credentials.
pub fn run_native_for_thread(frame: &mut Frame) {
    if !is_everything() {
        return run_native_of_host(frame);
    }
    go_to(frame, arch::thread_slot(frame.record));
    frame.run_native();
}

/// Puts the slot that `slot` has for the frame's site, if any, in the place of its stub.
#[cold]
#[inline(never)]
fn go_to_slot(frame: &mut Frame, slot: impl Fn(u64, u64) -> Option<*const SiteRecord>) {
    // SAFETY: records are never freed.
    let SiteRecord { resume, ra } = unsafe { *frame.record };
    if !arch::is_slot(resume)
        && let Some(slot) = slot(resume, ra)
    {
        go_to(frame, slot);
    }
}

/// Whether this signal is of a call that was caught.
pub fn is_caught(info: &Info) -> bool {
    let may_be = is_on() || is_everything();
    may_be && info.signal() == libc::SIGSYS && info.code() == SYS_USER_DISPATCH
}

/// Leads a call that was caught to dispatch, or to the kernel if our code made it through
/// libc. Called by the signal handler, with the word of the TCB it is on.
pub fn caught(hub: &Hub, word: usize, info: &Info, uc: &mut Ucontext) {
    // The kernel is behind the instruction, and has put the number back into rax.
    let back = uc.ip();
    let (nr, arch) = info.call();
    let slot = if arch != ARCH_X86_64 {
        Err(Stop::Foreign)
    } else {
        arch::find_slot(back)
            .or_else(|| arch::find_or_make_slot(back, back))
            .ok_or(Stop::Full)
    };
    match slot {
        // Nobody may go past us. Here the call waits for no signal.
        Err(Stop::Full) if is_everything() => {
            // SAFETY: the program's own call.
            uc.set_result(unsafe { syscall(nr as u64, uc.args()) });
        }
        Err(_) if is_everything() => uc.set_result(err(libc::ENOSYS)),
        Err(why) => {
            stop(why);
            // Once more, this time to the kernel.
            uc.set_ip(back - SYSCALL_LEN);
        }
        // The return from a handler is the kernel's, and finds its frame by rsp.
        Ok(slot) if nr == libc::SYS_rt_sigreturn as i32 || is_own(hub, word) => {
            // SAFETY: records are never freed.
            uc.set_ip(unsafe { (*slot).resume } - SYSCALL_LEN);
        }
        Ok(slot) => uc.enter_call(slot, is_full(back)),
    }
}

/// Whether a caller is our own code, whose call is the kernel's. Where no site leads to us, what
/// host code and our threads do is looked at as their patched calls would be.
fn is_own(hub: &Hub, word: usize) -> bool {
    if is_everything() {
        return !dispatch::is_no_guest(word) && hub.in_shim();
    }
    hub.in_shim() || word <= HOST_WORD
}

/// The executable part of the object that this code is in. libc's lock of the list
/// of objects is taken: the program's own thread calls.
fn own_text() -> Range<u64> {
    struct Search {
        address: u64,
        found: Range<u64>,
    }
    unsafe extern "C" fn look(
        info: *mut libc::dl_phdr_info,
        _: usize,
        search: *mut c_void,
    ) -> c_int {
        // SAFETY: libc passes an object, and what `own_text` passed.
        let (info, search) = unsafe { (&*info, &mut *search.cast::<Search>()) };
        // SAFETY: the object's program headers.
        let headers =
            unsafe { core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        for header in headers {
            let start = info.dlpi_addr + header.p_vaddr;
            let range = start..start + header.p_memsz;
            if header.p_type == libc::PT_LOAD && range.contains(&search.address) {
                search.found = range;
                return 1;
            }
        }
        0
    }
    let mut search = Search {
        address: own_text as *const () as u64,
        found: 0..0,
    };
    // SAFETY: the function takes what is passed, which outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut search).cast()) };
    search.found
}
