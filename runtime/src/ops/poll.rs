//! poll, select and epoll_wait in all their forms.
//!
//! The real call with a time-out of zero gives the answer; what is waited for
//! between two of those is the readiness of each descriptor of the set.
#![allow(unsafe_code)]

use core::mem::replace;

use super::{Call, Outcome};
use crate::arch::{self, syscall};
use crate::fd_table;
use crate::guest::Reason;
use crate::raw::{self, ERESTARTNOHAND, err};
use crate::reactor;
use crate::reactor::fds::{self, FdWaiter};
use crate::signal;

/// Descriptors whose waiters fit on the guest's stack.
const FEW: usize = 16;

/// After this many calls in a row that asked without waiting, the others run.
const IMPATIENT: u32 = 32;

/// First and longest wait between two looks at a set that holds a descriptor which
/// cannot be watched, in nanoseconds. (epoll sets nest five deep, and fs.epoll limits
/// how many descriptors are watched.)
const FIRST_NAP: u64 = 200_000;
const LONGEST_NAP: u64 = 10_000_000;

/// The i-th descriptor of a set that is waited for, and the EPOLL* bits it is waited
/// for with.
type Interest<'a> = &'a dyn Fn(usize) -> Option<(i32, u32)>;

/// Waits until one of the `n` descriptors may be ready, or for `nap` nanoseconds if one
/// of them cannot be watched: then the reason is [`Reason::None`]. `again`: the same call has
/// waited before.
fn wait_any(
    c: &Call<'_>,
    n: usize,
    deadline: Option<u64>,
    nap: u64,
    again: bool,
    interest: Interest<'_>,
) -> Reason {
    let mut count = 0;
    let mut until = deadline;
    for (fd, _) in (0..n).filter_map(interest) {
        count += 1;
        // SAFETY: the reference ends with the statement that makes it.
        let reactor = unsafe { c.hub.reactor() };
        let armed = if again {
            reactor.arm_again(fd)
        } else {
            reactor.arm(fd)
        };
        match armed {
            Ok(()) => {}
            // Never changes, as a regular file.
            Err(e) if e == err(libc::EPERM) => {}
            Err(e) => {
                if reactor::is_full(e) {
                    c.hub.call(c.guest, || reactor::tell_full(e));
                }
                let end = raw::now().saturating_add(nap);
                until = Some(deadline.map_or(end, |deadline| deadline.min(end)));
            }
        }
    }
    let park = |waiters: &mut [Option<FdWaiter>]| {
        for (slot, (fd, events)) in waiters.iter_mut().zip((0..n).filter_map(interest)) {
            if let Some(state) = fds::table().get(fd) {
                let waiter = slot.insert(FdWaiter::new(c.guest, fd, events));
                // SAFETY: unlinked below, before the slice goes.
                unsafe { state.link(waiter) };
            }
        }
        let reason = c.hub.park(c.guest, until, true);
        for waiter in waiters.iter().flatten() {
            waiter.unlink();
            if waiter.was_moved() {
                fds::table().release(waiter.fd());
            }
        }
        reason
    };
    let reason = if count <= FEW {
        let mut waiters = [const { None }; FEW];
        park(&mut waiters[..count])
    } else {
        let room = c.hub.call(c.guest, || {
            let mut waiters: Vec<Option<FdWaiter>> = Vec::new();
            waiters.try_reserve_exact(count).ok()?;
            waiters.resize_with(count, || None);
            Some(waiters)
        });
        match room {
            Some(mut waiters) => {
                let reason = park(&mut waiters);
                c.hub.call(c.guest, move || drop(waiters));
                reason
            }
            // Without memory for so many: looks again.
            None => {
                let end = raw::now().saturating_add(nap);
                until = Some(deadline.map_or(end, |deadline| deadline.min(end)));
                c.hub.park(c.guest, until, true)
            }
        }
    };
    match reason {
        Reason::Timeout if until != deadline => Reason::None,
        reason => reason,
    }
}

