//! Threads: made, ended, and what the kernel keeps for each.
#![allow(unsafe_code)]

use patch_events::numbers;

use super::{Call, Outcome, sched, setxid};
use crate::arch;
use crate::catch;
use crate::control;
use crate::foreign::{FOREIGN_WORD, objects};
use crate::fork;
use crate::guest::life::ThreadArgs;
use crate::guest::{State, life};
use crate::hub::{everywhere, processor, rescue};
use crate::monitor;
use crate::mounts;
use crate::offload;
use crate::probes;
use crate::raw::{self, err};
use crate::reactor::fds;
use crate::sandbox::install;
use crate::sharers;
use crate::sharing;
use crate::signal;
use crate::trace;

/// clone(2) and clone3(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn clone(c: &mut Call<'_>) -> Outcome {
    // SAFETY: the guest's present call.
    if let Some(args) = unsafe { life::thread_args(c.frame) } {
        if objects::are_there() {
            // SAFETY: as above.
            return unsafe { kernel_thread(c, &args) };
        }
        // SAFETY: as above.
        return Outcome::Done(unsafe { life::create(c.guest, c.frame, &args) });
    }
    let flags = life::clone_flags(c.frame);
    if flags & libc::CLONE_FILES as u64 != 0 {
        fds::doubt(fds::Doubt::Likely);
    }
    if flags & libc::CLONE_VM as u64 != 0 {
        if flags & libc::CLONE_VFORK as u64 == 0 {
            sharers::begin();
        }
        if flags & libc::CLONE_CHILD_CLEARTID as u64 != 0 {
            sharing::cleared_by_kernel(life::child_tid(c.frame));
        }
        return vfork(c);
    }
    // SAFETY: as above.
    Outcome::Done(unsafe { fork::fork(c) })
}

/// A thread that is no guest.
///
/// # Safety
/// `args` must be of the present call.
#[cold]
unsafe fn kernel_thread(c: &mut Call<'_>, args: &ThreadArgs) -> Outcome {
    let here = processor::here();
    // As in `vfork`: the thread inherits the caller's mask, and the caller's next call
    // restores the kernel thread's.
    here.shared_child.set(true);
    c.guest.stay_on(here);
    signal::show_kernel_mask_of(c.guest);
    c.hub.take_foreign();
    // SAFETY: the TCB that libc made for the new thread.
    unsafe { arch::set_word_of(args.tls, FOREIGN_WORD) };
    Outcome::Native
}

/// A child that shares our memory, perhaps until it execs or ends alone: everything it does
/// goes to the kernel.
fn vfork(c: &mut Call<'_>) -> Outcome {
    let here = processor::here();
    // Until its first call after the child is gone.
    numbers::hold();
    c.guest.holds_limit.set(true);
    // First, so that a handler leaves the mask below as it is.
    here.shared_child.set(true);
    signal::leave_ends();
    // As in `fork`.
    c.guest.stay_on(here);
    // The child inherits the kernel thread's mask: it must be the caller's. The
    // first call after the child is gone restores it.
    signal::show_kernel_mask_of(c.guest);
    fds::table().are_shared();
    Outcome::Native
}

/// fork(2) as a system call (libc uses clone).
///
/// # Safety
/// As [`clone`].
pub unsafe fn fork_call(c: &mut Call<'_>) -> Outcome {
    // SAFETY: the guest's present call.
    Outcome::Done(unsafe { fork::fork(c) })
}

/// vfork(2).
///
/// # Safety
/// As [`clone`].
pub unsafe fn vfork_call(c: &mut Call<'_>) -> Outcome {
    vfork(c)
}

/// exit(2): the calling thread ends. The last one ends the process.
///
/// # Safety
/// As [`clone`].
pub unsafe fn exit(c: &mut Call<'_>) -> Outcome {
    probes::exit(c.guest);
    trace::guest_ended(c.guest);
    if c.hub.count() == 1 && !c.hub.has_foreign() {
        trace::finish(Some(c.guest));
        control::name::remove();
        // SAFETY: no pointers.
        unsafe {
            arch::syscall1(libc::SYS_exit_group, c.a[0] & 0xff);
        }
        // Refused: without it our own threads would keep the process alive for ever.
        monitor::end_process(monitor::End::With(c.a[0] as i32 & 0xff));
    }
    if c.guest.death_signal.get() != 0 {
        drop_death_signal(c);
    }
    // Whoever asks from here on finds the holder of these locks dead.
    c.guest.state.set(State::Dead);
    super::futex::release_locks(c.guest);
    life::end(c.guest)
}

