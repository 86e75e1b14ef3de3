//! Masks of guests, and the one the kernel thread has because of them.
//!
//! The kernel thread (of several, the first processor's) blocks what every guest blocks: a count for each signal says
//! how many do. libc blocks everything around thread creation and restores the
//! mask in both threads, so guests that block every signal of the program are
//! one count of their own, and such a block is not told to the kernel at all when
//! it is libc's (it is over in a moment, and a signal that arrives meanwhile
//! is pending here instead of there).
//!
//! # Synchronization
//! As [`super`].
#![allow(unsafe_code)]

use core::cell::Cell;
use core::sync::atomic::Ordering;

use super::action::{Disposition, disposition};
use super::{FAULTS, HOST_MASK, INTERNAL, LAST, UNBLOCKABLE, always, bit, read, route, signals};
use crate::arch::{self, syscall0, syscall4};
use crate::catch;
use crate::guest::Guest;
use crate::hub::{Hub, processor};
use crate::raw;

/// Every signal of the program that can be blocked.
const FULL: u64 = !(UNBLOCKABLE | INTERNAL);

/// How many guests block what.
struct Counts {
    /// Guests that block a signal, by its bit. Those that block all of `FULL`
    /// are not counted for its signals.
    each: [Cell<u32>; LAST as usize],
    /// Guests that block all of `FULL`.
    full: Cell<u32>,
    /// Guests.
    total: Cell<u32>,
}

impl Counts {
    const fn new() -> Self {
        Counts {
            each: [const { Cell::new(0) }; LAST as usize],
            full: Cell::new(0),
            total: Cell::new(0),
        }
    }

    /// The signals of a mask that have a count of their own.
    fn counted(mask: u64) -> u64 {
        if mask & FULL == FULL {
            mask & INTERNAL
        } else {
            mask
        }
    }

    fn add(&self, mask: u64) {
        self.total.set(self.total.get() + 1);
        self.enter(mask);
    }

    fn remove(&self, mask: u64) {
        self.total.set(self.total.get() - 1);
        self.leave(mask);
    }

    fn replace(&self, old: u64, new: u64) {
        self.leave(old);
        self.enter(new);
    }

    fn enter(&self, mask: u64) {
        if mask & FULL == FULL {
            self.full.set(self.full.get() + 1);
        }
        for signal in signals(Self::counted(mask)) {
            let count = &self.each[signal as usize - 1];
            count.set(count.get() + 1);
        }
    }

    fn leave(&self, mask: u64) {
        if mask & FULL == FULL {
            self.full.set(self.full.get() - 1);
        }
        for signal in signals(Self::counted(mask)) {
            let count = &self.each[signal as usize - 1];
            count.set(count.get() - 1);
        }
    }

    /// How many guests let a signal through.
    fn open(&self, signal: i32) -> u32 {
        let full = if bit(signal) & FULL != 0 {
            self.full.get()
        } else {
            0
        };
        self.total.get() - self.each[signal as usize - 1].get() - full
    }

    /// The signals of `within` that every guest blocks.
    fn common(&self, within: u64) -> u64 {
        let (total, full) = (self.total.get(), self.full.get());
        let mut common = 0;
        let mut rest = within & !UNBLOCKABLE;
        if full == total {
            common = rest & FULL;
            rest &= !FULL;
        }
        for signal in signals(rest) {
            let others = if bit(signal) & FULL != 0 { full } else { 0 };
            if self.each[signal as usize - 1].get() + others == total {
                common |= bit(signal);
            }
        }
        common
    }

    fn clear(&self) {
        for count in &self.each {
            count.set(0);
        }
        self.full.set(0);
        self.total.set(0);
    }
}

struct Masks {
    counts: Counts,
    /// What the first processor's mask is to be while guests run.
    kernel: Cell<u64>,
    /// Signals that guests wait for with sigtimedwait: not blocked in the kernel.
    waited: Cell<u64>,
    /// Signals of which so many wait here that more are to wait in the kernel.
    kept_back: Cell<u64>,
    /// Signals about the CPU time of the process, which the kernel gives to the thread that used
    /// it: every processor lets them through.
    timed: Cell<u64>,
}

// SAFETY: see Synchronization.
unsafe impl Sync for Masks {}

static MASKS: Masks = Masks {
    counts: Counts::new(),
    kernel: Cell::new(0),
    waited: Cell::new(0),
    kept_back: Cell::new(0),
    timed: Cell::new(OF_INTERVAL_TIMERS),
};

/// What setitimer(2) signals about CPU time.
const OF_INTERVAL_TIMERS: u64 = bit(libc::SIGPROF) | bit(libc::SIGVTALRM);

