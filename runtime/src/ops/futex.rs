//! futex(2) and futex_waitv(2) on the table, for guests and foreign threads.
//!
//! A futex without FUTEX_PRIVATE_FLAG may be waited for by another process, if
//! its word lies in memory that is mapped shared ([`sharing`]). Those go to the kernel, through
//! the offload pool; all others are the table's. (libc's join waits on the
//! thread's id without the flag, in private memory.)
#![allow(unsafe_code)]

use core::pin::{Pin, pin};

use super::{Call, Outcome};
use crate::arch;
use crate::deadline::Deadline;
use crate::errno::Errno;
use crate::frame::Frame;
use crate::futex::{Direct, Kind, MATCH_ANY, PiLock, Shared, TABLE, WAITV_MAX, WaitEntry, Waiter};
use crate::guest::{Guest, Reason, State};
use crate::hub::{hub, processor};
use crate::offload;
use crate::parking::{self, Sleeper};
use crate::raw::{self, ERESTARTSYS, err};
use crate::sharers;
use crate::sharing;

/// Who makes the call.
#[derive(Clone, Copy)]
enum Caller {
    Guest(&'static Guest),
    Foreign,
}

/// Which calls make it: the newer ones carry out operations of the older one, but for this.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    /// futex(2).
    Futex,
    /// futex_wait(2) and its like, whose time-outs are all absolute.
    Futex2,
}

impl Family {
    /// What a wait comes to that a signal ended.
    fn interrupted(self, deadline: Option<Deadline>) -> i64 {
        if self == Family::Futex && deadline.is_some() {
            raw::ERESTARTNOHAND
        } else {
            ERESTARTSYS
        }
    }
}

/// futex(2) of a guest.
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn futex(c: &mut Call<'_>) -> Outcome {
    run(Caller::Guest(c.guest), Family::Futex, c.a)
}

/// futex(2) of a thread that is no guest. True if it was carried out here; its
/// result is in the frame.
///
/// # Safety
/// `frame` must be of the present call.
pub unsafe fn foreign(frame: &mut Frame) {
    loop {
        return match run(Caller::Foreign, Family::Futex, frame.args()) {
            // The handler has run.
            Outcome::Done(raw::ERESTARTNOINTR) => continue,
            Outcome::Done(ret) if raw::is_restart(ret) => frame.rax = err(libc::EINTR) as u64,
            Outcome::Done(ret) => frame.rax = ret as u64,
            _ => frame.run_native(),
        };
    }
}