/// exit_group(2): what is to be told is told, and what is ours elsewhere than in the
/// process goes, before it ends.
///
/// # Safety
/// As [`clone`].
pub unsafe fn exit_group(c: &mut Call<'_>) -> Outcome {
    trace::finish(Some(c.guest));
    control::name::remove();
    Outcome::Native
}

/// gettid(2).
///
/// # Safety
/// As [`clone`].
pub unsafe fn gettid(c: &mut Call<'_>) -> Outcome {
    Outcome::Done(c.guest.tid.get() as i64)
}

/// set_tid_address(2).
///
/// # Safety
/// As [`clone`].
pub unsafe fn set_tid_address(c: &mut Call<'_>) -> Outcome {
    c.guest.clear_child_tid.set(c.a[0] as *mut u32);
    Outcome::Done(c.guest.tid.get() as i64)
}

/// Size of `struct robust_list_head`, which the call names.
const ROBUST_HEAD: u64 = 24;

/// set_robust_list(2).
///
/// # Safety
/// As [`clone`].
pub unsafe fn set_robust_list(c: &mut Call<'_>) -> Outcome {
    if c.a[1] != ROBUST_HEAD {
        return Outcome::Done(err(libc::EINVAL));
    }
    c.guest.robust_list.set(c.a[0] as usize);
    Outcome::Done(0)
}

/// get_robust_list(2).
///
/// # Safety
/// As [`clone`].
pub unsafe fn get_robust_list(c: &mut Call<'_>) -> Outcome {
    let tid = c.a[0] as i32;
    let guest = if tid == 0 {
        Some(c.guest)
    } else {
        c.hub.find(tid)
    };
    let Some(guest) = guest else {
        return Outcome::Native;
    };
    // SAFETY: the guest's own two pointers, in the kernel's order.
    written(unsafe {
        raw::put(c.a[2], ROBUST_HEAD).and_then(|()| raw::put(c.a[1], guest.robust_list.get()))
    })
}

/// The signal that this kernel thread gets when its parent ends, or 0. The kernel forgets it
/// where the process gets other credentials.
fn kernel_death_signal() -> u64 {
    let mut signal = 0i32;
    // SAFETY: a variable of ours.
    unsafe {
        arch::syscall2(
            libc::SYS_prctl,
            libc::PR_GET_PDEATHSIG as u64,
            &raw mut signal as u64,
        )
    };
    signal as u64
}

/// The guest asks for no such signal any more; another on this kernel thread may.
fn drop_death_signal(c: &Call<'_>) {
    c.guest.death_signal.set(0);
    if kernel_death_signal() == 0 {
        return;
    }
    let here = processor::here();
    let left = c
        .hub
        .guests()
        .filter(|guest| guest.home().is_some_and(|home| core::ptr::eq(home, here)))
        .map(|guest| guest.death_signal.get())
        .find(|&signal| signal != 0);
    // SAFETY: no pointers.
    unsafe {
        arch::syscall2(
            libc::SYS_prctl,
            libc::PR_SET_PDEATHSIG as u64,
            left.unwrap_or(0).into(),
        )
    };
}

/// prctl(PR_SET_PDEATHSIG): the kernel sends what a kernel thread asked for, which the
/// caller so keeps.
fn set_death_signal(c: &Call<'_>) -> Outcome {
    if c.a[1] == 0 {
        drop_death_signal(c);
        return Outcome::Done(0);
    }
    // SAFETY: the guest's own call, without pointers.
    let ret = unsafe { arch::syscall(c.frame.rax, c.a) };
    if ret == 0 {
        c.guest.death_signal.set(c.a[1] as u8);
        c.guest.stay_on(processor::here());
    }
    Outcome::Done(ret)
}

/// prctl(PR_GET_TID_ADDRESS). Not every kernel has it.
///
/// # Safety
/// As [`clone`].
unsafe fn tid_address(c: &Call<'_>) -> Outcome {
    let (mut a, mut kernels) = (c.a, 0u64);
    a[1] = &raw mut kernels as u64;
    // SAFETY: a variable of ours, and the guest's own pointer.
    unsafe {
        let ret = arch::syscall(c.frame.rax, a);
        if ret < 0 {
            return Outcome::Done(ret);
        }
        written(raw::put(c.a[1], c.guest.clear_child_tid.get() as u64))
    }
}