/// Sets the mask of `guest`. `of_libc`: a block that libc ends itself in a moment.
pub fn change(guest: &Guest, new: u64, of_libc: bool) {
    let new = new & !UNBLOCKABLE;
    let old = guest.signal.mask.replace(new);
    if old == new {
        return;
    }
    MASKS.counts.replace(old, new);
    route::pass_on(guest, new & !old);
    if old & !new != 0 {
        route::mask_was_opened(guest, new);
    } else if of_libc {
        return;
    }
    // What this guest lets through is not common; only its own mask can be.
    apply(MASKS.counts.common(new));
}

/// A new thread blocks what its creator blocks, and nothing is pending.
pub fn inherit(guest: &Guest, creator: &Guest) {
    let mask = creator.signal.mask.get();
    guest.signal.mask.set(mask);
    // What everybody blocks stays the same: the creator blocks it too.
    add(mask);
}

/// Counts a guest that is new.
pub(super) fn add(mask: u64) {
    MASKS.counts.add(mask);
}

/// Counts a guest no more.
pub(super) fn remove(mask: u64) {
    MASKS.counts.remove(mask);
    if mask & FULL != FULL {
        apply(MASKS.counts.common(!0));
    }
}

/// The first guest was counted: the kernel thread's mask is ours from now on.
pub(super) fn begin() {
    release();
    MASKS.kernel.set(MASKS.counts.common(!0) & !always());
    resync();
}

/// Forgets all guests, in a forked child.
pub(super) fn clear() {
    MASKS.counts.clear();
    MASKS.waited.set(0);
    MASKS.kernel.set(0);
    MASKS.kept_back.set(0);
    MASKS.timed.set(OF_INTERVAL_TIMERS);
}

/// Sets which signals guests wait for.
pub(super) fn set_waited(waited: u64) {
    MASKS.waited.set(waited);
    apply(MASKS.counts.common(!0));
}

/// Sets which signals guests are about to wait for; the kernel's mask stays.
pub(super) fn note_waited(waited: u64) {
    MASKS.waited.set(waited);
}

/// Whether anybody but `guest` lets a signal through, or waits for one.
pub(super) fn is_open_elsewhere(guest: Option<&Guest>, signal: i32) -> bool {
    let here = guest.is_some_and(|guest| guest.signal.mask.get() & bit(signal) == 0);
    MASKS.waited.get() & bit(signal) != 0 || MASKS.counts.open(signal) > u32::from(here)
}

/// Signals that guests wait for.
pub(super) fn waited() -> u64 {
    MASKS.waited.get()
}

fn apply(common: u64) {
    let wanted = || (common & !MASKS.waited.get() | MASKS.kept_back.get()) & !always();
    let before = MASKS.kernel.get();
    if before == wanted() {
        return;
    }
    if !processor::here().is_first() {
        // The first processor would get them some time after the present call.
        route::take_over(before & !wanted());
    }
    // Of those there may be too many here now.
    MASKS.kernel.set(wanted());
    show(before);
}

/// Gives the kernel threads their masks, after the first one's was to be another.
fn show(before: u64) {
    let changed = before ^ MASKS.kernel.get();
    if changed == 0 {
        return;
    }
    show_to_first();
    if processor::several() && changed & (TO_A_THREAD | MASKS.timed.get()) != 0 {
        show_to_others();
    }
}

/// Gives the first kernel thread its mask.
fn show_to_first() {
    if !processor::here().is_first() {
        // It takes the mask in the handler.
        processor::first().interrupt();
    } else if !is_held() {
        resync();
    }
}

/// Gives every kernel thread but the first one its mask.
fn show_to_others() {
    let here = processor::here();
    for other in processor::each().iter().filter(|other| !other.is_first()) {
        if !core::ptr::eq(other, here) {
            other.interrupt();
        } else if !is_held() {
            resync();
        }
    }
}

/// Has the kernel keep these, which guests have too many of.
pub(super) fn keep_back(set: u64) {
    let before = MASKS.kernel.get();
    MASKS.kept_back.set(MASKS.kept_back.get() | set);
    MASKS.kernel.set(before | set & !always());
    show(before);
}

/// Ends `keep_back`.
pub(super) fn let_through(set: u64) {
    let kept_back = MASKS.kept_back.get();
    if kept_back & set != 0 {
        MASKS.kept_back.set(kept_back & !set);
        apply(MASKS.counts.common(!0));
    }
}

/// Signals that the kernel keeps because there are too many here.
pub(super) fn kept_back() -> u64 {
    MASKS.kept_back.get()
}