/// Asks with `attempt` and waits in between. A result of zero means "nothing yet".
fn ask(
    c: &Call<'_>,
    timeout: Timeout,
    n: usize,
    interest: Interest<'_>,
    mut attempt: impl FnMut() -> i64,
) -> i64 {
    let mut ret = attempt();
    let Ok(deadline) = timeout else {
        // Only asked. A loop of such calls must not keep the others from running.
        let asked = c.guest.impatience.get() + 1;
        c.guest.impatience.set(asked % IMPATIENT);
        if ret == 0 && asked == IMPATIENT {
            c.hub.yield_now(c.guest);
            ret = attempt();
        }
        return ret;
    };
    let mut nap = FIRST_NAP;
    let mut again = false;
    while ret == 0 {
        match wait_any(c, n, deadline, nap, replace(&mut again, true), interest) {
            Reason::Timeout => return attempt(),
            Reason::Signal => return ERESTARTNOHAND,
            Reason::Event => {}
            Reason::None => nap = (nap * 2).min(LONGEST_NAP),
        }
        ret = attempt();
    }
    ret
}

/// As [`ask`], for poll and select: a signal ends them too if they found nothing in no
/// time.
fn ask_or_signal(
    c: &Call<'_>,
    timeout: Timeout,
    n: usize,
    interest: Interest<'_>,
    attempt: impl FnMut() -> i64,
) -> i64 {
    match ask(c, timeout, n, interest, attempt) {
        0 if c.hub.has_signal(c.guest) => ERESTARTNOHAND,
        ret => ret,
    }
}

/// What the time-out arguments mean: `Ok(None)` for ever, `Err(())` do not wait.
type Timeout = Result<Option<u64>, ()>;

fn milliseconds(ms: i32) -> Timeout {
    match ms {
        0 => Err(()),
        ms if ms < 0 => Ok(None),
        ms => Ok(Some(raw::now().saturating_add(ms as u64 * 1_000_000))),
    }
}

fn nanoseconds(ns: Option<u64>) -> Timeout {
    match ns {
        Some(0) => Err(()),
        Some(ns) => Ok(Some(raw::now().saturating_add(ns))),
        None => Ok(None),
    }
}

/// The guest's `struct timespec`, null for ever.
fn timespec(pointer: u64) -> Result<Option<u64>, i64> {
    if pointer == 0 {
        return Ok(None);
    }
    // SAFETY: the guest's own argument, which the kernel would read.
    let ts = unsafe { raw::get(pointer)? };
    raw::timespec_ns(&ts).map(Some).ok_or(err(libc::EINVAL))
}

/// Runs `f` with the guest's signal mask replaced, if a mask is given.
pub(super) fn with_mask(c: &Call<'_>, mask: u64, size: u64, f: impl FnOnce() -> i64) -> Outcome {
    if mask == 0 {
        return Outcome::Done(f());
    }
    if size != 8 {
        return Outcome::Done(err(libc::EINVAL));
    }
    // SAFETY: the guest's own argument of eight bytes.
    let mask = match unsafe { raw::get(mask) } {
        Ok(mask) => mask,
        Err(e) => return Outcome::Done(e),
    };
    let old = signal::begin_mask(c.guest, mask);
    let ret = f();
    signal::end_mask(c.guest, old, raw::is_restart(ret));
    Outcome::Done(ret)
}

fn poll_set(c: &Call<'_>, timeout: Timeout) -> i64 {
    let (array, n) = (c.a[0], c.a[1] as u32 as usize);
    let interest = |i: usize| {
        // SAFETY: the guest's own array, which the kernel has just read.
        let p: libc::pollfd =
            unsafe { raw::get(array + (i * size_of::<libc::pollfd>()) as u64) }.ok()?;
        (p.fd >= 0).then_some((p.fd, p.events as u16 as u32))
    };
    let nr = c.frame.rax;
    let none = raw::ns_timespec(0);
    // Of poll(2) a time-out in milliseconds, of ppoll(2) a structure: none either way.
    let timeout_of = match nr as i64 {
        libc::SYS_ppoll => &raw const none as u64,
        _ => 0,
    };
    ask_or_signal(c, timeout, n, &interest, || {
        // SAFETY: the guest's own array, and a time span of ours.
        raw::found(unsafe { syscall(nr, [array, n as u64, timeout_of, 0, 0, 0]) })
    })
}

/// poll(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn poll(c: &mut Call<'_>) -> Outcome {
    Outcome::Done(poll_set(c, milliseconds(c.a[2] as i32)))
}

