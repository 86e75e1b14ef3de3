//! What the greenlets ask of the hub that runs them, if one does.
//!
//! The hub may be of this copy of the runtime (a program that links it and calls
//! `monkey::patch_all`, or the preloaded library itself) or of a preloaded library beside
//! it. So it is asked through a table of C functions, which the library exports as
//! `gevent_shim_backend`. Without a hub each question has the answer that fits a kernel
//! thread.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use crate::arch;
use crate::dispatch;
use crate::guest::Guest;
use crate::hub::hub;
use crate::interrupt as calls;
use crate::monitor;
use crate::objects;

use super::callbacks;
use super::section::Section;

/// Changed with the table.
const VERSION: u32 = 1;

/// A hub's answers. Every function may be called on any thread of the program, in its
/// own code.
#[repr(C)]
#[derive(Debug)]
pub struct Backend {
    version: u32,
    /// Whether guests run in this process.
    running: extern "C" fn() -> bool,
    /// Whether the caller is a guest.
    is_guest: extern "C" fn() -> bool,
    /// Ends the present or next call of a live thread, if it is a guest.
    interrupt: extern "C" fn(libc::pthread_t),
    /// Sets when the caller's calls are to end; 0 for never.
    set_deadline: extern "C" fn(u64),
    /// The caller has seen what interrupted it.
    settle: extern "C" fn(),
    /// Whether the deadline ended a call of the caller.
    take_delivered: extern "C" fn() -> bool,
    /// Makes a kernel thread that is no guest. 0 or an errno.
    start_kernel_thread: extern "C" fn(extern "C" fn(*mut c_void), *mut c_void) -> i32,
    /// How often a guest was switched to.
    switches: extern "C" fn() -> u64,
    /// Guests that have not ended.
    guests: extern "C" fn() -> usize,
    /// Whether another guest is runnable.
    has_ready: extern "C" fn() -> bool,
    /// libc is to count so many threads fewer.
    discount: extern "C" fn(i32),
}

/// The table of this copy. Exported by the preloaded library.
#[unsafe(export_name = "gevent_shim_backend")]
pub static OWN: Backend = Backend {
    version: VERSION,
    running: own_running,
    is_guest: own_is_guest,
    interrupt: own_interrupt,
    set_deadline: own_set_deadline,
    settle: own_settle,
    take_delivered: own_take_delivered,
    start_kernel_thread: own_start_kernel_thread,
    switches: own_switches,
    guests: own_guests,
    has_ready: own_has_ready,
    discount: own_discount,
};

fn guest() -> Option<&'static Guest> {
    match arch::current_word() {
        word if dispatch::is_no_guest(word) => None,
        _ if !dispatch::is_running() => None,
        // SAFETY: the word of a guest's TCB points to its record while it lives.
        word => Some(unsafe { &*(word as *const Guest) }),
    }
}

extern "C" fn own_running() -> bool {
    dispatch::is_running()
}

extern "C" fn own_is_guest() -> bool {
    guest().is_some()
}

extern "C" fn own_interrupt(thread: libc::pthread_t) {
    if let Some(target) = dispatch::guest_of(thread) {
        let _section = Section::enter();
        calls::interrupt(hub(), target);
    }
}

extern "C" fn own_set_deadline(at: u64) {
    if let Some(guest) = guest() {
        guest.interrupt.set_deadline((at != 0).then_some(at));
    }
}

extern "C" fn own_settle() {
    if let Some(guest) = guest() {
        guest.interrupt.settle();
    }
}

extern "C" fn own_take_delivered() -> bool {
    guest().is_some_and(|guest| guest.interrupt.take_delivered())
}

extern "C" fn own_start_kernel_thread(
    function: extern "C" fn(*mut c_void),
    argument: *mut c_void,
) -> i32 {
    if !dispatch::is_running() {
        return native_thread(function, argument);
    }
    if !monitor::is_present() {
        return libc::EAGAIN;
    }
    monitor::start_thread(function, argument);
    0
}

extern "C" fn own_switches() -> u64 {
    hub().switches()
}

extern "C" fn own_guests() -> usize {
    hub().count()
}

extern "C" fn own_has_ready() -> bool {
    guest().is_some() && hub().has_ready()
}

extern "C" fn own_discount(n: i32) {
    crate::libc_threads::discount(n);
}

/// Makes a thread with libc alone. 0 or an errno.
pub(crate) fn native_thread(function: extern "C" fn(*mut c_void), argument: *mut c_void) -> i32 {
    struct Job(extern "C" fn(*mut c_void), *mut c_void);
    // SAFETY: the argument is handed to the one thread that is made.
    unsafe impl Send for Job {}
    impl Job {
        fn run(self) {
            (self.0)(self.1);
        }
    }
    let job = Job(function, argument);
    let made = std::thread::Builder::new().spawn(move || job.run());
    made.err()
        .map_or(0, |error| error.raw_os_error().unwrap_or(libc::EAGAIN))
}