fn run(caller: Caller, family: Family, a: [u64; 6]) -> Outcome {
    let [address, op, value, timeout, address2, value3] = a;
    let address = address as usize;
    let command = op as i32 & COMMAND;
    let in_kernel = op as i32 & libc::FUTEX_PRIVATE_FLAG == 0
        && (sharing::is_shared(address)
            || sharing::is_cleared_by_kernel(address)
            || is_for_end_of_foreign(caller, command, a[2]));
    if in_kernel && !matches!(command, libc::FUTEX_WAKE | libc::FUTEX_WAKE_BITSET) {
        return shared(caller, family, command, a);
    }
    if op as i32 & UNLOCKS != 0 {
        return Outcome::Done(err(libc::ENOSYS));
    }
    if op as i32 & libc::FUTEX_CLOCK_REALTIME != 0 && !takes_clock(command) {
        // Refused, but that is for the kernel to say.
        return Outcome::Native;
    }
    let mem = if op as i32 & libc::FUTEX_PRIVATE_FLAG != 0 {
        Direct::Private
    } else {
        Direct::Shared
    };
    let on_hub = matches!(caller, Caller::Guest(_)) || parking::on_hub();
    // Somebody was woken who is not to come too late.
    let mut urgent = false;
    let wake = |owner| {
        urgent |=
            on_hub && parking::guest_of(owner).is_some_and(|guest| guest.overtaken.is_woken());
        parking::wake_owner(owner, on_hub);
    };
    let value = value as u32;
    let answer = match command {
        libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET => {
            let bitset = if command == libc::FUTEX_WAIT {
                MATCH_ANY
            } else {
                value3 as u32
            };
            let deadline = match deadline(command, op, timeout) {
                Ok(deadline) => deadline,
                Err(e) => return Outcome::Done(e),
            };
            if let Caller::Guest(guest) = caller {
                guest.overtaken.waits(address, value);
            }
            return Outcome::Done(wait(caller, family, mem, address, value, bitset, deadline));
        }
        libc::FUTEX_WAKE => wake_here_and_there(mem, a, MATCH_ANY, in_kernel, wake),
        libc::FUTEX_WAKE_BITSET => wake_here_and_there(mem, a, value3 as u32, in_kernel, wake),
        libc::FUTEX_REQUEUE => TABLE.requeue(
            &mem,
            address,
            address2 as usize,
            value,
            timeout as u32,
            None,
            wake,
        ),
        libc::FUTEX_CMP_REQUEUE => TABLE.requeue(
            &mem,
            address,
            address2 as usize,
            value,
            timeout as u32,
            Some(value3 as u32),
            wake,
        ),
        libc::FUTEX_WAKE_OP => TABLE.wake_op(
            &mem,
            address,
            address2 as usize,
            value,
            timeout as u32,
            value3 as u32,
            wake,
        ),
        libc::FUTEX_LOCK_PI | FUTEX_LOCK_PI2 => {
            let clock = if command == libc::FUTEX_LOCK_PI {
                libc::FUTEX_CLOCK_REALTIME as u64
            } else {
                op
            };
            let deadline = match deadline(libc::FUTEX_WAIT_BITSET, clock, timeout) {
                Ok(deadline) => deadline,
                Err(e) => return Outcome::Done(e),
            };
            return Outcome::Done(lock_pi(caller, mem, address, deadline));
        }
        libc::FUTEX_TRYLOCK_PI => TABLE
            .trylock_pi(&mem, address, tid_of(caller), alive)
            .map(|()| 0),
        libc::FUTEX_UNLOCK_PI => TABLE
            .unlock_pi(&mem, address, tid_of(caller), wake)
            .map(|()| 0),
        libc::FUTEX_WAIT_REQUEUE_PI => {
            let deadline = match deadline(libc::FUTEX_WAIT_BITSET, op, timeout) {
                Ok(deadline) => deadline,
                Err(e) => return Outcome::Done(e),
            };
            return Outcome::Done(wait_requeue_pi(
                caller,
                mem,
                address,
                value,
                address2 as usize,
                deadline,
            ));
        }
        libc::FUTEX_CMP_REQUEUE_PI => TABLE.cmp_requeue_pi(
            &mem,
            address,
            address2 as usize,
            value,
            timeout as u32,
            value3 as u32,
            alive,
            wake,
        ),
        _ => return Outcome::Native,
    };
    Outcome::Done(match answer {
        Ok(count) => {
            if let Caller::Guest(guest) = caller
                && count > 0
            {
                guest.overtaken.wakes();
                if urgent || guest.busy.get() {
                    // Whom it woke runs before it takes the lock again.
                    hub().note_preemption();
                }
            }
            count as i64
        }
        Err(e) => e.to_ret(),
    })
}

/// Whether the caller waits for the end of a thread that is no guest, as libc's join does:
/// the kernel clears that word, and wakes.
fn is_for_end_of_foreign(caller: Caller, command: i32, tid: u64) -> bool {
    let hub = hub();
    if !matches!(command, libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET)
        || matches!(caller, Caller::Guest(_)) && !hub.has_foreign() && !sharers::any()
        || tid == 0
        || tid as i32 == processor::first().kernel_tid()
    {
        return false;
    }
    // The numbers of guests are none of the kernel's.
    // SAFETY: signal 0 only asks.
    unsafe { arch::syscall3(libc::SYS_tgkill, hub.pid.get() as u64, tid, 0) == 0 }
}

/// Whether a command may say which clock its time-out is of.
fn takes_clock(command: i32) -> bool {
    matches!(
        command,
        libc::FUTEX_WAIT_BITSET | libc::FUTEX_WAIT_REQUEUE_PI | FUTEX_LOCK_PI2
    )
}

