//! Rescue: the guests of a kernel thread that is blocked in the kernel go on on another one.
//!
//! # Policy
//! A guest parks where the hub carries its wait out. Some waits it does not see: a page fault
//! that userfaultfd(2), FUSE or NFS answers, a system call in code that was not patched, and a
//! call that runs unmodified (keyctl(2), ioctl(2), the parent of a vfork). Then the kernel thread
//! sleeps with the guest, and with it the run queue, the timers and the reactor; if the one who
//! is to answer is a guest too, for ever.
//!
//! So the [`monitor`], which looks at each processor once a quantum, hands the others over, as
//! Go's sysmon takes the P of a blocked M: *their guest keeps its kernel thread*, on which its
//! call goes on and returns as it would bare; the hub goes on on a *spare*, a further processor
//! that is started when the first rescue needs it, and never in a program that needs none. A
//! processor whose guests others run is *out*.
//!
//! It is tried when a processor has switched to nobody for [`MOMENT`] at least ([`FIRST_MOMENT`]
//! if a kernel thread is to be made), its kernel thread sleeps, and not in our code. With one hub
//! somebody must also have something to do: a guest is runnable, a deadline has passed, the
//! reactor has an event, a signal or a question arrived. Only with `GEVENT_SHIM_RESCUE=1`, and never
//! with `GEVENT_SHIM_PREEMPT=0`, by which threads change where they wait and nowhere else.
//!
//! ## One guest at a time
//! With `GEVENT_SHIM_HUBS=1` guests never run at the same time, and that stays so: after a rescue
//! there are several processors in *exclusive* mode. The [giant lock](super::giant) then is not
//! given back where a guest's own code goes on, so whoever holds it is the hub. It changes hands
//! - where a processor sleeps;
//! - where a processor that waits for it finds the holder between two guests (`hand_on`);
//! - by the monitor, which gives it back *for* a holder that is blocked. That one has to take it
//!   again where its guest next enters our code.
//!
//! Between the return of a blocked call and that entry the guest's code runs beside the hub. The
//! monitor looks for that once [`OUT`] and sends its signal, whose handler enters our code. (To
//! send it while the call lasts would end calls that bare lasts on, and take a page fault away
//! from who is about to read of it.)
//!
//! With several hubs guests run in parallel anyway: a processor is added when all are blocked,
//! and the guests that run on a blocked one alone may run elsewhere meanwhile.
//!
//! ## The reactor
//! A ring of one hub belongs to the kernel thread that made it (SINGLE_ISSUER), and what waits in
//! it completes there (DEFER_TASKRUN): nothing of it happens while that thread is blocked, and
//! nothing of it can be handed over. So the hub waits with epoll from its first rescue on, and
//! the ring is closed without being entered again: the kernel cancels what is in it, and each
//! guest goes on as if it had not been accepted, by readiness. An operation that cannot be
//! repeated (fsync, rename, a read from a disk) keeps the ring until the kernel thread is back.
//!
//! ## What forbids it
//! The spare is made by the monitor, and has what that has. Where the program has changed what
//! belongs to a kernel thread (credentials, namespaces, filters of system calls), or calls are
//! caught for one kernel thread, there is no rescue, and one event says so.
//!
//! # Synchronization
//! The entry into our code makes no atomic operation and no call for this: it sets `in_shim` and
//! then looks at [`processor::is_shared`], as the monitor sets that and the baton and then looks
//! at `in_shim`. Such a pair needs a barrier on both sides; the entry's is the kernel's: between
//! its two looks at the processor the monitor has seen that its kernel thread is not on a CPU.
//! Where a thread goes to sleep it makes its stores visible before its state, and where it wakes
//! it passes a barrier before its next load. So either the monitor sees `in_shim` and takes
//! everything back, or the guest sees the baton. While the baton is `ASKED` who enters waits, and
//! the monitor alone touches the hub.
#![allow(unsafe_code)]

mod baton;
#[cfg(test)]
mod interleavings;
mod sync;

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc;

use patch_events::events;

use super::giant::GIANT;
use super::{Hub, Processor, processor};
use crate::arch::{self, syscall0, syscall3, syscall4};
use crate::catch;
use crate::host::HOST_WORD;
use crate::libc_threads;
use crate::monitor;
use crate::offload;
use crate::proc_files;
use crate::raw;
use crate::sandbox;
use crate::signal;
pub(super) use baton::Baton;

/// How long a processor has switched to nobody before its guests are handed over, in
/// nanoseconds: where another one is there to take them, and where there is not.
const MOMENT: u64 = 1_000_000;
const FIRST_MOMENT: u64 = 20_000_000;

/// Interval between two looks at a processor that is out, in nanoseconds.
pub const OUT: u64 = 1_000_000;

/// How long the monitor waits before it tries again to make a kernel thread, in nanoseconds.
const RETRY: u64 = 1_000_000_000;

const WAIT: u64 = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as u64;
const WAKE: u64 = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64;