fn written(put: Result<(), i64>) -> Outcome {
    Outcome::Done(put.err().unwrap_or(0))
}

/// prctl(2): what belongs to a thread is the guest's own.
///
/// # Safety
/// As [`clone`].
pub unsafe fn prctl(c: &mut Call<'_>) -> Outcome {
    match c.a[0] as i32 {
        libc::PR_SET_NAME => {
            let mut name = [0u8; 16];
            for (i, byte) in name[..15].iter_mut().enumerate() {
                // SAFETY: the guest's own string, read up to its end.
                *byte = match unsafe { raw::get(c.a[1] + i as u64) } {
                    Ok(byte) => byte,
                    Err(e) => return Outcome::Done(e),
                };
                if *byte == 0 {
                    break;
                }
            }
            // New threads are called what their creator is called.
            c.guest.name.set(name);
            if c.guest.is_initial() {
                Outcome::Native
            } else {
                Outcome::Done(0)
            }
        }
        // SAFETY: the guest's own buffer of 16 bytes.
        libc::PR_GET_NAME => written(unsafe { raw::put(c.a[1], c.guest.name.get()) }),
        // SAFETY: as here.
        libc::PR_GET_TID_ADDRESS => unsafe { tid_address(c) },
        libc::PR_SET_PDEATHSIG => set_death_signal(c),
        libc::PR_GET_PDEATHSIG => {
            let signal = match kernel_death_signal() {
                0 => 0,
                _ => c.guest.death_signal.get(),
            };
            // SAFETY: the guest's own number.
            written(unsafe { raw::put(c.a[1], i32::from(signal)) })
        }
        // SAFETY: as here.
        libc::PR_SET_TIMERSLACK => unsafe { sched::set_timer_slack(c) },
        // SAFETY: as here.
        libc::PR_GET_TIMERSLACK => unsafe { sched::get_timer_slack(c) },
        // It is in use, and nothing else leads to us.
        catch::PR_SET_SYSCALL_USER_DISPATCH if catch::is_everything() => {
            Outcome::Done(err(libc::EINVAL))
        }
        catch::PR_SET_SYSCALL_USER_DISPATCH => {
            catch::stop(catch::Stop::Program);
            Outcome::Native
        }
        libc::PR_SET_NO_NEW_PRIVS
        | libc::PR_SET_SECCOMP
        | libc::PR_SET_SECUREBITS
        | libc::PR_CAPBSET_DROP
        | libc::PR_CAP_AMBIENT => {
            // SAFETY: as here.
            unsafe { credentials(c) }
        }
        _ => Outcome::Native,
    }
}

/// ptrace(2): the kernel knows a tracer as a kernel thread, which the caller so keeps.
///
/// # Safety
/// As [`clone`].
pub unsafe fn ptrace(c: &mut Call<'_>) -> Outcome {
    c.guest.stay_on(processor::here());
    Outcome::Native
}

/// What unshare(2) takes from guests that several kernel threads run: not of one of these
/// alone.
const OF_GUESTS: i32 = libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SYSVSEM;

/// Gives the guests, which have one table of descriptors, one that no other process has.
pub(super) fn unshare_descriptors(c: &Call<'_>) -> i64 {
    if processor::several() || !fds::is_likely_wrong() {
        return 0;
    }
    // SAFETY: no pointers.
    let ret = unsafe { arch::syscall1(libc::SYS_unshare, libc::CLONE_FILES as u64) };
    if ret == 0 {
        rescue::forbid();
        offload::credentials_changed(c.guest);
    }
    ret
}

/// What unshare(2) takes from the threads of a process, which must be one, and has nothing to do
/// then.
const OF_ONE_THREAD: i32 = libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_VM;

/// Whether children of this kernel thread will be in another pid namespace than it is.
pub(crate) fn leaves_pid_namespace() -> bool {
    let target = |path: &core::ffi::CStr| {
        let mut text = [0u8; 64];
        let (to, size) = (text.as_mut_ptr() as u64, text.len() as u64);
        // SAFETY: a path and a buffer of ours.
        let n = unsafe { arch::syscall3(libc::SYS_readlink, path.as_ptr() as u64, to, size) };
        (n > 0).then_some(text)
    };
    let own = target(c"/proc/thread-self/ns/pid");
    let of_children = target(c"/proc/thread-self/ns/pid_for_children");
    own.is_some() && own != of_children
}

