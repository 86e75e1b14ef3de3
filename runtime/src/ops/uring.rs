//! io_uring_enter on rings of the program's own.
//!
//! What it submits is submitted at once. For completions it waits as for any other
//! descriptor: a ring is readable while its completion queue is not empty. A ring whose
//! completions are made in the waiting call itself (`IORING_SETUP_DEFER_TASKRUN`) does
//! not become readable; it is given an eventfd of ours for the time of a wait.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering};

use super::wait::{Place, Ready, readiness};
use super::{Call, Outcome};
use crate::arch::{syscall, syscall2, syscall4};
use crate::fdinfo::FdInfo;
use crate::guest::Reason;
use crate::hub::processor;
use crate::offload;
use crate::private;
use crate::raw::{self, ERESTARTNOHAND, err};
use crate::reactor::fds::{self, Doubt, Kind};
use crate::signal;

// Flags of io_uring_enter(2).
const GETEVENTS: u64 = 1 << 0;
const SQ_WAKEUP: u64 = 1 << 1;
const SQ_WAIT: u64 = 1 << 2;
const EXT_ARG: u64 = 1 << 3;
const NO_IOWAIT: u64 = 1 << 7;

/// Flags of a wait that is carried out here. The others name the ring or the time by
/// a number that was registered, or another clock.
const KNOWN: u64 = GETEVENTS | SQ_WAKEUP | SQ_WAIT | EXT_ARG | NO_IOWAIT;

/// Of io_uring_setup(2).
const DEFER_TASKRUN: u32 = 1 << 13;

// Operations of io_uring_register(2).
const REGISTER_EVENTFD: u64 = 4;
const UNREGISTER_EVENTFD: u64 = 5;

/// How long a ring that cannot tell of its completions is left alone, in nanoseconds.
const PAUSE: u64 = 1_000_000;

/// How often a ring is asked how many completions it has before it is believed to have
/// enough. Programs look themselves.
const TRIES: u32 = 100;

/// `struct io_uring_getevents_arg`.
#[repr(C)]
#[derive(Clone, Copy)]
struct GeteventsArg {
    sigmask: u64,
    sigmask_size: u32,
    min_wait_usec: u32,
    timeout: u64,
}

/// What the last two arguments say.
struct Wish {
    sigmask: u64,
    deadline: Option<u64>,
}

/// `Ok(None)`: nothing that is carried out here. `Err`: the wait's result.
fn wish(c: &Call<'_>) -> Result<Option<Wish>, i64> {
    let [_, _, _, flags, arg, size] = c.a;
    let (mut sigmask, mut mask_size, mut deadline) = (arg, size, None);
    if flags & EXT_ARG != 0 {
        if size != size_of::<GeteventsArg>() as u64 {
            return Err(err(libc::EINVAL));
        }
        // SAFETY: the guest's own argument, which the kernel would read.
        let arg: GeteventsArg = unsafe { raw::get(arg)? };
        if arg.min_wait_usec != 0 {
            return Ok(None);
        }
        (sigmask, mask_size) = (arg.sigmask, arg.sigmask_size as u64);
        if arg.timeout != 0 {
            // SAFETY: as above.
            let timeout: libc::timespec = unsafe { raw::get(arg.timeout)? };
            let Some(ns) = raw::timespec_ns(&timeout) else {
                return Ok(None);
            };
            deadline = Some(raw::now().saturating_add(ns));
        }
    }
    if sigmask != 0 && mask_size != 8 {
        return Err(err(libc::EINVAL));
    }
    Ok(Some(Wish { sigmask, deadline }))
}

/// Zero if `least` completions are there; `-ETIME` if not; `-EINVAL` if that cannot be told. A ring for polled devices
/// (`IORING_SETUP_IOPOLL`) is asked to poll, and answers zero in any case.
fn look(fd: i32, least: u64, flags: u64) -> i64 {
    let zero = raw::ns_timespec(0);
    let arg = GeteventsArg {
        sigmask: 0,
        sigmask_size: 0,
        min_wait_usec: 0,
        timeout: &raw const zero as u64,
    };
    // SAFETY: arguments of ours.
    let ret = unsafe {
        syscall(
            libc::SYS_io_uring_enter as u64,
            [
                fd as u64,
                0,
                least,
                flags & NO_IOWAIT | GETEVENTS | EXT_ARG,
                &raw const arg as u64,
                size_of::<GeteventsArg>() as u64,
            ],
        )
    };
    // A time-out is no failure for the kernel if there is one completion.
    if ret == 0 && least > 1 {
        // The kernel does not say while another thread of its own holds the ring's lock.
        let there = (0..TRIES).find_map(|_| completions(fd));
        let there = match there {
            None if FdInfo::of(fd).is_none() => match mapped_completions(fd) {
                None => return err(libc::EINVAL),
                mapped => mapped,
            },
            there => there,
        };
        if there.is_some_and(|(count, room)| count < least.min(room)) {
            return err(libc::ETIME);
        }
    }
    ret
}

