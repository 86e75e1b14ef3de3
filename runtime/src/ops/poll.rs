//! poll, select and epoll_wait in all their forms.
//!
//! The real call with a time-out of zero gives the answer; what is waited for
//! between two of those is the readiness of each descriptor of the set.
#![allow(unsafe_code)]

use super::{Call, Outcome};
use crate::arch::{syscall, syscall3};
use crate::guest::Reason;
use crate::raw::{self, ERESTARTNOHAND, err};
use crate::reactor::fds::{self, FdWaiter};
use crate::signal;

/// Descriptors whose waiters fit on the guest's stack.
const FEW: usize = 16;

/// After this many calls in a row that asked without waiting, the others run.
const IMPATIENT: u32 = 32;

/// Waits until one of the descriptors may be ready. `interest(i)` names the i-th
/// and its EPOLL* bits. `None`: one of them cannot be waited for.
fn wait_any(
    c: &Call<'_>,
    n: usize,
    deadline: Option<u64>,
    interest: &dyn Fn(usize) -> Option<(i32, u32)>,
) -> Option<Reason> {
    for i in 0..n {
        if let Some((fd, _)) = interest(i)
            // SAFETY: the reference ends with the statement.
            && unsafe { c.hub.reactor() }.arm(fd).is_err()
        {
            return None;
        }
    }
    let park = |waiters: &mut [Option<FdWaiter>]| {
        for (i, slot) in waiters.iter_mut().enumerate() {
            if let Some((fd, events)) = interest(i)
                && let Some(state) = fds::table().get(fd)
            {
                let waiter = slot.insert(FdWaiter::new(c.guest, fd, events));
                // SAFETY: unlinked below, before the slice goes.
                unsafe { state.link(waiter) };
            }
        }
        let reason = c.hub.park(c.guest, deadline, true);
        for waiter in waiters.iter().flatten() {
            waiter.unlink();
            if waiter.was_moved() {
                fds::table().release(waiter.fd());
            }
        }
        reason
    };
    if n <= FEW {
        let mut waiters = [const { None }; FEW];
        return Some(park(&mut waiters[..n]));
    }
    let mut waiters: Vec<Option<FdWaiter>> = c.hub.call(c.guest, || {
        let mut waiters = Vec::with_capacity(n);
        waiters.resize_with(n, || None);
        waiters
    });
    let reason = park(&mut waiters);
    c.hub.call(c.guest, move || drop(waiters));
    Some(reason)
}