/// Writes back what is left of a time-out, as Linux does.
fn write_left(pointer: u64, timeout: Timeout, as_timeval: bool) {
    if pointer == 0 {
        return;
    }
    if let Ok(Some(deadline)) = timeout {
        let left = deadline.saturating_sub(raw::now());
        let mut ts = raw::ns_timespec(left);
        if as_timeval {
            ts.tv_nsec /= 1000;
        }
        // A time-out that can be read but not written is left as it is, by Linux too.
        // SAFETY: the guest's own argument; both structures are two words.
        let _ = unsafe { raw::put(pointer, ts) };
    }
}

/// ppoll(2).
///
/// # Safety
/// As [`poll`].
pub unsafe fn ppoll(c: &mut Call<'_>) -> Outcome {
    let timeout = match timespec(c.a[2]) {
        Ok(ns) => nanoseconds(ns),
        Err(e) => return Outcome::Done(e),
    };
    let ret = with_mask(c, c.a[3], c.a[4], || poll_set(c, timeout));
    write_left(c.a[2], timeout, false);
    ret
}

/// Words of a set that is copied to the guest's stack: FD_SETSIZE descriptors.
const WORDS: usize = libc::FD_SETSIZE / 64;

/// Most descriptors of a set: fs.nr_open is 1,048,576 unless raised. As in the kernel,
/// what lies beyond the process's table is left out.
const LARGEST_SET: usize = 1 << 20;

fn select_sets(c: &Call<'_>, timeout: Timeout) -> i64 {
    if (c.a[0] as i32) < 0 {
        return err(libc::EINVAL);
    }
    let n = (c.a[0] as u32 as usize).min(LARGEST_SET);
    let ret = select_up_to(c, timeout, n);
    // The kernel's table has ours in it: perhaps what it found wrong is beyond the program's.
    let wrong = ret == err(libc::EBADF) || ret == err(libc::EFAULT);
    let own = if wrong { fd_table::size() } else { None };
    match own {
        Some(size) if (size as usize) < n => select_up_to(c, timeout, size as usize),
        _ => ret,
    }
}

/// As [`select_sets`], for descriptors below `n`.
fn select_up_to(c: &Call<'_>, timeout: Timeout, n: usize) -> i64 {
    let words = n.div_ceil(64);
    if words <= WORDS {
        return select_with(c, timeout, n, &mut [0; WORDS * 6][..words * 6]);
    }
    let room = c.hub.call(c.guest, || {
        let mut room = Vec::new();
        room.try_reserve_exact(words * 6).ok()?;
        room.resize(words * 6, 0);
        Some(room)
    });
    let Some(mut room) = room else {
        return err(libc::ENOMEM);
    };
    let ret = select_with(c, timeout, n, &mut room);
    c.hub.call(c.guest, move || drop(room));
    ret
}

/// As [`select_up_to`], with room for three sets and three copies of them.
fn select_with(c: &Call<'_>, timeout: Timeout, n: usize, room: &mut [u64]) -> i64 {
    let (wanted, sets) = room.split_at_mut(room.len() / 2);
    let words = wanted.len() / 3;
    let bytes = words * 8;
    for (i, &pointer) in c.a[1..4].iter().enumerate() {
        let set = wanted[i * words..].as_mut_ptr();
        // SAFETY: room for the guest's own set of `n` bits in whole words.
        if pointer != 0 && unsafe { !arch::copy(set.cast(), pointer as *const u8, bytes) } {
            return err(libc::EFAULT);
        }
    }
    let wanted = &*wanted;
    let interest = |fd: usize| {
        let has = |set: usize| wanted[set * words + fd / 64] >> (fd % 64) & 1 != 0;
        let mut events = 0;
        if has(0) {
            events |= libc::EPOLLIN | libc::EPOLLRDHUP;
        }
        if has(1) {
            events |= libc::EPOLLOUT;
        }
        if has(2) {
            events |= libc::EPOLLPRI;
        }
        (events != 0).then_some((fd as i32, events as u32))
    };
    ask_or_signal(c, timeout, n, &interest, || {
        // The structures of select(2) and pselect6(2) are the same for no time.
        let mut zero = raw::ns_timespec(0);
        sets.copy_from_slice(wanted);
        let base = sets.as_mut_ptr() as u64;
        let at = |i: u64| match c.a[i as usize + 1] {
            0 => 0,
            _ => base + i * bytes as u64,
        };
        let zero = &raw mut zero as u64;
        // SAFETY: sets and time-out of ours.
        let asked = unsafe { syscall(c.frame.rax, [n as u64, at(0), at(1), at(2), zero, 0]) };
        let ret = raw::found(asked);
        if ret != asked {
            // The kernel has left the sets as they were.
            sets.fill(0);
        }
        if ret > 0 || (ret == 0 && timeout_is_over(timeout) && !c.hub.has_signal(c.guest)) {
            for (i, &pointer) in c.a[1..4].iter().enumerate() {
                let set = sets[i * words..].as_ptr();
                // SAFETY: the guest's own set.
                if pointer != 0 && unsafe { !arch::copy(pointer as *mut u8, set.cast(), bytes) } {
                    return err(libc::EFAULT);
                }
            }
        }
        ret
    })
}