/// The program has changed what belongs to a kernel thread.
static CHANGED: AtomicBool = AtomicBool::new(false);
/// That has been told.
static TOLD: AtomicBool = AtomicBool::new(false);
/// When a kernel thread can be asked for again.
static NOT_BEFORE: AtomicU64 = AtomicU64::new(0);

/// The program changes what belongs to a kernel thread: those that exist already are seen to,
/// but the monitor makes no further ones.
pub fn forbid() {
    CHANGED.store(true, Ordering::SeqCst);
}

/// A monitor begins, which has what its maker has. In a forked child nothing of the parent's goes
/// on.
pub fn begin() {
    CHANGED.store(false, Ordering::SeqCst);
    NOT_BEFORE.store(0, Ordering::SeqCst);
}

/// Why there can be no spare, if so.
fn refusal() -> Option<&'static str> {
    if sandbox::is_on() {
        Some("a filter of system calls is of one kernel thread")
    } else if catch::is_wanted() {
        Some("calls are caught on one kernel thread alone")
    } else if CHANGED.load(Ordering::SeqCst) {
        Some("what belongs to a kernel thread was changed")
    } else if processor::each().len() == processor::MAX {
        Some("there can be no further hubs")
    } else {
        None
    }
}

/// What a spare is told.
static GO: AtomicU32 = AtomicU32::new(0);
const STARTS: u32 = 1;
const ENDS: u32 = 2;

/// Tells the spare that waits.
fn tell_spare(what: u32) {
    GO.store(what, Ordering::SeqCst);
    // SAFETY: a wake needs a valid address only.
    unsafe { syscall3(libc::SYS_futex, GO.as_ptr() as u64, WAKE, 1) };
}

/// Bytes of a host context's stack.
const STACK: usize = 512 << 10;

/// Makes the kernel thread of `processor`, which waits to be told. Its thread pointer. By the
/// monitor, while nobody waits for it: libc may take locks that a guest has.
fn make_spare(processor: &'static Processor) -> Option<u64> {
    GO.store(0, Ordering::SeqCst);
    let (ready, outcome) = mpsc::channel();
    offload::begin_thread_making();
    let spawned = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            let thread_pointer = arch::fs_base();
            // SAFETY: no arguments.
            processor.set_kernel_tid(unsafe { syscall0(libc::SYS_gettid) } as i32);
            // A program's last thread is its last, whatever we run beside it.
            libc_threads::discount(1);
            // The monitor waits.
            let _ = ready.send(thread_pointer);
            drop(ready);
            while GO.load(Ordering::SeqCst) == 0 {
                // SAFETY: a word of ours.
                unsafe { syscall4(libc::SYS_futex, GO.as_ptr() as u64, WAIT, 0, 0) };
            }
            if GO.load(Ordering::SeqCst) == ENDS {
                libc_threads::discount(-1);
                return;
            }
            // SAFETY: the TCB this runs on.
            unsafe { processor.settle_on(thread_pointer) };
            signal::take_own_stack();
            arch::set_current_word(HOST_WORD);
            super::hub().replace(processor)
        });
    offload::end_thread_making();
    spawned.ok().and_then(|_| outcome.recv().ok())
}

/// Whether a processor's guest is in the kernel, and our code is not, or says that it waits.
fn is_away(processor: &Processor) -> bool {
    !processor.in_shim() || processor.waits.load(Ordering::Relaxed)
}

/// Hands over the guests of a processor that has switched to nobody `for_ns` nanoseconds, if its
/// kernel thread sleeps and somebody has something to do. Whether they were. By the monitor.
pub fn try_to(hub: &'static Hub, processor: &'static Processor, for_ns: u64) -> bool {
    if for_ns < MOMENT || !is_away(processor) || monitor::is_running(processor) {
        return false;
    }
    let others = || {
        let all = processor::each().iter();
        all.filter(|other| !core::ptr::eq(*other, processor))
    };
    if others().any(|other| !other.baton.is_out()) {
        return decide(hub, processor, None);
    }
    if for_ns < FIRST_MOMENT {
        return false;
    }
    if let Some(reason) = refusal() {
        if is_needed(hub, processor) && !TOLD.swap(true, Ordering::SeqCst) {
            events::RescueRefused { reason }.emit();
        }
        return false;
    }
    if raw::now() < NOT_BEFORE.load(Ordering::Relaxed) || !is_needed(hub, processor) {
        return false;
    }
    let spare = processor::at(processor::each().len());
    let Some(thread_pointer) = make_spare(spare) else {
        NOT_BEFORE.store(raw::now() + RETRY, Ordering::Relaxed);
        return false;
    };
    let done = decide(hub, processor, Some((spare, thread_pointer)));
    tell_spare(if done { STARTS } else { ENDS });
    done
}