/// A wake of the table's waiters and, where the word is one that is waited for in the
/// kernel, or kernel threads of the program were there before the hub, of those that sleep
/// there.
fn wake_here_and_there(
    mem: Direct,
    a: [u64; 6],
    bitset: u32,
    in_kernel: bool,
    wake: impl FnMut(*mut ()),
) -> Result<u32, Errno> {
    let count = a[2] as u32;
    let woken = TABLE.wake(&mem, a[0] as usize, count, bitset, wake)?;
    if !in_kernel && !hub().has_foreign() || woken >= count {
        return Ok(woken);
    }
    let rest = [a[0], a[1], (count - woken) as u64, 0, 0, a[5]];
    // SAFETY: the guest's own call for fewer waiters.
    let more = unsafe { arch::syscall(libc::SYS_futex as u64, rest) };
    Ok(woken + more.max(0) as u32)
}

/// The deadline of a wait: a span of CLOCK_MONOTONIC's for FUTEX_WAIT, else a time.
pub(super) fn deadline(command: i32, op: u64, timeout: u64) -> Result<Option<Deadline>, i64> {
    if timeout == 0 {
        return Ok(None);
    }
    // SAFETY: the guest's own time span, which the kernel would read.
    let ts = unsafe { raw::get(timeout)? };
    let ns = raw::timespec_ns(&ts).ok_or(err(libc::EINVAL))?;
    if command == libc::FUTEX_WAIT {
        return Ok(Some(Deadline::after(ns)));
    }
    let clock = if op as i32 & libc::FUTEX_CLOCK_REALTIME != 0 {
        libc::CLOCK_REALTIME
    } else {
        libc::CLOCK_MONOTONIC
    };
    Ok(Some(Deadline::new(clock, ns)))
}

/// What of an operation says which it is.
const COMMAND: i32 = !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);

/// FUTEX_ROBUST_UNLOCK and FUTEX_ROBUST_LIST32, with which a wake unlocks the word first. Left
/// to a kernel that knows them it would find nobody; as on one that does not, they are refused.
const UNLOCKS: i32 = 512 | 1024;

/// FUTEX_LOCK_PI2 (Linux 5.14), which the libc crate lacks.
const FUTEX_LOCK_PI2: i32 = 13;

/// Parks the caller on a waiter that `enqueue` puts into the table, and ends the
/// wait. `Ok(None)`: a wake took the waiter. `Ok(Some(_))`: the wait ended without.
/// `enqueue` answers false if there is nothing to wait for.
fn sleep(
    caller: Caller,
    deadline: Option<Deadline>,
    enqueue: impl FnOnce(Pin<&Waiter>) -> Result<bool, Errno>,
) -> Result<Option<(Reason, Kind)>, i64> {
    match caller {
        Caller::Guest(guest) => {
            let waiter = pin!(Waiter::new(parking::guest_owner(guest)));
            let waiter = waiter.as_ref();
            guest.in_flight.set(true);
            match enqueue(waiter) {
                Ok(true) => {}
                other => {
                    guest.in_flight.set(false);
                    return other.map(|_| None).map_err(Errno::to_ret);
                }
            }
            let reason = hub().park_until(guest, deadline, true);
            let kind = waiter.kind();
            if TABLE.cancel(waiter) {
                guest.in_flight.set(false);
                return Ok(Some((reason, kind)));
            }
            // A wake took the waiter; from another kernel thread it may still be
            // on its way through the inbox.
            offload::wait_in_flight(guest);
            Ok(None)
        }
        Caller::Foreign => {
            let sleeper = Sleeper::new();
            let waiter = pin!(Waiter::new(sleeper.owner()));
            let waiter = waiter.as_ref();
            if !enqueue(waiter).map_err(Errno::to_ret)? {
                return Ok(None);
            }
            let reason = match sleeper.sleep(deadline) {
                0 => Reason::Event,
                ret if ret == err(libc::ETIMEDOUT) => Reason::Timeout,
                _ => Reason::Signal,
            };
            let kind = waiter.kind();
            Ok(TABLE.cancel(waiter).then_some((reason, kind)))
        }
    }
}

fn wait(
    caller: Caller,
    family: Family,
    mem: Direct,
    address: usize,
    value: u32,
    bitset: u32,
    deadline: Option<Deadline>,
) -> i64 {
    let slept = sleep(caller, deadline, |waiter| {
        // SAFETY: pinned by `sleep`, which cancels it before it goes.
        unsafe { TABLE.enqueue(&mem, address, value, bitset, waiter) }.map(|()| true)
    });
    match slept {
        Ok(None) => 0,
        Ok(Some((Reason::Timeout, _))) => err(libc::ETIMEDOUT),
        Ok(Some(_)) => family.interrupted(deadline),
        Err(e) => e,
    }
}