/// The argument that says which namespaces a call is about, if the one of ids is among them.
fn with_pids(nr: u64, a: [u64; 6]) -> Option<usize> {
    /// linux/nsfs.h: which kind of namespace a descriptor is of.
    const NS_GET_NSTYPE: u64 = 0xb703;
    let (at, kinds) = match nr as i64 {
        libc::SYS_unshare => (0, i64::from(a[0] as u32)),
        // SAFETY: no pointers.
        libc::SYS_setns if a[1] as i32 == 0 => (1, unsafe {
            arch::syscall2(libc::SYS_ioctl, a[0], NS_GET_NSTYPE)
        }),
        libc::SYS_setns => (1, i64::from(a[1] as u32)),
        _ => return None,
    };
    (kinds > 0 && kinds & i64::from(libc::CLONE_NEWPID) != 0).then_some(at)
}

/// Makes unshare(2) or setns(2) for the namespace of ids that children will have, which lets the
/// kernel thread make no threads any more: the pool keeps those that it has, for which ids stay
/// as they are. If other `namespaces` are asked for, these come first, and the pool's threads
/// have them too.
fn leave_pids(
    c: &Call<'_>,
    namespaces: usize,
    mut a: [u64; 6],
    make: impl Fn([u64; 6]) -> i64,
) -> i64 {
    let ids = libc::CLONE_NEWPID as u32 as u64;
    let others = u64::from(a[namespaces] as u32) & !ids;
    // Where ids cannot be left a second time, the kernel is to refuse all of it.
    let again = namespaces == 0 && c.guest.makes_no_threads.get();
    if others != 0 && !again {
        a[namespaces] = others;
        let ret = make(a);
        if ret != 0 {
            return ret;
        }
        offload::credentials_changed(c.guest);
        mounts::changed();
        a[namespaces] = ids;
    }
    c.hub.call(c.guest, || offload::fix(offload::BY_NAMESPACE));
    let ret = make(a);
    if ret == 0 && again && others != 0 {
        offload::credentials_changed(c.guest);
    }
    let leaves = leaves_pid_namespace();
    if ret == 0 {
        c.guest.makes_no_threads.set(leaves);
    }
    if !leaves {
        offload::release(offload::BY_NAMESPACE);
    }
    mounts::changed();
    ret
}

/// setuid(2) and its family, and other calls about what a kernel thread may and sees:
/// what is handed over afterwards must not be allowed more.
///
/// # Safety
/// As [`clone`].
pub unsafe fn credentials(c: &mut Call<'_>) -> Outcome {
    if let Some(ret) = install::carry_out(c) {
        return Outcome::Done(ret);
    }
    if let Some(ret) = setxid::result(c.guest, c.frame.rax, c.a) {
        return Outcome::Done(ret);
    }
    let mut a = c.a;
    let here_alone = match c.frame.rax as i64 {
        // Each kernel thread would get new ones, different from the others'.
        libc::SYS_unshare => {
            if c.hub.count() == 1 && !c.hub.has_foreign() {
                // Done, for the program's one thread; the kernel counts ours.
                a[0] &= !(OF_ONE_THREAD as u64);
                if a[0] == 0 {
                    return Outcome::Done(0);
                }
            }
            if processor::several() {
                // Guests of one table of descriptors, and of one directory, run on all.
                a[0] &= !(OF_GUESTS as u64);
                if a[0] == 0 {
                    return Outcome::Done(0);
                }
            }
            true
        }
        // The kernel does it for all.
        libc::SYS_seccomp => c.a[1] & libc::SECCOMP_FILTER_FLAG_TSYNC != 0,
        _ => false,
    };
    // SAFETY: a call of the guest's own.
    let make = |a| unsafe {
        if here_alone {
            arch::syscall(c.frame.rax, a)
        } else {
            everywhere::call(c.hub, c.frame.rax, a)
        }
    };
    if let Some(namespaces) = with_pids(c.frame.rax, a) {
        rescue::forbid();
        return Outcome::Done(leave_pids(c, namespaces, a, make));
    }
    let ret = make(a);
    if ret >= 0 {
        rescue::forbid();
    }
    setxid::made(c.guest, c.frame.rax, c.a, ret);
    // PR_SET_NO_NEW_PRIVS is about execve(2) alone, which no thread of the pool makes.
    let of_exec = (libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS as u64);
    if (c.frame.rax as i64, c.a[0]) != of_exec {
        offload::credentials_changed(c.guest);
    }
    mounts::changed();
    Outcome::Done(ret)
}