/// Asks with `attempt` and waits in between. A result of zero means "nothing yet".
fn ask(
    c: &Call<'_>,
    deadline: Result<Option<u64>, ()>,
    n: usize,
    interest: &dyn Fn(usize) -> Option<(i32, u32)>,
    mut attempt: impl FnMut() -> i64,
) -> Option<i64> {
    let mut ret = attempt();
    let Ok(deadline) = deadline else {
        // Only asked. A loop of such calls must not keep the others from running.
        let asked = c.guest.impatience.get() + 1;
        c.guest.impatience.set(asked % IMPATIENT);
        if ret == 0 && asked == IMPATIENT {
            c.hub.yield_now(c.guest);
            ret = attempt();
        }
        return Some(ret);
    };
    while ret == 0 {
        match wait_any(c, n, deadline, interest)? {
            Reason::Timeout => return Some(attempt()),
            Reason::Signal => return Some(ERESTARTNOHAND),
            Reason::Event | Reason::None => ret = attempt(),
        }
    }
    Some(ret)
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
pub(super) fn with_mask(
    c: &Call<'_>,
    mask: u64,
    size: u64,
    f: impl FnOnce() -> Option<i64>,
) -> Outcome {
    if mask == 0 {
        return finish(f());
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
    let interrupted = ret.is_some_and(raw::is_restart);
    signal::end_mask(c.guest, old, interrupted);
    finish(ret)
}

fn finish(ret: Option<i64>) -> Outcome {
    match ret {
        Some(ret) => Outcome::Done(ret),
        None => Outcome::Native,
    }
}

fn poll_set(c: &Call<'_>, timeout: Timeout) -> Option<i64> {
    let (array, n) = (c.a[0] as *const libc::pollfd, c.a[1] as u32 as usize);
    let interest = |i: usize| {
        // SAFETY: the guest's own array, which the kernel has just read.
        let p = unsafe { core::ptr::read_unaligned(array.add(i)) };
        (p.fd >= 0).then_some((p.fd, p.events as u16 as u32))
    };
    // SAFETY: the guest's own array.
    ask(c, timeout, n, &interest, || unsafe {
        syscall3(libc::SYS_poll, array as u64, n as u64, 0)
    })
}

/// poll(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn poll(c: &mut Call<'_>) -> Outcome {
    finish(poll_set(c, milliseconds(c.a[2] as i32)))
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
    if !matches!(ret, Outcome::Native) {
        write_left(c.a[2], timeout, false);
    }
    ret
}

/// Largest set that is copied to the guest's stack: FD_SETSIZE descriptors.
const WORDS: usize = libc::FD_SETSIZE / 64;

fn select_sets(c: &Call<'_>, timeout: Timeout) -> Option<i64> {
    let n = c.a[0] as i32;
    if n < 0 || n as usize > libc::FD_SETSIZE {
        return None;
    }
    let words = (n as usize).div_ceil(64);
    let mut wanted = [[0u64; WORDS]; 3];
    for (set, &pointer) in wanted.iter_mut().zip(&c.a[1..4]) {
        if pointer != 0 {
            if !raw::plausible(pointer) {
                return Some(err(libc::EFAULT));
            }
            // SAFETY: the guest's own set of `n` bits in whole words.
            unsafe {
                core::ptr::copy_nonoverlapping(pointer as *const u64, set.as_mut_ptr(), words)
            };
        }
    }
    let interest = |fd: usize| {
        let has = |set: usize| wanted[set][fd / 64] >> (fd % 64) & 1 != 0;
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
    ask(c, timeout, n as usize, &interest, || {
        let mut zero = libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        };
        let mut sets = wanted;
        let at = |i: usize, sets: &mut [[u64; WORDS]; 3]| {
            if c.a[i + 1] == 0 {
                0
            } else {
                sets[i].as_mut_ptr() as u64
            }
        };
        let args = [
            n as u64,
            at(0, &mut sets),
            at(1, &mut sets),
            at(2, &mut sets),
            &raw mut zero as u64,
            0,
        ];
        // SAFETY: sets and time-out of ours.
        let ret = unsafe { syscall(libc::SYS_select as u64, args) };
        if ret > 0 || (ret == 0 && timeout_is_over(timeout)) {
            for (set, &pointer) in sets.iter().zip(&c.a[1..4]) {
                if pointer != 0 {
                    // SAFETY: the guest's own set.
                    unsafe {
                        core::ptr::copy_nonoverlapping(set.as_ptr(), pointer as *mut u64, words)
                    };
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
    let ret = finish(select_sets(c, timeout));
    if !matches!(ret, Outcome::Native) {
        write_left(c.a[4], timeout, true);
    }
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
    if !matches!(ret, Outcome::Native) {
        write_left(c.a[4], timeout, false);
    }
    ret
}

fn epoll_events(c: &Call<'_>, timeout: Timeout) -> Option<i64> {
    let [epfd, events, max, ..] = c.a;
    let interest = |_| Some((epfd as i32, libc::EPOLLIN as u32));
    // SAFETY: the guest's own buffer.
    ask(c, timeout, 1, &interest, || unsafe {
        syscall(libc::SYS_epoll_wait as u64, [epfd, events, max, 0, 0, 0])
    })
}

/// epoll_wait(2).
///
/// # Safety
/// As [`poll`].
pub unsafe fn epoll_wait(c: &mut Call<'_>) -> Outcome {
    finish(epoll_events(c, milliseconds(c.a[3] as i32)))
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