/// A timer by the CPU time of the process sends this signal from now on.
pub(super) fn note_timed(signal: i32) {
    let timed = MASKS.timed.get();
    if timed & bit(signal) == 0 {
        MASKS.timed.set(timed | bit(signal));
        if processor::several() {
            show_to_others();
        }
    }
}

/// What the kernel sends to a thread for what that does itself.
pub(super) const TO_A_THREAD: u64 = FAULTS | bit(libc::SIGPIPE) | bit(libc::SIGXFSZ);

/// Signals that the kernel never keeps, though every guest blocks them: they wait here. With
/// several processors what the kernel sends to a thread is for the guest that ran there, which may
/// go on elsewhere: it is kept only where a descriptor reads it.
pub(super) fn never_kept() -> u64 {
    if processor::several() {
        // What is ignored and comes where it is not blocked is not pending at all.
        let kept = |&signal: &i32| {
            read::known() & bit(signal) != 0 || disposition(signal) == Disposition::Ignore
        };
        let kept = signals(TO_A_THREAD).filter(kept);
        always() | TO_A_THREAD & !kept.fold(0, |set, signal| set | bit(signal))
    } else {
        always()
    }
}

/// What the kernel keeps for the process.
fn kept() -> u64 {
    MASKS.kernel.get() & !never_kept()
}

/// What decides about [`never_kept`] has changed for these.
pub(super) fn look_again(at: u64) {
    if processor::several() && at & TO_A_THREAD & MASKS.kernel.get() != 0 {
        show_to_first();
        show_to_others();
    }
}

/// What the first processor's mask is to be.
pub(super) fn of_first() -> u64 {
    MASKS.kernel.get()
}

/// What this kernel thread's mask is to be.
fn own() -> u64 {
    let here = processor::here();
    if here.signal.is_full() {
        u64::MAX
    } else if here.is_first() {
        kept()
    } else {
        HOST_MASK & !(always() | (TO_A_THREAD | MASKS.timed.get()) & !kept())
    }
}

/// The mask that this kernel thread is to have when the handler that interrupted it returns,
/// if it is not held: another processor may have changed it.
pub(super) fn changed_elsewhere() -> Option<u64> {
    (processor::several() && !is_held()).then(|| shown(own()))
}

/// Everything is blocked in the kernel already: keeps it so.
pub(super) fn hold() {
    processor::here().signal.held.set(true);
}

/// Ends `hold`; the caller gives the kernel thread this mask.
pub(super) fn release() -> u64 {
    processor::here().signal.held.set(false);
    shown(own())
}

/// What this kernel thread blocks for sure, if it runs guests, is written before a signal is let
/// through, and after one is blocked.
fn note_shown(mask: u64) {
    if let Some(here) = processor::if_here() {
        here.signal.shown.store(mask, Ordering::SeqCst);
    }
}

/// This kernel thread gets that mask, and blocks everything until then.
pub(super) fn shown(mask: u64) -> u64 {
    note_shown(mask);
    mask
}

/// The signals that may be taken from the kernel here. What another processor lets through may
/// be on its way there, and whoever took the next one would have that before.
pub(super) fn takeable() -> u64 {
    if processor::several() {
        blocked_elsewhere()
    } else {
        !0
    }
}

/// Signals that every other processor blocks for sure.
fn blocked_elsewhere() -> u64 {
    let here = processor::here();
    let others = processor::each()
        .iter()
        .filter(|other| !core::ptr::eq(*other, here));
    others.fold(!0, |set, other| {
        set & other.signal.shown.load(Ordering::SeqCst)
    })
}

/// A signal that every guest blocks is about to be sent to the process: with several processors,
/// has them block it first, or one that has yet to take its mask would take it. The giant lock is
/// given away meanwhile.
pub(super) fn wait_until_blocked(hub: &Hub, signal: i32) {
    if !processor::several() || kept() & bit(signal) == 0 {
        return;
    }
    let until = raw::now().saturating_add(PATIENCE);
    while blocked_elsewhere() & bit(signal) == 0 && raw::now() < until {
        hub.unlocked(|| {
            // SAFETY: no arguments.
            unsafe { syscall0(libc::SYS_sched_yield) };
        });
    }
}

/// How long that is waited for, in nanoseconds: what a child of vfork has the kernel thread for
/// is not known.
const PATIENCE: u64 = 20_000_000;

/// Whether everything is blocked in the kernel.
pub(super) fn is_held() -> bool {
    processor::here().signal.held.get()
}

/// Tells the kernel again, after something else set its mask.
pub fn resync() {
    set_kernel_mask(own());
}

/// Gives the kernel thread of a new processor its mask.
pub fn take_mask() {
    resync();
}

