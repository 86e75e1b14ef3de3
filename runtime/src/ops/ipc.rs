//! System V semaphores and message queues, POSIX message queues.
//!
//! When the try would wait, a thread of the pool waits in the kernel: it gives a message
//! or a semaphore to who waited first, before somebody else can take it. (That a POSIX
//! queue is readable would be known without a thread, but too late for that.)
#![allow(unsafe_code)]

use super::offloaded::{wait, wait_untried};
use super::{Call, Outcome};
use crate::arch::{self, syscall};
use crate::raw::{self, err};

const NOWAIT: u64 = libc::IPC_NOWAIT as u64;

/// msgsnd(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn msgsnd(c: &mut Call<'_>) -> Outcome {
    let [queue, message, size, flags, ..] = c.a;
    if flags & NOWAIT != 0 {
        return Outcome::Native;
    }
    wait(c, || {
        let args = [queue, message, size, flags | NOWAIT, 0, 0];
        // SAFETY: the guest's own call, not waiting.
        let ret = unsafe { syscall(libc::SYS_msgsnd as u64, args) };
        (ret != err(libc::EAGAIN)).then_some(ret)
    })
}

/// msgrcv(2).
///
/// # Safety
/// As [`msgsnd`].
pub unsafe fn msgrcv(c: &mut Call<'_>) -> Outcome {
    let [queue, message, size, kind, flags, _] = c.a;
    if flags & NOWAIT != 0 {
        return Outcome::Native;
    }
    wait(c, || {
        let args = [queue, message, size, kind, flags | NOWAIT, 0];
        // SAFETY: the guest's own call, not waiting.
        let ret = unsafe { syscall(libc::SYS_msgrcv as u64, args) };
        (ret != err(libc::ENOMSG)).then_some(ret)
    })
}

/// The kernel's `struct sembuf`: number, operation, flags.
type Sembuf = [u16; 3];

/// Operations that are tried; more than these wait in the pool at once.
const TRIED: usize = 64;

/// semop(2) and semtimedop(2).
///
/// # Safety
/// As [`msgsnd`].
pub unsafe fn semop(c: &mut Call<'_>) -> Outcome {
    let [set, operations, count, timeout, ..] = c.a;
    let mut tries = [Sembuf::default(); TRIED];
    let count = count as u32 as usize;
    if count == 0 {
        return Outcome::Native;
    }
    let Some(tries) = tries.get_mut(..count) else {
        return wait_untried(c);
    };
    // SAFETY: our array; the guest's own argument.
    let readable = unsafe {
        arch::copy(
            tries.as_mut_ptr().cast(),
            operations as *const u8,
            size_of_val(tries),
        )
    };
    let nowait = NOWAIT as u16;
    let patient = tries.iter().filter(|try_| try_[2] & nowait == 0).count();
    if !readable || patient == 0 {
        return Outcome::Native;
    }
    if patient < count {
        // Which of them would wait decides whether the call does.
        return wait_untried(c);
    }
    for try_ in tries.iter_mut() {
        try_[2] |= nowait;
    }
    let nr = c.frame.rax;
    let mut end = None;
    if nr as i64 == libc::SYS_semtimedop && timeout != 0 {
        // SAFETY: the guest's own argument; what is wrong with it the try tells.
        let span = unsafe { raw::get(timeout) }.map(|ts| raw::timespec_ns(&ts));
        end = span.ok().flatten().map(|ns| raw::now().saturating_add(ns));
    }
    wait(c, || {
        let args = [set, tries.as_ptr() as u64, count as u64, timeout, 0, 0];
        // SAFETY: operations of ours, not waiting; the guest's own time-out.
        let ret = unsafe { syscall(nr, args) };
        let over = end.is_some_and(|end| end <= raw::now());
        (ret != err(libc::EAGAIN) || over).then_some(ret)
    })
}

/// mq_timedsend(2) and mq_timedreceive(2).
///
/// # Safety
/// As [`msgsnd`].
pub unsafe fn posix_queue(c: &mut Call<'_>) -> Outcome {
    let [queue, message, size, priority, timeout, _] = c.a;
    let mut end = None;
    if timeout != 0 {
        // SAFETY: the guest's own argument, which the kernel would read.
        match unsafe { raw::get(timeout) }.map(|ts| raw::timespec_ns(&ts)) {
            Ok(Some(ns)) => end = Some(ns),
            Ok(None) => return Outcome::Done(err(libc::EINVAL)),
            Err(e) => return Outcome::Done(e),
        }
    }
    let past = raw::ns_timespec(0);
    wait(c, || {
        let timeout = &raw const past as u64;
        let args = [queue, message, size, priority, timeout, 0];
        // SAFETY: the guest's own call, which ends at once.
        let ret = unsafe { syscall(c.frame.rax, args) };
        let over = end.is_some_and(|end| end <= raw::clock(libc::CLOCK_REALTIME));
        (ret != err(libc::ETIMEDOUT) || over).then_some(ret)
    })
}
