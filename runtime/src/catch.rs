//! Calls made where the engine has not been: `GEVENT_SHIM_CATCH`.
//!
//! Code that a program makes at run time, or whose sites were refused, has `syscall`
//! instructions that lead nowhere. If asked to, the kernel sends SIGSYS for every call of
//! the hub's kernel thread that this library's own text does not make (Syscall User
//! Dispatch, Linux 5.11), and the handler leads it to [`dispatch`](crate::dispatch), as
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
//! A kernel thread has this for itself, without heirs: threads that are no guests, children
//! of fork and vfork and new programs are as ever, and a child of fork that makes a
//! thread begins again. SIGSYS of a seccomp filter stays the program's. A program that uses
//! Syscall User Dispatch itself takes it over, and nothing is caught any more.
//!
//! # Synchronization
//! `ON` is written on the hub's kernel thread alone; others may see an old value, and slots
//! serve them all the same. `TEXT` and `FULL` are written before it is set, and read on
//! that thread. `TO_TELL` passes a reason to the monitor.
#![allow(unsafe_code)]

use core::ffi::{c_int, c_void};
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use patch_events::events;

use crate::arch::{self, Ucontext, syscall};
use crate::config;
use crate::frame::{Frame, SYSCALL_LEN, SiteRecord};
use crate::host::HOST_WORD;
use crate::hub::Hub;
use crate::monitor;
use crate::signal::{self, Info};
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
/// Whether calls enter with the whole vector state saved.
static FULL: AtomicBool = AtomicBool::new(false);
/// Our text: first address and bytes.
static TEXT: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
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
    if !config::get().catch {
        return;
    }
    let text = own_text();
    TEXT[0].store(text.start, Ordering::Relaxed);
    TEXT[1].store(text.end - text.start, Ordering::Relaxed);
    FULL.store(arch::init_entry(), Ordering::Relaxed);
    ON.store(true, Ordering::Relaxed);
}

/// Begins to catch the calls of the calling kernel thread, the hub's. Host mode.
pub fn start() {
    if !is_on() {
        return;
    }
    let [at, len] = [0, 1].map(|i| TEXT[i].load(Ordering::Relaxed));
    if at == 0 || !set(DISPATCH_ON, at, len) {
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

/// In a forked child, for which the kernel has ended it.
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
    }
    frame.run_native();
}

/// The same for host code, on any kernel thread.
#[inline]
pub fn run_native_of_host(frame: &mut Frame) {
    if is_on() {
        go_to_slot(frame, |resume, _| arch::find_slot(resume));
    }
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
        frame.record = slot;
        // SAFETY: as above.
        frame.rip = unsafe { (*slot).resume };
    }
}

/// Whether this signal is of a call that was caught.
pub fn is_caught(info: &Info) -> bool {
    is_on() && info.signal() == libc::SIGSYS && info.code() == SYS_USER_DISPATCH
}

/// Leads a call that was caught to dispatch, or to the kernel if our code made it through
/// libc. Called by the signal handler on the hub's kernel thread, with the word of its TCB.
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
        Err(why) => {
            stop(why);
            // Once more, this time to the kernel.
            uc.set_ip(back - SYSCALL_LEN);
        }
        // The return from a handler is the kernel's, and finds its frame by rsp.
        Ok(slot) if hub.in_shim() || word <= HOST_WORD || nr == libc::SYS_rt_sigreturn as i32 => {
            // SAFETY: records are never freed.
            uc.set_ip(unsafe { (*slot).resume } - SYSCALL_LEN);
        }
        Ok(slot) => uc.enter_call(slot, FULL.load(Ordering::Relaxed)),
    }
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
