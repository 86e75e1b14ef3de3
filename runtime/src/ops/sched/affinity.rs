//! The CPUs that a guest may run on.
#![allow(unsafe_code)]

use super::super::{Call, Outcome};
use super::{fail, native, target};
use crate::arch::{self, syscall3};
use crate::guest::sched::{CPUS, CpuSet, SET, Scheduling, kernel_thread};

pub(super) fn affinity_of_kernel_thread() -> CpuSet {
    let mut set = [0; CPUS / 64];
    // SAFETY: about the calling thread, into a set of ours.
    unsafe {
        syscall3(
            libc::SYS_sched_getaffinity,
            0,
            SET as u64,
            set.as_mut_ptr() as u64,
        )
    };
    set
}

fn set_affinity_of_kernel_thread(set: &CpuSet) {
    // SAFETY: about the calling thread, from a set of ours.
    unsafe {
        syscall3(
            libc::SYS_sched_setaffinity,
            0,
            SET as u64,
            set.as_ptr() as u64,
        )
    };
}

/// The CPUs that the process may use at all (its cpuset): nothing says so but a change
/// to all of them, which moves nobody.
pub(super) fn allowed() -> CpuSet {
    let present = affinity_of_kernel_thread();
    set_affinity_of_kernel_thread(&[u64::MAX; CPUS / 64]);
    let all = affinity_of_kernel_thread();
    set_affinity_of_kernel_thread(&present);
    all
}

/// sched_setaffinity(2).
///
/// # Safety
/// As [`setscheduler`](super::setscheduler).
pub unsafe fn setaffinity(c: &mut Call<'_>) -> Outcome {
    let Some(guest) = target(c, c.a[0] as i32) else {
        return native(c, c.a[0] as i32, Scheduling::take_cpus);
    };
    let mut set: CpuSet = [0; CPUS / 64];
    let len = (c.a[1] as u32 as usize).min(SET);
    // SAFETY: the program's own pointer, which the kernel would read.
    if !unsafe { arch::copy(set.as_mut_ptr().cast(), c.a[2] as *const u8, len) } {
        return fail(libc::EFAULT);
    }
    for (word, allowed) in set.iter_mut().zip(allowed()) {
        *word &= allowed;
    }
    if set.iter().all(|&word| word == 0) {
        return fail(libc::EINVAL);
    }
    guest.sched.set_cpus(&set);
    Outcome::Done(0)
}

/// sched_getaffinity(2).
///
/// # Safety
/// As [`setscheduler`](super::setscheduler).
pub unsafe fn getaffinity(c: &mut Call<'_>) -> Outcome {
    let Some(guest) = target(c, c.a[0] as i32) else {
        return Outcome::Native;
    };
    let mut a = c.a;
    a[0] = kernel_thread();
    // SAFETY: the guest's own call about a thread of ours.
    let ret = unsafe { arch::syscall(c.frame.rax, a) };
    if let Some(set) = guest.sched.cpus()
        && ret > 0
    {
        let len = (ret as usize).min(SET);
        // SAFETY: the program's own pointer, to which the kernel just wrote so much.
        if !unsafe { arch::copy(c.a[2] as *mut u8, set.as_ptr().cast(), len) } {
            return fail(libc::EFAULT);
        }
    }
    Outcome::Done(ret)
}