/// Whether a select that finds nothing now returns zero, which clears the sets.
fn timeout_is_over(timeout: Timeout) -> bool {
    match timeout {
        Err(()) => true,
        Ok(Some(deadline)) => deadline <= raw::now(),
        Ok(None) => false,
    }
}

/// select(2).
///
/// # Safety
/// As [`poll`].
pub unsafe fn select(c: &mut Call<'_>) -> Outcome {
    let mut timeout = Ok(None);
    if c.a[4] != 0 {
        // SAFETY: the guest's own argument.
        let tv: libc::timeval = match unsafe { raw::get(c.a[4]) } {
            Ok(tv) => tv,
            Err(e) => return Outcome::Done(e),
        };
        if tv.tv_sec < 0 || tv.tv_usec < 0 {
            return Outcome::Done(err(libc::EINVAL));
        }
        let ns = (tv.tv_sec as u64)
            .saturating_mul(raw::NS_PER_S)
            .saturating_add(tv.tv_usec as u64 * 1000);
        timeout = nanoseconds(Some(ns));
    }
    let ret = Outcome::Done(select_sets(c, timeout));
    write_left(c.a[4], timeout, true);
    ret
}

/// pselect6(2).
///
/// # Safety
/// As [`poll`].
pub unsafe fn pselect6(c: &mut Call<'_>) -> Outcome {
    let timeout = match timespec(c.a[4]) {
        Ok(ns) => nanoseconds(ns),
        Err(e) => return Outcome::Done(e),
    };
    let (mut mask, mut size) = (0, 8);
    if c.a[5] != 0 {
        // SAFETY: the guest's own pair of a pointer and a size.
        match unsafe { raw::get::<[u64; 2]>(c.a[5]) } {
            Ok([m, s]) => [mask, size] = [m, s],
            Err(e) => return Outcome::Done(e),
        }
    }
    let ret = with_mask(c, mask, size, || select_sets(c, timeout));
    write_left(c.a[4], timeout, false);
    ret
}

fn epoll_events(c: &Call<'_>, timeout: Timeout) -> i64 {
    let [epfd, events, max, ..] = c.a;
    let interest = |_| Some((epfd as i32, libc::EPOLLIN as u32));
    let nr = c.frame.rax;
    let none = raw::ns_timespec(0);
    let timeout_of = match nr as i64 {
        libc::SYS_epoll_pwait2 => &raw const none as u64,
        _ => 0,
    };
    // SAFETY: the guest's own buffer, and a time span of ours.
    ask(c, timeout, 1, &interest, || unsafe {
        syscall(nr, [epfd, events, max, timeout_of, 0, 0])
    })
}

/// epoll_wait(2).
///
/// # Safety
/// As [`poll`].
pub unsafe fn epoll_wait(c: &mut Call<'_>) -> Outcome {
    Outcome::Done(epoll_events(c, milliseconds(c.a[3] as i32)))
}

/// epoll_pwait(2).
///
/// # Safety
/// As [`poll`].
pub unsafe fn epoll_pwait(c: &mut Call<'_>) -> Outcome {
    let timeout = milliseconds(c.a[3] as i32);
    with_mask(c, c.a[4], c.a[5], || epoll_events(c, timeout))
}

/// epoll_pwait2(2).
///
/// # Safety
/// As [`poll`].
pub unsafe fn epoll_pwait2(c: &mut Call<'_>) -> Outcome {
    match timespec(c.a[3]) {
        Ok(ns) => with_mask(c, c.a[4], c.a[5], || epoll_events(c, nanoseconds(ns))),
        Err(e) => Outcome::Done(e),
    }
}
