//! From what arrived to the guest that handles it.
//!
//! # Synchronization
//! As [`super`].
#![allow(unsafe_code)]

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::Ordering;

use super::action::{self, Disposition, disposition};
use super::limit::{self, Admission};
use super::queue::{self, FIRST_REALTIME, Queue};
use super::thread::Arrived;
use super::{Info, LAST, arrival, bit, children, mask, read, signals, timer, wait};
use crate::arch::{syscall0, syscall3};
use crate::guest::{Guest, Reason, State};
use crate::hub::{Hub, Processor, hub, processor};
use crate::interrupt;
use crate::raw::{self, err};

struct Process {
    /// Signals that wait for any guest. Whoever takes signals takes these too, but for those
    /// that another was told of.
    queue: Queue,
    /// Where the search for a guest begins: the one that it found last. Null: the initial one.
    target: Cell<*const Guest>,
    /// Who was told of a signal last, or null.
    told: [Cell<*const Guest>; LAST as usize],
    /// How many of each realtime signal are in the queue.
    counts: [Cell<u32>; LAST as usize],
    /// Signals for whoever runs next.
    unclaimed: Cell<u64>,
    /// When those are for whoever wants them.
    unclaimed_until: Cell<u64>,
}

// SAFETY: see Synchronization.
unsafe impl Sync for Process {}

static PROCESS: Process = Process {
    queue: Queue::new(),
    target: Cell::new(ptr::null()),
    told: [const { Cell::new(ptr::null()) }; LAST as usize],
    counts: [const { Cell::new(0) }; LAST as usize],
    unclaimed: Cell::new(0),
    unclaimed_until: Cell::new(0),
};

/// So many of a realtime signal wait here at most, and more in the kernel, which counts them
/// and refuses others in time.
const MOST: u32 = 1024;
/// With so many left the kernel's are let through again.
const FEW: u32 = 512;

/// Adds a signal to the process's.
fn add(signal: i32, info: &Info) {
    PROCESS.queue.push(signal, info);
    if signal >= FIRST_REALTIME {
        let count = &PROCESS.counts[signal as usize - 1];
        count.set(count.get() + 1);
        if count.get() == MOST {
            mask::keep_back(bit(signal));
        }
    }
}

/// Takes the first of a signal out of the process's.
pub(super) fn take_of_process(signal: i32) -> Option<Info> {
    let taken = PROCESS.queue.take(signal);
    if taken.is_some() && signal >= FIRST_REALTIME {
        let count = &PROCESS.counts[signal as usize - 1];
        // One without an entry was not counted.
        let left = if PROCESS.queue.bits() & bit(signal) == 0 {
            0
        } else {
            count.get().saturating_sub(1)
        };
        count.set(left);
        if left <= FEW {
            mask::let_through(bit(signal));
        }
    }
    taken
}

/// Has the kernel, by `give`, keep all of a signal that the process has here. It lets none
/// through meanwhile, or they would come back.
pub(super) fn give_back(signal: i32, mut give: impl FnMut(Info)) {
    while let Some(info) = PROCESS.queue.take(signal) {
        give(info);
    }
    PROCESS.counts[signal as usize - 1].set(0);
}

/// After that: those of which few are left here.
pub(super) fn let_few_through() {
    let few = |&signal: &i32| PROCESS.counts[signal as usize - 1].get() <= FEW;
    for signal in signals(mask::kept_back()).filter(few) {
        mask::let_through(bit(signal));
    }
}

/// Called by the handler that interrupted our code. True: everything must be
/// blocked when it returns.
pub(super) fn record(hub: &Hub, arrived: Arrived) -> bool {
    let here = processor::here();
    let full = here.signal.put(arrived);
    hub.signals.store(true, Ordering::SeqCst);
    hub.notify();
    if full {
        // Nobody else ends that. The kernel may have it sleep on after a handler.
        here.wake();
    }
    full
}