/// Runs `f` while nothing can happen to the hub by this processor, which is in the kernel and
/// out of our code. `None`: it is not.
fn while_away<R>(processor: &Processor, f: impl FnOnce() -> (R, bool)) -> Option<R> {
    let one = !processor::several();
    processor.baton.ask();
    if one {
        processor::set_rescue(true);
    }
    let (result, out) = if !monitor::is_running(processor) && is_away(processor) {
        let (result, out) = f();
        (Some(result), out)
    } else {
        (None, false)
    };
    if one && !out {
        processor::set_rescue(false);
    }
    processor.baton.decide(out);
    result
}

fn is_needed(hub: &Hub, processor: &Processor) -> bool {
    processor::several()
        || while_away(processor, || (hub.has_something_to_do(), false)) == Some(true)
}

fn decide(
    hub: &'static Hub,
    processor: &'static Processor,
    spare: Option<(&'static Processor, u64)>,
) -> bool {
    let done = while_away(processor, || {
        let one = !processor::several();
        let exclusive = one || processor::is_exclusive();
        if let Some((spare, thread_pointer)) = spare {
            // SAFETY: the thread never ends; who could make or end one is in the kernel.
            let unlisted = unsafe { libc_threads::unlist(thread_pointer) };
            spare.is_listed.set(!unlisted);
            spare.in_shim.store(true, Ordering::Relaxed);
            // SAFETY: the context is nobody's yet.
            unsafe { (*spare.ctx.get()).fs = thread_pointer };
        }
        if one {
            GIANT.set_held(true);
            // SAFETY: contexts of this processor, which are not used meanwhile.
            unsafe {
                processor.settle_on((*processor.ctx.get()).fs);
                if let Some(guest) = processor.current.get().as_ref() {
                    processor.settle_on((*guest.ctx.get()).fs);
                }
            }
        }
        processor::set_rescue(true);
        if spare.is_some() {
            processor::add(exclusive);
        }
        if exclusive {
            // For the one that has it.
            GIANT.unlock();
        }
        ((), true)
    })
    .is_some();
    if done && spare.is_none() {
        // Nobody was woken for who is runnable: they were this one's.
        hub.rouse_any();
    }
    done
}

/// A processor that is out: if its guest's own code runs again beside others, where it may not,
/// it is made to enter ours. By the monitor.
pub fn look_at_returned(processor: &Processor) {
    if processor::is_exclusive() && !processor.in_shim() && monitor::is_running(processor) {
        processor.preempt();
    }
}

impl Baton {
    /// It runs guests.
    pub(super) const fn new() -> Self {
        Baton::of(AtomicU32::new(0))
    }
}

impl Hub {
    /// Our code begins on a processor whose guests may have been handed over.
    #[cold]
    #[inline(never)]
    pub(super) fn claimed_after_rescue(&self) {
        let here = processor::here();
        let was_out = here.baton.settle();
        if !processor::several() {
            // It was taken back.
            return;
        }
        if was_out || processor::is_parallel() {
            GIANT.lock();
        }
        if was_out {
            here.baton.take_back();
            // The host has something to do here.
            here.turns.set(0);
            monitor::resume();
        }
    }

    /// What a spare does for ever, on its own TCB, which is a host's from now on.
    fn replace(&'static self, processor: &'static Processor) -> ! {
        GIANT.lock();
        signal::look_at_descriptors();
        signal::expect_on_any();
        signal::take_mask();
        proc_files::open(processor.index(), processor.kernel_tid());
        // SAFETY: host context; no other reference to it is in use.
        unsafe { self.reactor() }.leave_ring(self);
        events::HubRescued {
            hubs: processor::each().len(),
            kernel_tid: processor.kernel_tid(),
        }
        .emit();
        self.run()
    }

    /// What the host of a processor does once rescues have begun.
    #[cold]
    #[inline(never)]
    pub(super) fn look_after_rescue(&self, here: &Processor) {
        if here.is_first() {
            // SAFETY: host context; no other reference to it is in use.
            while !unsafe { self.reactor() }.finish_ring(self) {}
        }
        if processor::is_exclusive() && GIANT.is_contended() {
            GIANT.hand_on();
        }
    }

    /// Whether a guest could run, or would if somebody looked. While no processor runs.
    fn has_something_to_do(&self) -> bool {
        let due = || {
            // SAFETY: nobody else uses the heap now.
            let next = unsafe { (*self.timers.get()).next_deadline() };
            next.is_some_and(|next| next <= raw::now())
        };
        // SAFETY: as above.
        self.has_ready() || self.is_called() || due() || unsafe { self.reactor() }.has_news()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_enters_waits_until_it_is_decided() {
        let baton = Baton::new();
        assert!(!baton.settle());
        for out in [true, false] {
            baton.ask();
            std::thread::scope(|scope| {
                let entered = scope.spawn(|| baton.settle());
                baton.decide(out);
                assert_eq!(entered.join().ok(), Some(out));
            });
            assert_eq!(baton.is_out(), out);
            baton.take_back();
            assert!(!baton.is_out());
        }
    }
}
