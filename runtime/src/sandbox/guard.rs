//! The program's own calls under its filters.
#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::sync::atomic::Ordering;

use super::elsewhere::lets_help;
use super::{
    ACTION, ARCH, DATA, ERRNO, KILL_PROCESS, KILL_THREAD, NOTIFY, STRICT, TRAP, action, answer,
    bpf, inherited, is_down, lets_pass,
};
use crate::arch::{self, syscall4};
use crate::monitor;
use crate::offload;
use crate::ops::offloaded::wait_untried;
use crate::ops::{Call, Op, Outcome, thread};
use crate::raw;
use crate::signal::{self, Info};
use crate::syscalls;

/// The largest error that a filter has given (MAX_ERRNO of include/linux/err.h).
const MAX_ERRNO: u32 = 4095;

/// The operations that [`around`] stands for, by number.
///
/// # Synchronization
/// Written where the table of [`dispatch`](crate::dispatch) is.
struct Behind(UnsafeCell<[Option<Op>; syscalls::LIMIT]>);

// SAFETY: see Synchronization.
unsafe impl Sync for Behind {}

static BEHIND: Behind = Behind(UnsafeCell::new([None; syscalls::LIMIT]));

/// Puts [`around`] in every place of `table`, so that each call of a guest meets it.
///
/// # Safety
/// No guest may be between looking up its operation and carrying it out, but the caller.
pub unsafe fn surround(table: &mut [Option<Op>; syscalls::LIMIT]) {
    // SAFETY: the caller's contract.
    let behind = unsafe { &mut *BEHIND.0.get() };
    for (operation, behind) in table.iter_mut().zip(behind) {
        if !operation.is_some_and(is_around) {
            *behind = operation.replace(around);
        }
    }
}

/// Every call of a guest, where there are filters.
///
/// # Safety
/// As an operation's.
unsafe fn around(c: &mut Call<'_>) -> Outcome {
    let (nr, a) = (c.frame.rax, c.a);
    if inherited::kills(nr) {
        return if inherited::kills_thread() {
            end(c)
        } else {
            Outcome::Native
        };
    }
    let newest = c.guest.filter.get();
    if !newest.is_null() {
        let own = action(newest, nr, &a);
        match own & ACTION {
            pass if bpf::lets_pass(pass) => {}
            KILL_THREAD => return end(c),
            // The kernel does not let such a signal wait.
            TRAP if c.guest.signal.mask() & signal::bit(libc::SIGSYS) != 0 => {
                end_by_trap(nr, a);
            }
            // Another guest may be who answers.
            NOTIFY
                if !shares_stack(nr)
                    && !is_of_thread(nr)
                    && lets_help()
                    && answer(nr, &a) & ACTION == NOTIFY =>
            {
                let ret = offload::run_bound(c.guest, nr as i64, a);
                return ret.map_or(Outcome::Native, Outcome::Done);
            }
            // The kernel would give another answer: that of another guest's filters, or none.
            ERRNO if answer(nr, &a) != own => {
                return Outcome::Done(raw::err((own & DATA).min(MAX_ERRNO) as i32));
            }
            TRAP if answer(nr, &a) != own => {
                let info = Info::of_filter(own & DATA, arch::return_address(c.frame), nr, ARCH);
                if !signal::trap(c.guest, &info) {
                    monitor::end_process(monitor::End::By(libc::SIGSYS));
                }
                return Outcome::AsSet;
            }
            KILL_PROCESS if lets_pass(nr, &a) => {
                monitor::end_process(monitor::End::By(libc::SIGSYS));
            }
            // The kernel gives the answer.
            _ => return Outcome::Native,
        }
    }
    // SAFETY: written before this function was put in the table.
    let outcome = match unsafe { (*BEHIND.0.get())[nr as usize] } {
        // SAFETY: the caller's contract.
        Some(operation) => unsafe { operation(c) },
        None => Outcome::Native,
    };
    settle(c, (nr, a), outcome)
}

/// Whether calls of this operation's meet [`around`].
pub fn is_around(operation: Op) -> bool {
    operation as usize == around as *const () as usize
}

/// What comes of a call, `nr(a)`, whose operation came to `outcome` where there are filters, since
/// it began or before.
pub fn settle(c: &mut Call<'_>, (nr, a): (u64, [u64; 6]), outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Done(ret) if raw::is_refused(ret) && waits(nr) => wait_untried(c),
        Outcome::Native if is_down() && waits(nr) => wait_untried(c),
        // It is the filters of others that do not.
        Outcome::Native if !shares_stack(nr) && !lets_pass(nr, &a) => {
            Outcome::Done(offload::run(c.guest, nr as i64, a))
        }
        // The operation has made the guest's own call here, where the filters are.
        Outcome::Done(ret)
            if ret == raw::err(libc::EPERM) && is_of_process(nr) && !lets_pass(nr, &a) =>
        {
            Outcome::Done(offload::run(c.guest, nr as i64, a))
        }
        outcome => outcome,
    }
}