/// Takes what arrived on that processor, if it is known. The guest it is for, if it is for one,
/// is woken.
pub(super) fn accept(hub: &Hub, arrived: &Arrived, on: Option<&Processor>) {
    let (signal, info) = (arrived.info.signal(), &arrived.info);
    take_back(hub, signal);
    let for_one = matches!(info.code(), libc::SI_TIMER | libc::SI_TKILL);
    match (hub.find(arrived.guest), on) {
        (Some(guest), _) => post(hub, guest, signal, info),
        (None, Some(processor)) if arrived.guest == timer::RUNNING => {
            // SAFETY: null, or the guest on the CPU, which is a live record.
            let guest = unsafe { processor.current.get().as_ref() };
            to_process(hub, Meant::Running(guest), signal, info);
        }
        // Its guest has ended: nobody else is meant.
        (None, _) if for_one && !matches!(arrived.guest, 0 | timer::RUNNING) => {}
        (None, _) => {
            let maker = children::maker(hub, info);
            to_process(hub, Meant::Named(maker), signal, info);
        }
    }
}

/// Takes these from the kernel, where they wait for the process; of each realtime signal no more
/// than are to wait here.
pub(super) fn take_over(set: u64) {
    if set == 0 || wait::pending_in_kernel() & set == 0 {
        return;
    }
    let hub = hub();
    // What arrived came before.
    drain(hub);
    while queue::has_room()
        && let Some((_, info)) = wait::take_from_kernel(set & !mask::kept_back())
    {
        accept(hub, &arrival::arrived(hub, &info), None);
    }
}

/// Takes what was recorded, and what the kernel had to keep because there was too much of it:
/// what is handled first may be among that.
fn drain(hub: &Hub) {
    loop {
        for processor in processor::each() {
            // A standard signal is pending without an entry too.
            let fits =
                |arrived: &Arrived| arrived.info.signal() < FIRST_REALTIME || queue::has_room();
            while let Some(arrived) = processor.signal.take(fits) {
                accept(hub, &arrived, Some(processor));
            }
            if !processor.signal.is_empty() && !queue::has_room() {
                queue::note_wanted(hub);
            }
        }
        if !unblock_if_full() {
            break;
        }
    }
}

/// Lets signals through again that were blocked here because too many had arrived. Whether some
/// may have arrived so.
pub fn unblock_if_full() -> bool {
    let full = processor::here().signal.take_full();
    let held = mask::is_held();
    if full && !held {
        mask::resync();
    }
    full && !held
}

/// Gives recorded signals to guests.
pub fn route(hub: &Hub) {
    hub.signals.store(false, Ordering::SeqCst);
    interrupt::route(hub);
    drain(hub);
}