/// The table of a library that was preloaded beside this copy.
pub fn preloaded() -> Option<&'static Backend> {
    static PRELOADED: AtomicPtr<Backend> = AtomicPtr::new(std::ptr::null_mut());
    /// Looked for and not there.
    const NONE: *mut Backend = std::ptr::dangling_mut();
    let mut found = PRELOADED.load(Ordering::Acquire);
    if found.is_null() {
        found = objects::find_first(c"gevent_shim_backend").map_or(NONE, |at| at.cast());
        // SAFETY: the library's table, which begins with its version.
        if found != NONE && unsafe { (*found).version } != VERSION {
            found = NONE;
        }
        PRELOADED.store(found, Ordering::Release);
    }
    if found == NONE || std::ptr::eq(found, &OWN) {
        return None;
    }
    // SAFETY: a table of this version that is never changed or freed.
    Some(unsafe { &*found })
}

/// The hub's table: this copy's while its guests run, or else that of a preloaded library.
fn table() -> Option<&'static Backend> {
    if dispatch::is_running() {
        return Some(&OWN);
    }
    preloaded().filter(|table| (table.running)())
}

/// Whether guests run in this process.
pub(super) fn running() -> bool {
    table().is_some()
}

/// Whether the caller is a guest.
pub(super) fn is_guest() -> bool {
    table().is_some_and(|table| (table.is_guest)())
}

/// Ends the present or next call of `thread`, which must not end meanwhile.
pub(super) fn interrupt(thread: libc::pthread_t) {
    if let Some(table) = table() {
        (table.interrupt)(thread);
    }
}

/// Sets when the caller's calls are to end.
pub(super) fn set_deadline(at: Option<u64>) {
    if let Some(table) = table() {
        let at = at.filter(|&at| at != u64::MAX);
        (table.set_deadline)(at.map_or(0, |at| at.max(1)));
    }
}

/// The caller has seen what interrupted it.
pub(super) fn settle() {
    if let Some(table) = table() {
        (table.settle)();
    }
}

/// Whether a deadline ended a call of the caller's since this was last asked.
pub(super) fn take_delivered() -> bool {
    table().is_some_and(|table| (table.take_delivered)())
}

/// Runs `f` on a kernel thread of its own that is no guest.
pub(super) fn kernel_thread<F: FnOnce() + Send + 'static>(f: F) -> io::Result<()> {
    extern "C" fn run<F: FnOnce()>(f: *mut c_void) {
        // SAFETY: the box below, passed once.
        let f = unsafe { Box::from_raw(f.cast::<F>()) };
        f();
    }
    if !running() {
        // Where a first thread starts the hub, that one would be a guest.
        if let Ok(first) = std::thread::Builder::new().spawn(|| ()) {
            // It does nothing that could panic.
            let _ = first.join();
        }
    }
    if is_guest() {
        // The thread may use this library before any guest has.
        callbacks::prepare();
    }
    let f = Box::into_raw(Box::new(f));
    let error = match table() {
        Some(table) => (table.start_kernel_thread)(run::<F>, f.cast()),
        None => native_thread(run::<F>, f.cast()),
    };
    if error == 0 {
        return Ok(());
    }
    // SAFETY: no thread has it.
    drop(unsafe { Box::from_raw(f) });
    Err(io::Error::from_raw_os_error(error))
}

/// How often a guest was switched to; 0 without a hub.
pub(super) fn switches() -> u64 {
    table().map_or(0, |table| (table.switches)())
}

/// Guests that have not ended; 0 without a hub.
pub(super) fn guests() -> usize {
    table().map_or(0, |table| (table.guests)())
}

/// Whether another guest is runnable.
pub(super) fn has_ready() -> bool {
    table().is_some_and(|table| (table.has_ready)())
}

/// Has libc count one thread fewer: ours do not keep a program alive.
pub(super) fn discount_one() {
    if let Some(table) = table() {
        (table.discount)(1);
    }
}

/// Runs `f` where a thread that it makes becomes a guest: here, or by the hub's servant
/// if the caller is another kernel thread while there is a hub.
pub(super) fn on_hub<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> io::Result<R> {
    match table() {
        Some(table) if !(table.is_guest)() => callbacks::ask(f),
        Some(_) => {
            callbacks::prepare();
            Ok(f())
        }
        None => Ok(f()),
    }
}

/// Greenlets that have been made and have not ended.
static LIVE: AtomicUsize = AtomicUsize::new(0);

pub(super) fn greenlet_started() {
    LIVE.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn greenlet_ended() {
    if LIVE.fetch_sub(1, Ordering::AcqRel) == 1 {
        super::many::all_ended();
    }
}

/// This is a forked child: of the greenlets only the caller is left, if it is one.
pub(super) fn forked(greenlet: bool) {
    LIVE.store(greenlet as usize, Ordering::Relaxed);
}

pub(super) fn live() -> usize {
    LIVE.load(Ordering::Acquire)
}