/// How many completions lie on the queue of a ring, and how many fit; `None` if the
/// kernel does not say.
fn completions(fd: i32) -> Option<(u64, u64)> {
    let info = FdInfo::of(fd)?;
    let mask = info.field(b"\nCqMask:\t0x", 16)?;
    let head = info.field(b"\nCqHead:\t", 10)?;
    let tail = info.field(b"\nCqTail:\t", 10)?;
    Some(((tail as u32).wrapping_sub(head as u32) as u64, mask + 1))
}

/// Where in a ring's memory the head, the tail and the mask of its queue of completions are, in
/// bytes: the same in every ring of a kernel. Zero: no ring has been made yet.
static COMPLETIONS_AT: [AtomicU32; 3] = [const { AtomicU32::new(0) }; 3];

/// The same where there is no `/proc`, by the ring's own memory.
fn mapped_completions(fd: i32) -> Option<(u64, u64)> {
    const PAGE: u64 = 4096;
    let places = COMPLETIONS_AT
        .each_ref()
        .map(|place| place.load(Ordering::Relaxed) as usize);
    let is_within = |&place: &usize| place != 0 && place.is_multiple_of(4) && place < PAGE as usize;
    if !places.iter().all(is_within) {
        return None;
    }
    let (access, flags) = (libc::PROT_READ as u64, libc::MAP_SHARED as u64);
    // SAFETY: a new mapping, of a page that every ring has which the program maps.
    let at = unsafe {
        syscall(
            libc::SYS_mmap as u64,
            [0, PAGE, access, flags, fd as u64, 0],
        )
    };
    if (-4095..0).contains(&at) {
        return None;
    }
    // SAFETY: within the page; the kernel changes the words meanwhile.
    let [head, tail, mask] =
        places.map(|place| unsafe { (at as *const u32).byte_add(place).read_volatile() });
    // SAFETY: the mapping of above.
    unsafe { syscall2(libc::SYS_munmap, at as u64, PAGE) };
    Some((tail.wrapping_sub(head) as u64, u64::from(mask) + 1))
}

/// An eventfd that a ring counts on while this lives.
struct Bell {
    ring: i32,
    fd: i32,
}

impl Bell {
    /// `None` if the ring has one of the program's.
    fn on(ring: i32) -> Option<Self> {
        let flags = (libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) as u64;
        // SAFETY: no pointers.
        let fd = private::open(|| unsafe { syscall2(libc::SYS_eventfd2, 0, flags) });
        if fd < 0 {
            return None;
        }
        let fd = fd as i32;
        // SAFETY: one number of ours.
        let ret = unsafe { register(ring, REGISTER_EVENTFD, &raw const fd as u64, 1) };
        if ret == 0 {
            return Some(Bell { ring, fd });
        }
        private::close(fd);
        None
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        fds::table().closed(self.fd);
        // SAFETY: no pointers.
        unsafe { register(self.ring, UNREGISTER_EVENTFD, 0, 0) };
        private::close(self.fd);
    }
}

/// # Safety
/// As io_uring_register(2).
unsafe fn register(ring: i32, operation: u64, arg: u64, count: u64) -> i64 {
    // SAFETY: the caller's contract.
    unsafe {
        syscall4(
            libc::SYS_io_uring_register,
            ring as u64,
            operation,
            arg,
            count,
        )
    }
}

/// Waits until a ring that does not become readable may have completions.
fn wait_deferred(c: &Call<'_>, bell: Option<&Bell>, deadline: Option<u64>) -> Ready {
    if let Some(bell) = bell {
        return readiness(c, &Place::new(bell.fd), libc::EPOLLIN as u32, deadline);
    }
    let pause = raw::now() + PAUSE;
    let end = deadline.map_or(pause, |deadline| deadline.min(pause));
    match c.hub.park(c.guest, Some(end), true) {
        Reason::Signal => Ready::Signal,
        _ if deadline.is_some_and(|deadline| deadline <= raw::now()) => Ready::Timeout,
        _ => Ready::Yes,
    }
}

