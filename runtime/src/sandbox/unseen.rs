//! Whether there is a filter of system calls, and one kernel thread, where no /proc tells.
//!
//! prctl(2) says whether there is a filter. unshare(2) with CLONE_THREAD alone does nothing, and
//! fails where the process has other kernel threads. A filter may kill for either call, so a child
//! asks first. Where there is a filter, or the child could not be asked, nothing is known: its
//! number of threads cannot be had, nor whether it was there at load ([`inherited`]), and the
//! program runs bare.
//!
//! # Synchronization
//! Written once, by the thread that starts the hub, before another one of ours runs.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::inherited::{self, NO_FD};
use crate::arch::{self, syscall1, syscall2, syscall4};
use crate::raw;

/// There is none.
static NONE: AtomicBool = AtomicBool::new(false);

/// What a child has found out, in memory that it shares: bits.
const NO_FILTER: u32 = 1;
const MAY_BE_WAITED_FOR: u32 = 2;

/// What a child does.
fn ask(told: &AtomicU32) {
    // A kernel without filters does not know the question.
    // SAFETY: calls without an effect, and without a child to wait for.
    unsafe {
        let mode = syscall1(libc::SYS_prctl, libc::PR_GET_SECCOMP as u64);
        if mode == 0 || mode == raw::err(libc::EINVAL) {
            told.fetch_or(NO_FILTER, Ordering::Relaxed);
        }
        syscall4(libc::SYS_wait4, u64::MAX, 0, libc::WNOHANG as u64, 0);
    }
    told.fetch_or(MAY_BE_WAITED_FOR, Ordering::Relaxed);
}

/// The program makes its first thread with clone3(2), for which no filter kills therefore. Every
/// signal must be blocked.
pub(super) fn look() {
    let access = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let flags = (libc::MAP_SHARED | libc::MAP_ANONYMOUS) as u64;
    let len = size_of::<AtomicU32>() as u64;
    // SAFETY: a new mapping.
    let shared = unsafe { arch::syscall(libc::SYS_mmap as u64, [0, len, access, flags, NO_FD, 0]) };
    if (-4095..0).contains(&shared) {
        return;
    }
    // SAFETY: the mapping, which is zero at first and stays until the end of this function.
    let told = unsafe { &*(shared as *const AtomicU32) };
    // SAFETY: the copy makes system calls alone.
    let child = unsafe { inherited::copy(|| ask(told)) };
    let told = told.load(Ordering::Relaxed);
    if let Some(child) = child
        && told & MAY_BE_WAITED_FOR != 0
    {
        inherited::bury(child);
        NONE.store(told & NO_FILTER != 0, Ordering::Relaxed);
    }
    // SAFETY: the mapping of above, which nobody uses any more.
    unsafe { syscall2(libc::SYS_munmap, shared as u64, len) };
}

/// Whether the calling thread is the only one of the process, if that is known.
pub fn is_alone() -> Option<bool> {
    if !NONE.load(Ordering::Relaxed) {
        return None;
    }
    // SAFETY: no pointers, and no effect.
    match unsafe { syscall1(libc::SYS_unshare, libc::CLONE_THREAD as u64) } {
        0 => Some(true),
        error if error == raw::err(libc::EINVAL) => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_beside_others_is_not_alone() {
        look();
        let alone = std::thread::spawn(is_alone).join().unwrap();
        assert_eq!(alone, Some(false));
    }

    #[test]
    fn a_process_of_one_thread_is_alone() {
        look();
        // SAFETY: the child makes system calls alone.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::_exit(i32::from(is_alone() == Some(true)));
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            assert_eq!(libc::WEXITSTATUS(status), 1);
        }
    }
}