/// An interrupted wait for a PI lock is always taken up again (signal(7)); its
/// time-out is absolute, so it starts over.
fn lock_pi(caller: Caller, mem: Direct, address: usize, deadline: Option<Deadline>) -> i64 {
    loop {
        let slept = sleep(caller, deadline, |waiter| {
            // SAFETY: pinned by `sleep`, which cancels it before it goes.
            let locked = unsafe { TABLE.lock_pi(&mem, address, tid_of(caller), alive, waiter) };
            locked.map(|lock| lock == PiLock::Queued)
        });
        return match slept {
            Ok(None) => 0,
            Ok(Some((Reason::Timeout, _))) => err(libc::ETIMEDOUT),
            Ok(Some((Reason::Signal, _))) => raw::ERESTARTNOINTR,
            Ok(Some(_)) => continue,
            Err(e) => e,
        };
    }
}

fn wait_requeue_pi(
    caller: Caller,
    mem: Direct,
    address: usize,
    value: u32,
    target: usize,
    deadline: Option<Deadline>,
) -> i64 {
    let slept = sleep(caller, deadline, |waiter| {
        // SAFETY: pinned by `sleep`, which cancels it before it goes.
        unsafe { TABLE.wait_requeue_pi(&mem, address, value, target, tid_of(caller), waiter) }
            .map(|()| true)
    });
    match slept {
        Ok(None) => 0,
        Ok(Some((Reason::Timeout, _))) => err(libc::ETIMEDOUT),
        // Moved to the lock already: libc takes the lock itself.
        Ok(Some((_, Kind::Pi))) => err(libc::EAGAIN),
        // As with a wait for the lock.
        Ok(Some(_)) => raw::ERESTARTNOINTR,
        Err(e) => e,
    }
}

/// The caller's thread id, as libc stores it in a PI futex.
fn tid_of(caller: Caller) -> u32 {
    match caller {
        Caller::Guest(guest) => guest.tid.get() as u32,
        // SAFETY: no arguments.
        Caller::Foreign => unsafe { arch::syscall0(libc::SYS_gettid) as u32 },
    }
}

/// Whether a thread id belongs to a living thread of this process, which alone can hold a lock.
fn alive(tid: u32) -> Result<(), Errno> {
    if let Some(guest) = hub().find(tid as i32) {
        return match guest.state.get() {
            State::Dead => Err(Errno::ESRCH),
            _ => Ok(()),
        };
    }
    let tid = tid as u64;
    // SAFETY: signal 0 only asks.
    unsafe {
        if arch::syscall3(libc::SYS_tgkill, hub().pid.get() as u64, tid, 0) == 0 {
            return Ok(());
        }
        let gone = arch::syscall2(libc::SYS_tkill, tid, 0) == err(libc::ESRCH);
        Err(if gone { Errno::ESRCH } else { Errno::EPERM })
    }
}

/// What a guest's end does to the locks it holds: robust ones are marked, and the
/// waiters of its PI locks get them.
pub fn release_locks(guest: &Guest) {
    let tid = guest.tid.get() as u32;
    let wake = |owner| parking::wake_owner(owner, true);
    let head = guest.robust_list.get();
    if head != 0 {
        // A broken list ends the walk; the kernel is silent about it too.
        let _ = TABLE.exit_robust_list(&Shared, head, tid, wake);
    }
    TABLE.exit_pi(&Direct::Private, tid, wake);
}

/// A futex of several processes: the kernel's. A wait runs on the pool, so that
/// the hub goes on.
fn shared(caller: Caller, family: Family, command: i32, a: [u64; 6]) -> Outcome {
    let Caller::Guest(guest) = caller else {
        return Outcome::Native;
    };
    if !matches!(command, libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET) {
        return Outcome::Native;
    }
    let end = match deadline(command, a[1], a[3]) {
        Ok(end) => end,
        Err(e) => return Outcome::Done(e),
    };
    let bitset = if command == libc::FUTEX_WAIT {
        MATCH_ANY as u64
    } else {
        a[5]
    };
    let until = end.map(Deadline::timespec);
    let timeout = until
        .as_ref()
        .map_or(0, |until| until as *const libc::timespec as u64);
    let wait = libc::FUTEX_WAIT_BITSET as u64 | parking::clock_flag(end);
    let args = [a[0], wait, a[2], timeout, 0, bitset];
    let ret = match offload::run_interruptible(guest, libc::SYS_futex, args) {
        Some(ret) => ret,
        None => return Outcome::Done(look_now_and_then(guest, family, args, end)),
    };
    if ret != err(libc::EINTR) {
        return Outcome::Done(ret);
    }
    Outcome::Done(family.interrupted(end))
}