/// Waits until `least` completions are there. `None`: it can't be waited for.
fn wait(c: &Call<'_>, fd: i32, least: u64, flags: u64, deadline: Option<u64>) -> Option<i64> {
    let place = Place::new(fd);
    // A ring from before the hub, or a copy of a descriptor, may be either.
    let deferred = fds::table().get(fd)?.kind(fd) != Kind::ReadableRing;
    let mut bell = None;
    loop {
        let ret = look(place.fd(), least, flags);
        if ret == err(libc::EINVAL) {
            // Before Linux 5.11, or without `/proc`.
            return None;
        }
        if ret != err(libc::ETIME) && ret != err(libc::EINTR) {
            return Some(ret);
        }
        if deferred && bell.is_none() {
            bell = Bell::on(fd);
            if bell.is_some() {
                continue;
            }
        }
        let ready = if deferred {
            wait_deferred(c, bell.as_ref(), deadline)
        } else {
            readiness(c, &place, libc::EPOLLIN as u32, deadline)
        };
        match ready {
            Ready::Yes => {}
            Ready::Timeout => return Some(look(place.fd(), 1, flags)),
            // With one completion, an interruption is no failure either.
            Ready::Signal if look(place.fd(), 1, flags) == 0 => return Some(0),
            Ready::Signal => return Some(err(libc::EINTR)),
            Ready::Never => return None,
        }
    }
}

/// io_uring_setup(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn io_uring_setup(c: &mut Call<'_>) -> Outcome {
    // A ring may take submissions and give completions to one kernel thread alone.
    c.guest.stay_on(processor::here());
    // SAFETY: the guest's own arguments.
    let fd = unsafe { syscall2(libc::SYS_io_uring_setup, c.a[0], c.a[1]) };
    // What it closes and opens it may do at any time after a submission.
    fds::doubt(Doubt::Likely);
    if fd >= 0
        && let Some(state) = fds::table().get(fd as i32)
    {
        fds::table().closed(fd as i32);
        // The third word of `struct io_uring_params`.
        // SAFETY: the kernel has just filled it.
        let flags: Result<u32, i64> = unsafe { raw::get(c.a[1] + 8) };
        if flags.is_ok_and(|flags| flags & DEFER_TASKRUN == 0) {
            state.set_kind(fd as i32, Kind::ReadableRing);
        }
        // Its member `cq_off` begins with these.
        // SAFETY: as above.
        let places: Result<[u32; 3], i64> = unsafe { raw::get(c.a[1] + 80) };
        for (to, place) in COMPLETIONS_AT.iter().zip(places.unwrap_or_default()) {
            to.store(place, Ordering::Relaxed);
        }
    }
    Outcome::Done(fd)
}

/// io_uring_enter(2).
///
/// # Safety
/// As [`io_uring_setup`].
pub unsafe fn io_uring_enter(c: &mut Call<'_>) -> Outcome {
    let [ring, submit, least, flags, arg, size] = c.a;
    let (submit, least) = (submit as u32 as u64, least as u32 as u64);
    if submit != 0 {
        // SAFETY: the reference ends with the statement.
        unsafe { c.hub.reactor() }.settle_all();
    }
    if flags & GETEVENTS == 0 || least == 0 || flags & !KNOWN != 0 {
        return Outcome::Native;
    }
    let enter = |submit: u64, least: u64, flags: u64| {
        // SAFETY: the guest's own arguments, or fewer.
        unsafe {
            syscall(
                libc::SYS_io_uring_enter as u64,
                [ring, submit, least, flags, arg, size],
            )
        }
    };
    let mut submitted = 0;
    if submit != 0 || flags & (SQ_WAKEUP | SQ_WAIT) != 0 {
        submitted = enter(submit, 0, flags & !(GETEVENTS | EXT_ARG));
        if submitted != submit as i64 {
            return Outcome::Done(submitted);
        }
    }
    // The number of submissions hides what becomes of the wait.
    let or = |ret: i64| Outcome::Done(if submitted > 0 { submitted } else { ret });
    let natively = || {
        let flags = flags & !(SQ_WAKEUP | SQ_WAIT);
        let args = [ring, 0, least, flags, arg, size];
        // The ring is one of those that the kernel says nothing of. It may be for the kernel
        // thread alone that made it.
        (least > 1 && FdInfo::of(ring as i32).is_none())
            .then(|| offload::run_interruptible(c.guest, libc::SYS_io_uring_enter, args))
            .flatten()
            .filter(|&ret| ret != err(libc::EEXIST))
            .unwrap_or_else(|| enter(0, least, flags))
    };
    let wish = match wish(c) {
        Ok(Some(wish)) => wish,
        Ok(None) => return or(natively()),
        Err(e) => return or(e),
    };
    let fd = ring as i32;
    if wish.sigmask == 0 {
        let ret = wait(c, fd, least, flags, wish.deadline);
        return or(ret.unwrap_or_else(natively));
    }
    // SAFETY: the guest's own argument of eight bytes.
    let mask = match unsafe { raw::get(wish.sigmask) } {
        Ok(mask) => mask,
        Err(e) => return or(e),
    };
    let old = signal::begin_mask(c.guest, mask);
    let ret = wait(c, fd, least, flags, wish.deadline);
    let interrupted = ret == Some(err(libc::EINTR));
    signal::end_mask(c.guest, old, interrupted);
    if interrupted && submitted == 0 {
        return Outcome::Done(ERESTARTNOHAND);
    }
    or(ret.unwrap_or_else(natively))
}