/// A call that is trapped while SIGSYS is blocked ends the process: the kernel, whose mask is
/// not the guest's, is given both.
fn end_by_trap(nr: u64, a: [u64; 6]) -> ! {
    let (how, set) = (libc::SIG_BLOCK as u64, signal::bit(libc::SIGSYS));
    // SAFETY: a set of ours, and the guest's own call.
    unsafe {
        if syscall4(libc::SYS_rt_sigprocmask, how, &raw const set as u64, 0, 8) == 0 {
            arch::syscall_unasked(nr, a);
        }
    }
    monitor::end_process(monitor::End::By(libc::SIGSYS))
}

/// Calls about the thread alone that makes them.
fn is_of_thread(nr: u64) -> bool {
    matches!(
        nr as i64,
        libc::SYS_exit
            | libc::SYS_set_tid_address
            | libc::SYS_set_robust_list
            | libc::SYS_rseq
            | libc::SYS_sigaltstack
            | libc::SYS_rt_sigprocmask
            | libc::SYS_setuid
            | libc::SYS_setgid
            | libc::SYS_setreuid
            | libc::SYS_setregid
            | libc::SYS_setresuid
            | libc::SYS_setresgid
            | libc::SYS_setfsuid
            | libc::SYS_setfsgid
            | libc::SYS_setgroups
            | libc::SYS_capset
            | libc::SYS_prctl
            | libc::SYS_seccomp
            | libc::SYS_unshare
            | libc::SYS_setns
    )
}

/// Calls about what all threads share, which any of them may make.
fn is_of_process(nr: u64) -> bool {
    matches!(
        nr as i64,
        libc::SYS_mmap
            | libc::SYS_mprotect
            | libc::SYS_munmap
            | libc::SYS_mremap
            | libc::SYS_shmat
            | libc::SYS_setsockopt
            | libc::SYS_prlimit64
            | libc::SYS_getrlimit
            | libc::SYS_setrlimit
    )
}

/// SECCOMP_RET_KILL_THREAD: the thread ends, and where it is the last one the process does.
fn end(c: &mut Call<'_>) -> Outcome {
    if c.hub.count() == 1 && !c.hub.has_foreign() {
        // The kernel would end this kernel thread alone, and keep ours.
        let strict = STRICT.load(Ordering::Relaxed);
        monitor::end_process(monitor::End::By(if strict {
            libc::SIGKILL
        } else {
            libc::SIGSYS
        }));
    }
    // SAFETY: the guest's present call.
    unsafe { thread::exit(c) }
}

/// Calls that wait, and can be made on another kernel thread.
fn waits(nr: u64) -> bool {
    matches!(
        nr as i64,
        libc::SYS_read
            | libc::SYS_readv
            | libc::SYS_pread64
            | libc::SYS_preadv
            | libc::SYS_preadv2
            | libc::SYS_write
            | libc::SYS_writev
            | libc::SYS_pwrite64
            | libc::SYS_pwritev
            | libc::SYS_pwritev2
            | libc::SYS_recvfrom
            | libc::SYS_recvmsg
            | libc::SYS_recvmmsg
            | libc::SYS_sendto
            | libc::SYS_sendmsg
            | libc::SYS_sendmmsg
            | libc::SYS_accept
            | libc::SYS_accept4
            | libc::SYS_connect
            | libc::SYS_poll
            | libc::SYS_ppoll
            | libc::SYS_select
            | libc::SYS_pselect6
            | libc::SYS_epoll_wait
            | libc::SYS_epoll_pwait
            | libc::SYS_epoll_pwait2
            | libc::SYS_wait4
            | libc::SYS_waitid
            | libc::SYS_flock
            | libc::SYS_splice
            | libc::SYS_tee
            | libc::SYS_vmsplice
            | libc::SYS_sendfile
            | libc::SYS_fsync
            | libc::SYS_fdatasync
    )
}

/// Calls whose other side goes on where they are made.
fn shares_stack(nr: u64) -> bool {
    matches!(
        nr as i64,
        libc::SYS_clone
            | libc::SYS_clone3
            | libc::SYS_fork
            | libc::SYS_vfork
            | libc::SYS_rt_sigreturn
            | libc::SYS_execve
            | libc::SYS_execveat
            | libc::SYS_arch_prctl
    )
}
