//! Waiting for locks of files: flock, record locks, open file description locks.
//!
//! The try does not wait; the wait is the kernel's own, on a thread of the pool, so
//! that it sees the order of waiters and the deadlocks between processes
//! (`EDEADLK`). Record locks belong to the process, whose locks the pool's threads
//! share.
#![allow(unsafe_code)]

use super::offloaded::wait;
use super::{Call, Outcome};
use crate::arch::{syscall2, syscall3};
use crate::raw::err;

/// A result of a try, if it is the answer.
fn unless_held(ret: i64) -> Option<i64> {
    (ret != err(libc::EAGAIN) && ret != err(libc::EACCES)).then_some(ret)
}

/// flock(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn flock(c: &mut Call<'_>) -> Outcome {
    let [fd, operation, ..] = c.a;
    if operation & (libc::LOCK_NB | libc::LOCK_UN) as u64 != 0 {
        return Outcome::Native;
    }
    wait(c, || {
        // SAFETY: no pointers.
        unless_held(unsafe { syscall2(libc::SYS_flock, fd, operation | libc::LOCK_NB as u64) })
    })
}

/// fcntl(2) with F_SETLKW or F_OFD_SETLKW; `None` for other commands.
///
/// # Safety
/// As [`flock`].
pub unsafe fn record(c: &Call<'_>) -> Option<Outcome> {
    let [fd, command, lock, ..] = c.a;
    let now = match command as i32 {
        libc::F_SETLKW => libc::F_SETLK,
        libc::F_OFD_SETLKW => libc::F_OFD_SETLK,
        _ => return None,
    };
    Some(wait(c, || {
        // SAFETY: the guest's own lock, which the kernel checks.
        unless_held(unsafe { syscall3(libc::SYS_fcntl, fd, now as u64, lock) })
    }))
}
