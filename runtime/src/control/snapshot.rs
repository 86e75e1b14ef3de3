//! What the hub copies of its guests when somebody asks.
//!
//! # Synchronization
//! One request at a time: who asks holds [`ASKING`], which neither the hub nor a guest
//! ever takes. The request belongs to the hub from when that takes its pointer out of
//! `Hub::mail` until it sets [`DONE`]; who asks may take the pointer back until then.
//! A sleeping hub looks at its mailbox between the publication of `sleeping` and the
//! sleep, as it does at its inbox.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use super::wire::{GuestState, HubState, Snapshot, What};
use crate::arch::{syscall, syscall3, syscall4};
use crate::guest::{Guest, State};
use crate::hub::{Hub, Processor, hub, processor};
use crate::monitor;
use crate::raw::{self, NS_PER_S};
use crate::trace::sample;

/// What is asked, and room for the answer.
#[derive(Debug)]
pub struct Request {
    /// Bytes to copy from the top of each guest's stack.
    stack: usize,
    answer: Snapshot,
}

static ASKING: Mutex<()> = Mutex::new(());
static DONE: AtomicU32 = AtomicU32::new(0);

/// How long a hub may take before it is asked with a signal, in nanoseconds.
const PATIENCE: u64 = 2_000_000;
/// How long a hub that stands still is waited for.
const LIMIT: u64 = NS_PER_S;

/// Asks the hub. For kernel threads of our own. `None`: the
/// hub stands still, in a call that it can't see.
pub fn take(stack: usize) -> Option<Snapshot> {
    let _alone = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
    let hub = hub();
    let guests = hub.count() + hub.count() / 8 + 16;
    let mut request = Request {
        stack,
        answer: Snapshot::default(),
    };
    // So that the hub need not ask the kernel for memory.
    request.answer.guests.reserve(guests);
    request
        .answer
        .stacks
        .reserve(guests.saturating_mul(stack.min(1 << 14)));
    DONE.store(0, Ordering::Relaxed);
    let asked: *mut Request = &raw mut request;
    hub.mail.store(asked, Ordering::SeqCst);
    hub.notify();
    let begin = raw::now();
    loop {
        wait(PATIENCE);
        if DONE.load(Ordering::Acquire) == 1 {
            return Some(request.answer);
        }
        if raw::now() - begin > LIMIT {
            let back = hub.mail.compare_exchange(
                asked,
                ptr::null_mut(),
                Ordering::SeqCst,
                Ordering::SeqCst,
            );
            if back.is_ok() {
                return None;
            }
            // The hub has it, and is copying.
            while DONE.load(Ordering::Acquire) == 0 {
                wait(PATIENCE);
            }
            return Some(request.answer);
        }
        hub.urge();
    }
}