/// Replaces the guest's mask for one call; returns the old one.
pub fn begin_mask(guest: &Guest, mask: u64) -> u64 {
    let old = guest.signal.mask.get();
    change(guest, mask, false);
    old
}

/// Ends what `begin_mask` began. When the call was `interrupted`, the old mask
/// comes back after the handler.
pub fn end_mask(guest: &Guest, old: u64, interrupted: bool) {
    if interrupted {
        guest.signal.saved.set(Some(old));
    } else {
        change(guest, old, false);
    }
}

/// No handler ran after all: the mask of before comes back.
pub(super) fn restore_saved(guest: &Guest) {
    if let Some(old) = guest.signal.saved.take() {
        change(guest, old, false);
    }
}

/// Gives the kernel thread the mask of our own threads, which those made meanwhile
/// inherit; returns its mask before.
pub fn block_all() -> u64 {
    set_kernel_mask(HOST_MASK & !catch::signals())
}

/// Takes signals out of the calling kernel thread's mask; returns its mask before.
pub fn unblock_on_this_thread(set: u64) -> u64 {
    let mut old = 0u64;
    // SAFETY: two sets of ours.
    unsafe {
        syscall4(
            libc::SYS_rt_sigprocmask,
            libc::SIG_UNBLOCK as u64,
            &raw const set as u64,
            &raw mut old as u64,
            8,
        )
    };
    old
}

/// Gives the kernel thread the guest's own mask; returns its mask before.
pub fn show_kernel_mask_of(guest: &Guest) -> u64 {
    set_kernel_mask(guest.signal.mask.get() & !catch::signals())
}

/// Gives the kernel thread the guest's own mask for an exec. Until that failed, no change of
/// another guest's mask changes it.
pub fn begin_exec(guest: &Guest) {
    hold();
    show_kernel_mask_of(guest);
}

/// The exec failed.
pub fn end_exec() {
    set_kernel_mask(release());
}

/// Whether the kernel could write a word of the program's there.
pub(super) fn is_writable(address: u64) -> bool {
    // SAFETY: the kernel writes the mask there, or finds that it can't; the caller is about to
    // overwrite it.
    unsafe { syscall4(libc::SYS_rt_sigprocmask, 0, 0, address, 8) == 0 }
}

/// Sets the kernel thread's mask.
pub fn restore_kernel_mask(mask: u64) {
    set_kernel_mask(mask);
}

/// As [`restore_kernel_mask`], for a program that runs on without a hub: whatever its filters of
/// system calls are taken for, its signals must not stay blocked.
pub fn give_kernel_mask_back(mask: u64) {
    let a = [libc::SIG_SETMASK as u64, &raw const mask as u64, 0, 8, 0, 0];
    // SAFETY: a word of ours.
    unsafe { arch::syscall_unasked(libc::SYS_rt_sigprocmask as u64, a) };
    note_shown(mask);
}

/// Sets the kernel thread's mask; returns the old one.
pub(super) fn set_kernel_mask(mask: u64) -> u64 {
    let mut old = 0u64;
    if let Some(here) = processor::if_here() {
        here.signal.shown.fetch_and(mask, Ordering::SeqCst);
    }
    // SAFETY: two words of ours.
    unsafe {
        syscall4(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK as u64,
            &raw const mask as u64,
            &raw mut old as u64,
            8,
        )
    };
    note_shown(mask);
    old
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts against the masks they stand for.
    #[test]
    fn common_is_the_intersection() {
        let all = !UNBLOCKABLE;
        let choices = [
            0,
            all,
            all & !INTERNAL,
            all & !bit(33),
            bit(10),
            bit(10) | bit(32),
            FULL & !bit(15),
            INTERNAL,
        ];
        let counts = Counts::new();
        let mut masks = Vec::new();
        let mut random = 12345u32;
        let mut next = |n: usize| {
            random = random.wrapping_mul(1_103_515_245).wrapping_add(12345);
            (random >> 16) as usize % n
        };
        for _ in 0..20_000 {
            match next(3) {
                0 if masks.len() < 4 => {
                    let mask = choices[next(choices.len())];
                    counts.add(mask);
                    masks.push(mask);
                }
                1 if masks.len() > 1 => {
                    let at = next(masks.len());
                    counts.remove(masks.swap_remove(at));
                }
                _ if !masks.is_empty() => {
                    let at = next(masks.len());
                    let new = choices[next(choices.len())];
                    counts.replace(masks[at], new);
                    masks[at] = new;
                    let expected = masks.iter().fold(all, |common, mask| common & mask);
                    assert_eq!(counts.common(new), expected);
                }
                _ => {}
            }
            let expected = masks.iter().fold(all, |common, mask| common & mask);
            assert_eq!(counts.common(!0), expected);
        }
    }
}
