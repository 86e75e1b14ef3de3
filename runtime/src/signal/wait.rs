//! Guests that wait for signals with sigtimedwait(2) and its like, and signals
//! that wait in the kernel.
//!
//! A signal that is waited for is blocked by everybody, and so would stay in the
//! kernel. While somebody waits it is not blocked there and reaches our handler.
//!
//! # Synchronization
//! As [`super`].
#![allow(unsafe_code)]

use core::cell::Cell;
use core::ptr;

use super::queue;
use super::{Info, UNBLOCKABLE, action, arrival, bit, mask, read, route, signals, timer};
use crate::arch::{syscall, syscall0, syscall2, syscall3, syscall4};
use crate::guest::Guest;
use crate::monitor::PREEMPT;

struct Waiting(Cell<*const Guest>);

// SAFETY: see Synchronization.
unsafe impl Sync for Waiting {}

/// Guests that wait, newest first.
static WAITING: Waiting = Waiting(Cell::new(ptr::null()));

fn each() -> impl Iterator<Item = &'static Guest> {
    let mut at = WAITING.0.get();
    core::iter::from_fn(move || {
        // SAFETY: a guest leaves the list before its wait ends.
        let guest = unsafe { at.as_ref() }?;
        at = guest.signal.wait_next.get();
        Some(guest)
    })
}

fn update() {
    mask::set_waited(each().fold(0, |set, guest| set | guest.signal.waits.get()));
}

/// `guest`, the caller, is about to park until one of `set` arrives.
pub fn begin_wait(guest: &'static Guest, set: u64) {
    guest.signal.waits.set(set & !UNBLOCKABLE);
    guest.signal.wait_next.set(WAITING.0.replace(guest));
    action::force(set);
    // The kernel's mask is opened last: our handler must be there first.
    mask::note_waited(mask::waited() | set & !UNBLOCKABLE);
    action::reinstall_ignored(set);
    update();
}

/// Ends `begin_wait`.
pub fn end_wait(guest: &Guest) {
    let set = guest.signal.waits.replace(0);
    let next = guest.signal.wait_next.replace(ptr::null());
    if ptr::eq(WAITING.0.get(), guest) {
        WAITING.0.set(next);
    } else if let Some(before) = each().find(|g| ptr::eq(g.signal.wait_next.get(), guest)) {
        before.signal.wait_next.set(next);
    }
    update();
    action::reinstall_ignored(set);
}

/// In a forked child: nobody waits.
pub(super) fn clear() {
    WAITING.0.set(ptr::null());
}

/// Takes one of `set`, the guest's own first.
pub fn take(guest: &Guest, set: u64) -> Option<(i32, Info)> {
    let own = &guest.signal.queue;
    let taken = match own.first(set) {
        Some(signal) => own.take(signal).map(|info| (signal, info)),
        None => of_process(guest, set)
            .and_then(|signal| Some((signal, route::take_of_process(signal)?))),
    };
    route::look_again(guest);
    timer::was_taken(&taken?.1);
    taken
}

/// The first of `set` that the process has here for a guest.
fn of_process(guest: &Guest, set: u64) -> Option<i32> {
    route::of_process().first(set & route::for_guest(guest))
}

/// Takes one of `set`, which the guest waits for, so that some of them may wait in the kernel:
/// the guest's own first, of which some were [sent there](read), then the process's, by their
/// order wherever they are.
pub fn take_waited(guest: &Guest, set: u64) -> Option<(i32, Info)> {
    let earlier = match (guest.signal.queue.first(set), of_process(guest, set)) {
        (Some(own), _) => read::sent() & set & queue::before(own),
        (None, Some(signal)) => set & queue::before(signal),
        (None, None) => set,
    };
    if earlier != 0
        && let Some(taken) = take_from_kernel(earlier)
    {
        route::look_again(guest);
        return Some(taken);
    }
    take(guest, set)
}

/// Takes one of `set` that waits in the kernel.
pub fn take_from_kernel(set: u64) -> Option<(i32, Info)> {
    // What the monitor has sent is on its way to the handler here.
    take_now(set & mask::takeable() & !bit(PREEMPT))
}

/// Takes what the monitor has sent to this kernel thread, or to the process.
pub fn take_preemptions() {
    while take_now(bit(PREEMPT)).is_some() {}
}

fn take_now(set: u64) -> Option<(i32, Info)> {
    let mut info = Info::EMPTY;
    let zero = [0u64; 2];
    // SAFETY: a set, an info and a time span of ours.
    let ret = unsafe {
        syscall4(
            libc::SYS_rt_sigtimedwait,
            &raw const set as u64,
            &raw mut info as u64,
            &raw const zero as u64,
            8,
        )
    };
    timer::was_taken(&info);
    if ret <= 0 {
        return None;
    }
    arrival::forget_kill(ret as i32);
    Some((ret as i32, info))
}

/// Signals that wait in the kernel.
pub fn pending_in_kernel() -> u64 {
    let mut set = 0u64;
    // SAFETY: one word of ours.
    unsafe { syscall2(libc::SYS_rt_sigpending, &raw mut set as u64, 8) };
    set
}

/// Signals that wait for `guest` or for any, not counting those in the kernel.
pub fn pending_here(guest: &Guest) -> u64 {
    guest.signal.queue.bits() | route::of_process().bits()
}

/// Signals that wait for `guest` alone, and those that wait for any; as [`pending_here`].
pub fn pending_apart(guest: &Guest) -> (u64, u64) {
    (guest.signal.queue.bits(), route::of_process().bits())
}

/// Gives the kernel what waits for `guest` and is blocked: a new program inherits it.
pub(super) fn carry_over(guest: &Guest) {
    let blocked = guest.signal.mask.get();
    // SAFETY: no arguments.
    let tid = unsafe { syscall0(libc::SYS_gettid) } as u64;
    let pid = guest.hub().pid.get() as u64;
    let own = &guest.signal.queue;
    for signal in signals(own.bits() & blocked) {
        while let Some(info) = own.take(signal) {
            let args = [pid, tid, signal as u64, &raw const info as u64, 0, 0];
            // SAFETY: an info of ours. A thread may say to itself what it likes.
            unsafe { syscall(libc::SYS_rt_tgsigqueueinfo as u64, args) };
        }
    }
    for signal in signals(route::of_process().bits() & blocked) {
        route::give_back(signal, |mut info| {
            if tid != pid && (info.code() >= 0 || info.code() == libc::SI_TKILL) {
                // To the process, only the thread with its id may say that a signal comes from
                // the kernel.
                info.set_code(libc::SI_QUEUE);
            }
            let info = &raw const info as u64;
            // SAFETY: an info of ours.
            unsafe { syscall3(libc::SYS_rt_sigqueueinfo, pid, signal as u64, info) };
        });
    }
}