/// Until the hub is done, or for so many nanoseconds.
fn wait(ns: u64) {
    let timeout = raw::ns_timespec(ns);
    // SAFETY: a word and a time span of ours.
    unsafe {
        syscall4(
            libc::SYS_futex,
            DONE.as_ptr() as u64,
            (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as u64,
            0,
            &raw const timeout as u64,
        )
    };
}

/// Host context: answers the request in the hub's mailbox.
pub fn answer(hub: &Hub) {
    let request = hub.mail.swap(ptr::null_mut(), Ordering::SeqCst);
    // SAFETY: who asked keeps it until DONE is set.
    let Some(request) = (unsafe { request.as_mut() }) else {
        return;
    };
    fill(hub, request);
    DONE.store(1, Ordering::Release);
    // SAFETY: a wake needs a valid address only.
    unsafe {
        syscall3(
            libc::SYS_futex,
            DONE.as_ptr() as u64,
            (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64,
            1,
        )
    };
}

fn fill(hub: &Hub, request: &mut Request) {
    let answer = &mut request.answer;
    answer.hub = HubState {
        pid: hub.pid.get(),
        now: raw::now(),
        switches: hub.switches(),
        // SAFETY: the host context, and the reference ends with the statement.
        reactor: unsafe { hub.reactor() }.name().to_owned(),
    };
    for guest in hub.guests() {
        let mut state = state_of(guest);
        let from = answer.stacks.len();
        if state.what == What::Running {
            copy_running(guest, &mut state, request.stack, &mut answer.stacks);
        } else {
            copy_memory(state.sp, request.stack, &mut answer.stacks);
        }
        state.stack = from..answer.stacks.len();
        answer.guests.push(state);
    }
}

fn state_of(guest: &Guest) -> GuestState {
    let mut state = GuestState {
        tid: guest.tid.get(),
        name: guest.name.get(),
        since: guest.since.get(),
        ..GuestState::default()
    };
    if guest.state.get() == State::Running {
        state.what = What::Running;
        return state;
    }
    // SAFETY: null, or the frame of the call the guest is in, on its own stack. A
    // guest that gives way is in none.
    let frame = unsafe { guest.frame.get().as_ref() }.filter(|_| !guest.giving_way.get());
    state.what = match guest.state.get() {
        State::Parked => What::Waits,
        _ if guest.giving_way.get() => What::Preempted,
        _ => What::Runnable,
    };
    match frame {
        Some(frame) => {
            state.nr = frame.rax;
            state.args = frame.args();
            (state.ip, state.sp, state.fp) = (frame.ra, frame.rsp, frame.rbp);
        }
        None => {
            // SAFETY: the context of a guest that doesn't run: what `switch` pushed.
            let [fp, ip] = unsafe {
                let rsp = (*guest.ctx.get()).rsp;
                state.sp = rsp + 64;
                *((rsp + 48) as *const [u64; 2])
            };
            (state.ip, state.fp) = (ip, fp);
        }
    }
    state
}

/// Where a guest is that runs on another processor, unless it waits there to make a call, or
/// is in one that we do not see: a signal would end it.
fn copy_running(guest: &Guest, state: &mut GuestState, len: usize, to: &mut Vec<u8>) {
    let runs_it = |processor: &&Processor| ptr::eq(processor.current.get(), guest);
    let Some(processor) = processor::each().iter().find(runs_it) else {
        return;
    };
    if len == 0 || processor.in_shim() || !monitor::is_running(processor) {
        return;
    }
    if let Some(sample) = sample::of_running(processor.kernel_tid()) {
        (state.ip, state.sp, state.fp) = (sample.ip, sample.sp, sample.fp);
        to.extend(sample.stack.iter().take(len));
    }
}

/// Appends up to `len` bytes from `address` on: fewer where that is not mapped.
fn copy_memory(address: u64, len: usize, to: &mut Vec<u8>) {
    if len == 0 {
        return;
    }
    to.reserve(len);
    // SAFETY: no arguments.
    let pid = unsafe { crate::arch::syscall0(libc::SYS_getpid) } as u64;
    let local = [to.spare_capacity_mut().as_mut_ptr() as u64, len as u64];
    // By pages: a transfer stops at the first part that can't be read.
    let mut remote = [[0u64; 2]; PARTS];
    let (mut at, mut left, mut parts) = (address, len as u64, 0);
    while left > 0 && parts < PARTS {
        let part = left.min(PAGE - at % PAGE);
        remote[parts] = [at, part];
        (at, left, parts) = (at.wrapping_add(part), left - part, parts + 1);
    }
    // SAFETY: writes to the spare capacity; reads whatever is mapped, or fails.
    let copied = unsafe {
        syscall(
            libc::SYS_process_vm_readv as u64,
            [
                pid,
                local.as_ptr() as u64,
                1,
                remote.as_ptr() as u64,
                parts as u64,
                0,
            ],
        )
    };
    if copied > 0 {
        // SAFETY: that many bytes were written there.
        unsafe { to.set_len(to.len() + copied as usize) };
    }
}

const PAGE: u64 = 4096;
/// Pages of a stack that can be copied.
const PARTS: usize = 65;
/// Bytes of a stack that can be copied.
pub const STACK_MAX: usize = (PARTS - 1) * PAGE as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_copied_as_far_as_it_is_mapped() {
        let page = PAGE as usize;
        let at = raw::reserve(4 * page).unwrap();
        // SAFETY: three pages of a new mapping; the last one is closed.
        unsafe {
            core::slice::from_raw_parts_mut(at, 3 * page).fill(7);
            syscall3(libc::SYS_mprotect, at as u64 + 3 * PAGE, PAGE, 0);
        }
        let mut to = vec![1];
        copy_memory(at as u64 + PAGE + 5, 4 * page, &mut to);
        assert_eq!(to.len(), 1 + 2 * page - 5);
        assert!(to[1..].iter().all(|&byte| byte == 7));
        copy_memory(0x1000, 64, &mut to);
        copy_memory(u64::MAX - 10, 64, &mut to);
        assert_eq!(to.len(), 1 + 2 * page - 5);
    }
}