/// Who is asked first to take a signal of the process.
enum Meant {
    /// Whom the sender named, if not the initial guest.
    Named(Option<&'static Guest>),
    /// Who ran where CPU time was used up, if not the host.
    Running(Option<&'static Guest>),
}

/// Adds a signal to the process's and tells a guest.
fn to_process(hub: &Hub, meant: Meant, signal: i32, info: &Info) {
    if action::ends_here(signal)
        && mask::waited() & bit(signal) == 0
        && mask::is_open_elsewhere(None, signal)
    {
        // No guest is asked: one may be in a call that nothing ends.
        action::perform_default(hub, signal);
        return;
    }
    let unclaimed = PROCESS.unclaimed.get();
    if PROCESS.queue.has_standard(signal) && unclaimed & bit(signal) == 0 {
        return;
    }
    let meant = match meant {
        Meant::Named(guest) | Meant::Running(guest @ Some(_)) => guest,
        Meant::Running(None) if mask::waited() & bit(signal) == 0 => {
            add(signal, info);
            PROCESS.unclaimed.set(unclaimed | bit(signal));
            let until = raw::now().saturating_add(UNCLAIMED);
            PROCESS.unclaimed_until.set(until);
            return;
        }
        Meant::Running(None) => None,
    };
    // Before it is pending, or who was told of one that another took would seem to have it.
    let chosen = choose(hub, meant, signal);
    if !PROCESS.queue.has_standard(signal) {
        add(signal, info);
    }
    PROCESS.unclaimed.set(unclaimed & !bit(signal));
    if let Some(guest) = chosen {
        tell(hub, guest, bit(signal));
    }
}

/// How long a signal about CPU time waits for somebody to use some, in nanoseconds.
const UNCLAIMED: u64 = 20_000_000;

/// Whether a signal about CPU time waits for who runs next.
#[inline]
pub fn has_unclaimed() -> bool {
    PROCESS.unclaimed.get() != 0
}

/// The host is about to run `guest`, whom CPU time that the host used is accounted to: it
/// mostly worked for it.
pub fn claim(hub: &Hub, guest: &'static Guest) {
    for signal in signals(PROCESS.unclaimed.replace(0) & PROCESS.queue.bits()) {
        if guest.signal.open() & bit(signal) != 0 {
            note_told(guest, bit(signal));
        } else if let Some(other) = choose(hub, None, signal) {
            tell(hub, other, bit(signal));
        }
    }
}

/// Until when it may be that nobody runs, before somebody is told nevertheless; `u64::MAX`: for
/// ever.
pub fn unclaimed_until() -> u64 {
    if has_unclaimed() {
        PROCESS.unclaimed_until.get()
    } else {
        u64::MAX
    }
}

/// Tells somebody of signals that nobody who ran has claimed.
#[cold]
pub fn settle_unclaimed(hub: &Hub) {
    if raw::now() >= PROCESS.unclaimed_until.get() {
        for signal in signals(PROCESS.unclaimed.replace(0) & PROCESS.queue.bits()) {
            if let Some(guest) = choose(hub, None, signal) {
                tell(hub, guest, bit(signal));
            }
        }
    }
}

/// Who is to take a signal of the process; the kernel's `complete_signal`. `None`: nobody
/// for now.
fn choose(hub: &Hub, meant: Option<&'static Guest>, signal: i32) -> Option<&'static Guest> {
    let wants = |guest: &&'static Guest| {
        let state = guest.state.get();
        state != State::Dead
            && guest.signal.open() & bit(signal) != 0
            && (state == State::Running || !guest.signal.deliverable())
    };
    // SAFETY: both point to live records while they are set.
    let (initial, target) = unsafe { (hub.initial.get().as_ref(), PROCESS.target.get().as_ref()) };
    let meant = meant.or(initial);
    if meant.is_some_and(|guest| wants(&guest)) {
        return meant;
    }
    // Most programs have one thread for their signals: the others are not asked one by one.
    if !mask::is_open_elsewhere(meant, signal) {
        return None;
    }
    let first = target.or(initial).or_else(|| hub.guests().last())?;
    let found = round(hub, first).find(wants)?;
    PROCESS.target.set(found);
    Some(found)
}

/// Every guest in the order of their creation, round from `first`.
fn round(hub: &Hub, first: &'static Guest) -> impl Iterator<Item = &'static Guest> {
    core::iter::successors(Some(first), move |guest| {
        Some(hub.after(guest)).filter(|next| !ptr::eq(*next, first))
    })
}

/// A guest is to look for signals of the process.
fn tell(hub: &Hub, guest: &'static Guest, set: u64) {
    note_told(guest, set);
    notice(hub, guest);
}

/// The same for a guest that looks anyway.
fn note_told(guest: &'static Guest, set: u64) {
    guest.signal.told.fetch_or(set, Ordering::Relaxed);
    for signal in signals(set) {
        PROCESS.told[signal as usize - 1].set(guest);
    }
}

/// What the process has for other guests, who were told and have not looked yet. A thread that
/// was told looks at once; a guest, when its turn comes, and must not find that one which the
/// signal is not for has taken it before.
fn for_others(guest: &Guest) -> u64 {
    signals(PROCESS.queue.bits())
        .filter(|&signal| {
            // SAFETY: null, or a record, which stays where it is; one of who has ended, or of
            // another since then, was told of nothing.
            let told = unsafe { PROCESS.told[signal as usize - 1].get().as_ref() };
            told.is_some_and(|told| {
                !ptr::eq(told, guest)
                    && told.state.get() != State::Dead
                    && told.signal.told.load(Ordering::Relaxed) & told.signal.open() & bit(signal)
                        != 0
            })
        })
        .fold(0, |set, signal| set | bit(signal))
}

/// The signals of the process that `guest` may take.
pub(super) fn for_guest(guest: &Guest) -> u64 {
    match PROCESS.queue.bits() {
        0 => 0,
        bits => bits & !for_others(guest),
    }
}

/// Adds a signal to a guest's own and wakes it.
fn post(hub: &Hub, guest: &'static Guest, signal: i32, info: &Info) {
    guest.signal.queue.push(signal, info);
    notice(hub, guest);
}

/// There may be something for a guest to take.
fn notice(hub: &Hub, guest: &'static Guest) {
    if guest.signal.deliverable() {
        if guest.interruptible.get() {
            // Not parked: it looks at its signals before it goes on anyway.
            hub.wake(guest, Reason::Signal);
        }
        interrupt_elsewhere(guest);
    }
}

/// Makes a guest that runs on another processor look at its signals.
fn interrupt_elsewhere(guest: &Guest) {
    if !processor::several() || guest.state.get() != State::Running {
        return;
    }
    let here = processor::here();
    let elsewhere = processor::each()
        .iter()
        .find(|p| ptr::eq(p.current.get(), guest) && !ptr::eq(*p, here));
    if let Some(processor) = elsewhere {
        processor.interrupt();
    }
}

/// What tgkill(2) and its like do to a guest. Returns 0 or `-EAGAIN`.
pub fn send(hub: &Hub, guest: &'static Guest, signal: i32, info: &Info) -> i64 {
    prepare(hub, signal);
    if bit(signal) & super::UNBLOCKABLE != 0 {
        // The kernel's, for the whole process.
        // SAFETY: no pointers.
        return unsafe {
            let pid = hub.pid.get() as u64;
            syscall3(
                libc::SYS_tgkill,
                pid,
                syscall0(libc::SYS_gettid) as u64,
                signal as u64,
            )
        };
    }
    let state = &guest.signal;
    if (state.mask.get() & !state.waits.get()) & bit(signal) == 0
        && state.waits.get() & bit(signal) == 0
        && matches!(disposition(signal), Disposition::Ignore)
    {
        return 0;
    }
    if let Some(ret) = read::send(hub, guest, signal, info) {
        return ret;
    }
    match limit::admit(signal, info) {
        Admission::Whole => post(hub, guest, signal, info),
        Admission::Bare => {
            state.queue.push_bare(signal, info);
            notice(hub, guest);
        }
        Admission::Refused => return err(libc::EAGAIN),
    }
    0
}

/// Whether a handler is to run on `guest` or may be.
#[inline]
pub fn pending(guest: &Guest) -> bool {
    guest.hub().signals.load(Ordering::Relaxed)
        || guest.signal.deliverable()
        // Another processor has taken what arrived, and cannot let more through here.
        || processor::several() && processor::here().signal.is_full_no_more()
}

/// A filter of system calls traps the call that `guest` makes: the handler of SIGSYS runs when it
/// leaves our code. False: there is none, or the signal is blocked, and the process is to end.
pub fn trap(guest: &Guest, info: &Info) -> bool {
    let has_handler = matches!(disposition(libc::SIGSYS), Disposition::Handler(_));
    let runs = has_handler && guest.signal.mask.get() & bit(libc::SIGSYS) == 0;
    if runs {
        guest.signal.queue.push(libc::SIGSYS, info);
    }
    runs
}

/// Forgets every signal of this number that waits for a guest or for any: its action
/// has become to ignore it.
pub(super) fn discard(hub: &Hub, signal: i32) {
    drain(hub);
    remove(hub, signal);
}

fn remove(hub: &Hub, signal: i32) {
    if queue::was_pushed(signal) {
        while take_of_process(signal).is_some() {}
        for guest in hub.guests() {
            while guest.signal.queue.take(signal).is_some() {}
        }
        queue::note_discarded(signal);
    }
}

const CONTINUE: u64 = bit(libc::SIGCONT);
const STOPS: u64 =
    bit(libc::SIGSTOP) | bit(libc::SIGTSTP) | bit(libc::SIGTTIN) | bit(libc::SIGTTOU);

/// What a signal that is sent takes back.
fn opposite(signal: i32) -> u64 {
    match bit(signal) {
        CONTINUE => STOPS,
        set if set & STOPS != 0 => CONTINUE,
        _ => 0,
    }
}

/// A signal of job control is sent, whomever to: those that it takes back, and that wait here,
/// are forgotten.
fn take_back(hub: &Hub, signal: i32) {
    signals(opposite(signal)).for_each(|signal| remove(hub, signal));
}

/// Before a signal is sent from here: it takes back what waits in the kernel too.
fn prepare(hub: &Hub, signal: i32) {
    if opposite(signal) != 0 {
        drain(hub);
        take_back(hub, signal);
        while wait::take_from_kernel(opposite(signal)).is_some() {}
    }
}

/// What the kernel has taken back when it put a signal of job control among those that wait
/// there. Whatever we add takes its opposite out of the kernel, so that came later.
pub fn settle_job_control(hub: &Hub) {
    let here = signals(CONTINUE | STOPS).any(queue::was_pushed);
    if here {
        let there = wait::pending_in_kernel() & (CONTINUE | STOPS);
        signals(there).for_each(|signal| take_back(hub, signal));
    }
}

/// What kill(2) and its like do with the id of a guest that is not the initial one. `None`:
/// the kernel does the same.
pub fn send_to_process(hub: &Hub, guest: &'static Guest, signal: i32, info: &Info) -> Option<i64> {
    drain(hub);
    prepare(hub, signal);
    let for_the_kernel = || {
        bit(signal) & super::UNBLOCKABLE != 0
            || disposition(signal) == Disposition::Ignore
            || !mask::is_open_elsewhere(None, signal) && mask::never_kept() & bit(signal) == 0
    };
    if for_the_kernel() {
        mask::wait_until_blocked(hub, signal);
    }
    if for_the_kernel() {
        return limit::is_exceeded(signal, info).then(|| err(libc::EAGAIN));
    }
    if let Admission::Refused = limit::admit(signal, info) {
        return Some(err(libc::EAGAIN));
    }
    to_process(hub, Meant::Named(Some(guest)), signal, info);
    Some(0)
}

/// Signals that wait for any guest.
pub(super) fn of_process() -> &'static Queue {
    &PROCESS.queue
}

/// A guest has taken a signal: what else the process has for it. What it was told of and
/// blocks, because it does not wait for it any more, is for others.
pub(super) fn look_again(guest: &Guest) {
    pass_on(guest, guest.signal.mask.get());
    let open = for_guest(guest) & !guest.signal.mask.get();
    guest.signal.told.store(open, Ordering::Relaxed);
}

/// A guest that was to look has found nothing: others have taken what it was told of, or it
/// blocks it. What came since then is not for it.
pub(super) fn found_nothing(guest: &Guest) {
    pass_on(guest, guest.signal.mask.get());
    guest.signal.told.store(0, Ordering::Relaxed);
}

/// A guest's mask has let signals through: some may have waited for that.
pub(super) fn mask_was_opened(guest: &Guest, mask: u64) {
    settle_job_control(guest.hub());
    let open = for_guest(guest) & !mask;
    if open != 0 {
        guest.signal.told.fetch_or(open, Ordering::Relaxed);
    }
}

/// `guest` takes none of these any more: others are told of those of the process that it
/// was to take (the kernel's `retarget_shared_pending`).
pub(super) fn pass_on(guest: &Guest, set: u64) {
    let told = guest.signal.told.load(Ordering::Relaxed) & set;
    if told == 0 {
        return;
    }
    guest.signal.told.fetch_and(!told, Ordering::Relaxed);
    let mut left = signals(told & PROCESS.queue.bits())
        .filter(|&signal| mask::is_open_elsewhere(None, signal))
        .fold(0, |left, signal| left | bit(signal));
    if left == 0 {
        return;
    }
    let hub = guest.hub();
    for other in round(hub, hub.after(guest)) {
        let takes = left & other.signal.open();
        if takes != 0 && !ptr::eq(other, guest) && other.state.get() != State::Dead {
            tell(hub, other, takes);
            left &= !takes;
            if left == 0 {
                break;
            }
        }
    }
}

/// `guest` ends: what was sent to the process goes to the others.
pub fn forget(guest: &Guest) {
    let state = &guest.signal;
    state.queue.clear();
    mask::remove(state.mask.get());
    pass_on(guest, !0);
    if ptr::eq(PROCESS.target.get(), guest) {
        let next = guest.hub().after(guest);
        let alone = ptr::eq(next, guest);
        PROCESS.target.set(if alone { ptr::null() } else { next });
    }
}

/// In a forked child: nothing is pending.
pub(super) fn clear(hub: &Hub) {
    PROCESS.queue.clear();
    PROCESS.target.set(ptr::null());
    PROCESS.told.iter().for_each(|told| told.set(ptr::null()));
    PROCESS.counts.iter().for_each(|count| count.set(0));
    PROCESS.unclaimed.set(0);
    read::clear();
    for guest in hub.guests() {
        guest.signal.queue.clear();
    }
}
