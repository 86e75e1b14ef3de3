//! Calls of the kernel's that name a thread by its id.
//!
//! A guest's id means nothing to the kernel. What the kernel would answer for a thread
//! of the caller's process is what it answers for the process, or for the calling
//! thread: so the id is put in its place.
#![allow(unsafe_code)]

use super::{Call, Outcome};
use crate::arch;
use crate::raw::err;

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

/// Calls whose first argument is an id: prlimit64(2), getpgid(2), getsid(2), kill(2),
/// rt_sigqueueinfo(2), process_vm_readv(2), process_vm_writev(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn first(c: &mut Call<'_>) -> Outcome {
    with_process(c, &[0])
}

/// kcmp(2), which names two.
///
/// # Safety
/// As [`first`].
pub unsafe fn kcmp(c: &mut Call<'_>) -> Outcome {
    with_process(c, &[0, 1])
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

/// capget(2): every guest has the capabilities of the kernel thread.
///
/// # Safety
/// As [`first`].
pub unsafe fn capget(c: &mut Call<'_>) -> Outcome {
    let mut header = [0u32; 2];
    // SAFETY: the program's own pointer, which the kernel would read.
    let read = unsafe { arch::copy(header.as_mut_ptr().cast(), c.a[0] as *const u8, 8) };
    if !read || !is_guest(c, header[1] as u64) {
        return Outcome::Native;
    }
    header[1] = 0;
    let mut a = c.a;
    a[0] = header.as_mut_ptr() as u64;
    // SAFETY: the guest's own call, with a header of ours.
    let ret = unsafe { arch::syscall(c.frame.rax, a) };
    // For a version that it does not know the kernel writes one it knows.
    // SAFETY: the program's own pointer.
    if ret != 0 && !unsafe { arch::copy(c.a[0] as *mut u8, header.as_ptr().cast(), 4) } {
        return Outcome::Done(err(libc::EFAULT));
    }
    Outcome::Done(ret)
}
