//! Calls of the kernel's that name a thread by its id.
//!
//! A guest's id means nothing to the kernel. What the kernel would answer for a thread
//! of the caller's process is what it answers for the process, or for the calling
//! thread: so the id is put in its place.
#![allow(unsafe_code)]

use patch_events::numbers;

use super::{Call, Outcome, offloaded, signal, thread};
use crate::arch;
use crate::guest::most;
use crate::heap_reserve;
use crate::raw::{self, err};

/// Whether an id is that of a guest which the kernel does not know.
fn is_guest(c: &Call<'_>, id: u64) -> bool {
    c.hub
        .find(id as i32)
        .is_some_and(|guest| !guest.is_initial())
}

/// The call with the process's id in the places `at` where a guest's stands.
fn with_process(c: &Call<'_>, at: &[usize]) -> Outcome {
    if !at.iter().any(|&at| is_guest(c, c.a[at])) {
        return Outcome::Native;
    }
    let mut a = c.a;
    for &at in at {
        if is_guest(c, a[at]) {
            a[at] = c.hub.pid.get() as u64;
        }
    }
    // SAFETY: the guest's own call about its own process.
    Outcome::Done(unsafe { arch::syscall(c.frame.rax, a) })
}

/// Calls whose first argument is an id: getpgid(2), getsid(2), kill(2),
/// rt_sigqueueinfo(2), process_vm_readv(2), process_vm_writev(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn first(c: &mut Call<'_>) -> Outcome {
    let signals = [libc::SYS_kill, libc::SYS_rt_sigqueueinfo].contains(&(c.frame.rax as i64));
    let sent = if signals { signal::to_process(c) } else { None };
    sent.unwrap_or_else(|| with_process(c, &[0]))
}

/// prlimit64(2), by which libc sets limits, too.
///
/// # Safety
/// As [`first`].
pub unsafe fn prlimit64(c: &mut Call<'_>) -> Outcome {
    let [_, resource, new, ..] = c.a;
    limit(c, resource as u32, new != 0)
}

/// getrlimit(2).
///
/// # Safety
/// As [`first`].
pub unsafe fn getrlimit(c: &mut Call<'_>) -> Outcome {
    limit(c, c.a[0] as u32, false)
}

/// setrlimit(2).
///
/// # Safety
/// As [`first`].
pub unsafe fn setrlimit(c: &mut Call<'_>) -> Outcome {
    limit(c, c.a[0] as u32, true)
}

/// A call that reads a limit, or sets it.
fn limit(c: &mut Call<'_>, resource: u32, sets: bool) -> Outcome {
    let own = |c: &mut Call<'_>| {
        let outcome = match c.frame.rax as i64 {
            libc::SYS_prlimit64 => with_process(c, &[0]),
            _ => Outcome::Native,
        };
        match outcome {
            Outcome::Done(ret) => ret,
            // SAFETY: the guest's own call, unchanged.
            _ => unsafe { arch::syscall(c.frame.rax, c.a) },
        }
    };
    match resource {
        libc::RLIMIT_NOFILE => Outcome::Done(numbers::as_program(|| own(c))),
        libc::RLIMIT_AS | libc::RLIMIT_DATA if sets => {
            let ret = own(c);
            c.hub.call(c.guest, heap_reserve::fit);
            Outcome::Done(ret)
        }
        libc::RLIMIT_NPROC if sets => {
            let ret = own(c);
            most::look();
            Outcome::Done(ret)
        }
        _ => Outcome::Done(own(c)),
    }
}

/// kcmp(2), which names two.
///
/// # Safety
/// As [`first`].
pub unsafe fn kcmp(c: &mut Call<'_>) -> Outcome {
    with_process(c, &[0, 1])
}

/// migrate_pages(2) and move_pages(2), whose first argument is an id too.
///
/// # Safety
/// As [`first`].
pub unsafe fn pages(c: &mut Call<'_>) -> Outcome {
    if is_guest(c, c.a[0]) {
        c.a[0] = c.hub.pid.get() as u64;
    }
    offloaded::hand_over(c)
}

/// setpgid(2) and pidfd_open(2): not for a thread that is not its process's first. (With
/// PIDFD_THREAD a kernel of 6.9 has a descriptor for it; there is none for a guest.)
///
/// # Safety
/// As [`first`].
pub unsafe fn leader_only(c: &mut Call<'_>) -> Outcome {
    if is_guest(c, c.a[0]) {
        Outcome::Done(err(libc::EINVAL))
    } else {
        Outcome::Native
    }
}

/// The header of capget(2) and capset(2): a version, and a thread's id.
type Header = [u32; 2];

/// The header that the call names; `None` where the kernel would find a bad address.
fn header(c: &Call<'_>) -> Option<Header> {
    // SAFETY: the program's own pointer, which the kernel would read.
    unsafe { raw::get(c.a[0]) }.ok()
}

/// Makes the call by `make` with a header of ours about thread `id`.
fn with_header(
    c: &mut Call<'_>,
    theirs: Header,
    id: u32,
    make: impl FnOnce(&mut Call<'_>) -> Outcome,
) -> Outcome {
    let [version, _] = theirs;
    let mut ours = [version, id];
    let to = c.a[0];
    c.a[0] = ours.as_mut_ptr() as u64;
    let outcome = make(c);
    // For a version that it does not know the kernel writes one it knows.
    // SAFETY: the kernel may have written it.
    let now = unsafe { ours.as_ptr().read_volatile() };
    // SAFETY: the program's own pointer.
    if now != version && unsafe { raw::put(to, now) }.is_err() {
        return Outcome::Done(err(libc::EFAULT));
    }
    outcome
}

/// capget(2): every guest has the capabilities of the kernel thread.
///
/// # Safety
/// As [`first`].
pub unsafe fn capget(c: &mut Call<'_>) -> Outcome {
    match header(c) {
        Some(theirs) if is_guest(c, theirs[1].into()) => with_header(c, theirs, 0, |c| {
            // SAFETY: the guest's own call, with a header of ours.
            Outcome::Done(unsafe { arch::syscall(c.frame.rax, c.a) })
        }),
        _ => Outcome::Native,
    }
}

/// An id that is no thread's.
const NOBODY: u32 = u32::MAX;

/// capset(2): of the caller alone, whatever the kernel's id is of the thread it is on.
///
/// # Safety
/// As [`first`].
pub unsafe fn capset(c: &mut Call<'_>) -> Outcome {
    let theirs = header(c);
    let tid = c.guest.tid.get() as u32;
    match theirs {
        Some(theirs @ [_, id]) => {
            let id = if id == 0 || id == tid { 0 } else { NOBODY };
            // SAFETY: the guest's own call, with a header of ours.
            with_header(c, theirs, id, |c| unsafe { thread::credentials(c) })
        }
        // SAFETY: the guest's own call.
        None => unsafe { thread::credentials(c) },
    }
}