/// How long a wait is that nothing ends, in nanoseconds.
const NAP: u64 = 2_000_000;

/// A wait for a shared word while the pool has no thread for it: ends as if woken for
/// nothing after a while, which every user of a futex must expect (futex(2)).
fn look_now_and_then(
    guest: &'static Guest,
    family: Family,
    args: [u64; 6],
    end: Option<Deadline>,
) -> i64 {
    let past = raw::ns_timespec(0);
    let mut look = args;
    look[3] = &raw const past as u64;
    // SAFETY: the guest's own word; ends at once.
    let ret = unsafe { arch::syscall(libc::SYS_futex as u64, look) };
    if ret != err(libc::ETIMEDOUT) {
        return ret;
    }
    let nap = raw::now().saturating_add(end.map_or(NAP, |end| end.left().min(NAP)));
    match guest.hub().park(guest, Some(nap), true) {
        Reason::Signal => family.interrupted(end),
        _ if end.is_some_and(Deadline::has_come) => err(libc::ETIMEDOUT),
        _ => 0,
    }
}

/// FUTEX2_SIZE_U32 and FUTEX2_PRIVATE (linux/futex.h): what the calls below know. NUMA
/// nodes and other sizes are the kernel's to refuse or to carry out.
const SIZE_U32: u64 = 2;
const FUTEX2_PRIVATE: u64 = 128;

/// The operation of futex(2) that stands for one of the newer calls.
fn older(command: i32, flags: u64) -> Option<u64> {
    if flags & !FUTEX2_PRIVATE != SIZE_U32 {
        return None;
    }
    let private = if flags & FUTEX2_PRIVATE != 0 {
        libc::FUTEX_PRIVATE_FLAG
    } else {
        0
    };
    Some((command | private) as u64)
}

/// futex_wait(2).
///
/// # Safety
/// As [`futex`].
pub unsafe fn futex_wait(c: &mut Call<'_>) -> Outcome {
    let [word, value, mask, flags, timeout, clock] = c.a;
    let Some(mut op) = older(libc::FUTEX_WAIT_BITSET, flags) else {
        return Outcome::Native;
    };
    if value > u32::MAX as u64 || mask > u32::MAX as u64 || mask == 0 {
        return Outcome::Done(err(libc::EINVAL));
    }
    match clock as i32 {
        libc::CLOCK_REALTIME if timeout != 0 => op |= libc::FUTEX_CLOCK_REALTIME as u64,
        libc::CLOCK_MONOTONIC => {}
        _ if timeout == 0 => {}
        _ => return Outcome::Done(err(libc::EINVAL)),
    }
    let a = [word, op, value, timeout, 0, mask];
    run(Caller::Guest(c.guest), Family::Futex2, a)
}

/// futex_wake(2).
///
/// # Safety
/// As [`futex`].
pub unsafe fn futex_wake(c: &mut Call<'_>) -> Outcome {
    let [word, mask, count, flags, ..] = c.a;
    let Some(op) = older(libc::FUTEX_WAKE_BITSET, flags) else {
        return Outcome::Native;
    };
    if mask == 0 || mask > u32::MAX as u64 {
        return Outcome::Done(err(libc::EINVAL));
    }
    if count as u32 == 0 {
        // Unlike FUTEX_WAKE it wakes nobody; the kernel says what else is wrong.
        return Outcome::Native;
    }
    let a = [word, op, count, 0, 0, mask];
    run(Caller::Guest(c.guest), Family::Futex2, a)
}

