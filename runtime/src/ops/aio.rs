//! Waiting for completions of Linux AIO.
#![allow(unsafe_code)]

use super::offloaded::interrupted;
use super::poll::with_mask;
use super::{Call, Outcome};
use crate::arch::syscall;
use crate::guest::Reason;
use crate::offload;
use crate::raw::{self, ERESTARTNOHAND, err};

/// First and longest wait between two looks where nothing tells, in nanoseconds.
const FIRST_NAP: u64 = 100_000;
const LONGEST_NAP: u64 = 5_000_000;

/// Size of the kernel's `struct io_event`.
const EVENT: u64 = 32;

/// io_getevents(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn io_getevents(c: &mut Call<'_>) -> Outcome {
    match events(c) {
        Some(ret) if ret == err(libc::EINTR) => Outcome::Done(interrupted(c)),
        Some(ret) => Outcome::Done(ret),
        None => Outcome::Native,
    }
}

/// io_pgetevents(2).
///
/// # Safety
/// As [`io_getevents`].
pub unsafe fn io_pgetevents(c: &mut Call<'_>) -> Outcome {
    let (mut mask, mut size) = (0, 8);
    if c.a[5] != 0 {
        // SAFETY: the guest's own pair of a pointer and a size.
        match unsafe { raw::get::<[u64; 2]>(c.a[5]) } {
            Ok([m, s]) => [mask, size] = [m, s],
            Err(e) => return Outcome::Done(e),
        }
    }
    let mut native = false;
    let outcome = with_mask(c, mask, size, || match events(c) {
        Some(ret) if ret == err(libc::EINTR) => ERESTARTNOHAND,
        Some(ret) => ret,
        None => {
            native = true;
            0
        }
    });
    if native { Outcome::Native } else { outcome }
}

/// The result of an io_getevents, `-EINTR` if a signal ended it; `None`: the kernel's.
fn events(c: &Call<'_>) -> Option<i64> {
    let [context, least, most, into, timeout, _] = c.a;
    let mut end = None;
    if timeout != 0 {
        // SAFETY: the guest's own argument, which the kernel would read.
        let ts = unsafe { raw::get(timeout) }.ok()?;
        // The kernel takes what is not a time span for one in the past.
        let ns = raw::timespec_ns(&ts)?;
        end = Some(raw::now().saturating_add(ns));
    }
    let now = raw::ns_timespec(0);
    let mut have = 0i64;
    let mut nap = FIRST_NAP;
    let rest = |have: i64, until: &libc::timespec, for_ever: bool| {
        [
            context,
            least - have as u64,
            most - have as u64,
            into + have as u64 * EVENT,
            if for_ever {
                0
            } else {
                until as *const libc::timespec as u64
            },
            0,
        ]
    };
    let or = |have: i64, ret: i64| if have > 0 { have } else { ret };
    loop {
        // SAFETY: the guest's own buffer; ends at once.
        let ret = unsafe { syscall(libc::SYS_io_getevents as u64, rest(have, &now, false)) };
        // Of no event it says so also for a signal of ours.
        let ours = ret == err(libc::EINTR) && !c.hub.has_signal(c.guest);
        if ret < 0 && !ours {
            return Some(or(have, ret));
        }
        have += ret.max(0);
        let left = end.map(|end| end.saturating_sub(raw::now()));
        if have as u64 >= least || left == Some(0) {
            return Some(have);
        }
        let until = raw::ns_timespec(left.unwrap_or(0));
        let args = rest(have, &until, left.is_none());
        match offload::run_interruptible(c.guest, libc::SYS_io_getevents, args) {
            Some(ret) if ret < 0 => return Some(or(have, ret)),
            Some(ret) => return Some(have + ret),
            None => {}
        }
        let nap_end = raw::now().saturating_add(nap);
        if c.hub.park(c.guest, Some(nap_end), true) == Reason::Signal {
            return Some(or(have, err(libc::EINTR)));
        }
        nap = (nap * 2).min(LONGEST_NAP);
    }
}
