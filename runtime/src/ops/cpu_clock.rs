//! Calls about the CPU time of threads.
//!
//! The kernel knows one thread where the program sees many, and no guest's id: clocks of
//! guests are answered from what the hub has [counted](crate::cpu_time), all others by the
//! kernel. What the kernel itself is to measure by a guest's clock (a timer), it measures
//! by the kernel thread's.
#![allow(unsafe_code)]

use super::{Call, Outcome};
use crate::arch::{self, syscall2};
use crate::guest::Guest;
use crate::hub::{Hub, processor};
use crate::raw::{self, err};

/// In the id of a clock that counts CPU time, below the complement of a thread's or
/// process's id: it is a thread's; and what is counted (kernel: posix-timers_types.h).
const OF_THREAD: i32 = 4;
const WHAT: i32 = 3;
/// What is counted by a clock that reads a descriptor.
const OF_DESCRIPTOR: i32 = 3;

/// The guest whose CPU time the clock `id` counts.
pub(super) fn guest_of(hub: &Hub, caller: &'static Guest, id: i32) -> Option<&'static Guest> {
    if id == libc::CLOCK_THREAD_CPUTIME_ID {
        return Some(caller);
    }
    if id >= 0 || id & OF_THREAD == 0 || id & WHAT == OF_DESCRIPTOR {
        return None;
    }
    match !(id >> 3) {
        0 => Some(caller),
        tid => hub.find(tid),
    }
}

/// The clock by which the kernel knows `id`: a guest's is the kernel thread's own.
pub(super) fn for_the_kernel(c: &Call<'_>, id: i32) -> i32 {
    if id < 0 && guest_of(c.hub, c.guest, id).is_some() {
        !0 << 3 | id & (OF_THREAD | WHAT)
    } else {
        id
    }
}

/// The clock for a timer by the clock `id`: with several hubs a guest's time passes on any of
/// their kernel threads, and only the process's passes with all of them.
pub(super) fn for_a_timer(c: &Call<'_>, id: i32) -> i32 {
    if processor::several() && guest_of(c.hub, c.guest, id).is_some() {
        libc::CLOCK_PROCESS_CPUTIME_ID
    } else {
        for_the_kernel(c, id)
    }
}

/// Nanoseconds of CPU time that `guest` has used, for `caller`, which runs.
pub(super) fn used(caller: &Guest, guest: &Guest) -> u64 {
    let here = processor::here();
    if core::ptr::eq(caller, guest) {
        return here.cpu.read_own(&guest.cpu);
    }
    let mut others = processor::each().iter();
    match others.find(|other| core::ptr::eq(other.current.get(), guest)) {
        Some(there) => there.cpu.read_running(&guest.cpu, there.kernel_tid()),
        None => here.cpu.read(&guest.cpu),
    }
}

/// clock_gettime(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn clock_gettime(c: &mut Call<'_>) -> Outcome {
    let Some(guest) = guest_of(c.hub, c.guest, c.a[0] as i32) else {
        return Outcome::Native;
    };
    let now = raw::ns_timespec(used(c.guest, guest));
    // SAFETY: the guest's own argument, which the kernel would write.
    let written = unsafe { raw::put(c.a[1], now) };
    Outcome::Done(written.err().unwrap_or(0))
}

/// clock_getres(2) and clock_settime(2): the kernel's answers, for a clock that it knows.
///
/// # Safety
/// As [`clock_gettime`].
pub unsafe fn clock_about(c: &mut Call<'_>) -> Outcome {
    let id = c.a[0] as i32;
    let known = for_the_kernel(c, id);
    if known == id {
        return Outcome::Native;
    }
    // SAFETY: the guest's own call, about another clock.
    Outcome::Done(unsafe { syscall2(c.frame.rax as i64, known as u64, c.a[1]) })
}

/// getrusage(2): the times of a thread are the guest's, the rest is the kernel thread's.
///
/// # Safety
/// As [`clock_gettime`].
pub unsafe fn getrusage(c: &mut Call<'_>) -> Outcome {
    if c.a[0] as i32 != libc::RUSAGE_THREAD {
        return Outcome::Native;
    }
    // SAFETY: all zero is a valid one.
    let mut usage: libc::rusage = unsafe { core::mem::zeroed() };
    // SAFETY: the kernel writes a variable of ours.
    let ret = unsafe { syscall2(libc::SYS_getrusage, c.a[0], &raw mut usage as u64) };
    if ret != 0 {
        return Outcome::Done(ret);
    }
    let total = used(c.guest, c.guest);
    let (user, system) = c
        .guest
        .cpu
        .split(total, ns(usage.ru_utime), ns(usage.ru_stime));
    usage.ru_utime = timeval(user);
    usage.ru_stime = timeval(system);
    // SAFETY: the guest's own buffer, which the kernel would write.
    let copied = unsafe {
        arch::copy(
            c.a[1] as *mut u8,
            (&raw const usage).cast(),
            size_of::<libc::rusage>(),
        )
    };
    Outcome::Done(if copied { 0 } else { err(libc::EFAULT) })
}

fn ns(time: libc::timeval) -> u64 {
    time.tv_sec as u64 * raw::NS_PER_S + time.tv_usec as u64 * 1000
}

fn timeval(ns: u64) -> libc::timeval {
    libc::timeval {
        tv_sec: (ns / raw::NS_PER_S) as i64,
        tv_usec: (ns % raw::NS_PER_S / 1000) as i64,
    }
}