/// futex_requeue(2).
///
/// # Safety
/// As [`futex`].
pub unsafe fn futex_requeue(c: &mut Call<'_>) -> Outcome {
    let [array, flags, wake, requeue, ..] = c.a;
    let mut entries = [WaitEntry::default(); 2];
    if flags != 0 || read_entries(array, &mut entries).is_err() {
        // What is wrong the kernel says.
        return Outcome::Native;
    }
    let [from, to] = entries;
    let (Some(op), true) = (
        older(libc::FUTEX_CMP_REQUEUE, from.flags as u64),
        from.flags == to.flags,
    ) else {
        return Outcome::Native;
    };
    let a = [from.uaddr, op, wake, requeue, to.uaddr, from.val];
    run(Caller::Guest(c.guest), Family::Futex2, a)
}

/// futex_waitv(2), for words of this process.
///
/// # Safety
/// As [`futex`].
pub unsafe fn futex_waitv(c: &mut Call<'_>) -> Outcome {
    let [array, count, flags, timeout, clock, _] = c.a;
    let count = count as u32 as usize;
    if flags != 0 || count == 0 || count > WAITV_MAX || array == 0 {
        return Outcome::Done(err(libc::EINVAL));
    }
    let mut deadline = None;
    if timeout != 0 {
        let op = match clock as i32 {
            libc::CLOCK_REALTIME => libc::FUTEX_CLOCK_REALTIME as u64,
            libc::CLOCK_MONOTONIC => 0,
            _ => return Outcome::Done(err(libc::EINVAL)),
        };
        deadline = match self::deadline(libc::FUTEX_WAIT_BITSET, op, timeout) {
            Ok(deadline) => deadline,
            Err(e) => return Outcome::Done(e),
        };
    }
    let guest = c.guest;
    let owner = parking::guest_owner(guest) as usize;
    let (mut entries, waiters): (Box<[WaitEntry]>, Box<[Waiter]>) = c.hub.call(guest, || {
        let waiter = |_| Waiter::new(owner as *mut ());
        (
            core::iter::repeat_n(WaitEntry::default(), count).collect(),
            (0..count).map(waiter).collect(),
        )
    });
    let outcome = match read_entries(array, &mut entries) {
        Err(e) => Outcome::Done(e),
        Ok(()) if entries.iter().any(is_shared) => Outcome::Native,
        Ok(()) => Outcome::Done(wait_for_any(guest, &entries, &waiters, deadline)),
    };
    c.hub.call(guest, move || drop((entries, waiters)));
    outcome
}

/// Reads a guest's array, of which the first entry that is bad decides.
fn read_entries(array: u64, entries: &mut [WaitEntry]) -> Result<(), i64> {
    for (at, entry) in entries.iter_mut().enumerate() {
        let address = array.wrapping_add((at * size_of::<WaitEntry>()) as u64);
        // SAFETY: an entry is valid with any bytes, and the kernel would read it.
        *entry = unsafe { raw::get(address)? };
        entry.check().map_err(Errno::to_ret)?;
    }
    Ok(())
}

/// Where the word is.
fn memory_of(entry: &WaitEntry) -> &'static Direct {
    if entry.flags & WaitEntry::PRIVATE != 0 {
        &Direct::Private
    } else {
        &Direct::Shared
    }
}

/// Whether another process may wake the word.
fn is_shared(entry: &WaitEntry) -> bool {
    let word = entry.uaddr as usize;
    entry.flags & WaitEntry::PRIVATE == 0
        && (sharing::is_shared(word) || sharing::is_cleared_by_kernel(word))
}

/// Waits for each of the words, with a waiter of the guest's for each.
fn wait_for_any(
    guest: &'static Guest,
    entries: &[WaitEntry],
    waiters: &[Waiter],
    deadline: Option<Deadline>,
) -> i64 {
    // SAFETY: `cancel_all` below ends every wait before the waiters may move.
    let pinned = unsafe { Pin::new_unchecked(waiters) };
    // SAFETY: as above.
    match unsafe { TABLE.enqueue_all(memory_of, entries, pinned) } {
        Err(e) => e.to_ret(),
        Ok(Some(index)) => index as i64,
        Ok(None) => {
            let reason = hub().park_until(guest, deadline, true);
            match (TABLE.cancel_all(pinned), reason) {
                (Some(index), _) => index as i64,
                (None, Reason::Timeout) => err(libc::ETIMEDOUT),
                (None, _) => Family::Futex2.interrupted(deadline),
            }
        }
    }
}
