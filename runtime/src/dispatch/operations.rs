//! The function of each call, by the call's number.
#![allow(unsafe_code)]

use core::cell::UnsafeCell;

use crate::api::section::Section;
use crate::chaos;
use crate::config;
use crate::group::{Group, GroupSet};
use crate::hub::hub;
use crate::lookup;
use crate::ops::{self, Op as Operation};
use crate::sandbox::{self, guard, inherited};
use crate::selection::{self, Selection};
use crate::syscalls::{self, Op};
use crate::wanted;

/// By number: the operation, if its group is on. Filled before the first guest runs.
///
/// # Synchronization
/// Written once, on the only thread that may become a guest; read afterwards.
struct Operations(UnsafeCell<[Option<Operation>; syscalls::LIMIT]>);

// SAFETY: see Synchronization.
unsafe impl Sync for Operations {}

static OPERATIONS: Operations = Operations(UnsafeCell::new([None; syscalls::LIMIT]));

/// The operation of a call of that number. On a guest; does not unwind.
#[inline(always)] // into what a handler may run on top of
pub(super) fn of(nr: u64) -> Option<Operation> {
    // SAFETY: filled before there was a guest.
    unsafe { (&*OPERATIONS.0.get()).get(nr as usize).copied().flatten() }
}

/// Fills it in with the groups that are in use.
///
/// # Safety
/// No guest runs yet.
pub(super) unsafe fn begin() {
    // SAFETY: the caller's contract.
    unsafe { fill(&mut *OPERATIONS.0.get(), selection::in_use()) };
}

fn fill(table: &mut [Option<Operation>; syscalls::LIMIT], selection: &Selection) {
    for row in syscalls::TABLE {
        let Some(carried_out) = operation_of(row) else {
            continue;
        };
        let on = selection.is_on(row);
        if lookup::differs(row, selection, on) {
            table[row.nr as usize] = Some(lookup::by_place);
        } else if on {
            table[row.nr as usize] = Some(carried_out);
        }
    }
    if hub().chaos.is_on() {
        // SAFETY: as here, no guest runs meanwhile.
        unsafe { chaos::surround(table) };
    }
    if sandbox::is_on() || inherited::any() {
        // SAFETY: as here.
        unsafe { guard::surround(table) };
    }
}

/// Has every call of a guest looked at first, from the next one on. By a guest in our code.
pub fn guard_operations() {
    // SAFETY: read on this kernel thread alone, or on another that is not in our code; a word
    // is written at once.
    unsafe { guard::surround(&mut *OPERATIONS.0.get()) };
}

/// Turns further groups on while guests run. On a guest, in its own code; their calls are
/// cooperative from the next one on.
pub fn add_groups(groups: GroupSet) {
    let _section = Section::enter();
    let mut selection = *selection::in_use();
    let further = |group: &Group| !selection.groups().contains(*group);
    for group in groups.iter().filter(further).collect::<Vec<_>>() {
        selection.take_over(group, config::may_select());
    }
    let selection = selection::settle(selection);
    // SAFETY: read on this kernel thread alone, and nothing is dispatched meanwhile.
    unsafe { fill(&mut *OPERATIONS.0.get(), selection) };
    for row in syscalls::TABLE {
        if row.is_ours() && selection.has(row) {
            wanted::want(row.nr as usize, true);
        }
    }
}

/// The function that carries a call out, if one of ours does.
pub(crate) fn operation_of(row: &syscalls::Syscall) -> Option<Operation> {
    match (row.op, row.how) {
        (Some(op), _) => Some(operation(op)),
        (None, how) => how.map(ops::offloaded::operation),
    }
}

/// The function of each operation.
fn operation(op: Op) -> Operation {
    use ops::{
        aio, connect, cpu_clock, fd, futex, identity, ipc, lock, machine, memory, net, offloaded,
        pages, poll, process, rseq, sched, send, signal, splice, thread, time, uring,
    };
    match op {
        Op::Read => fd::read,
        Op::Readv => fd::readv,
        Op::Write => fd::write,
        Op::Writev => fd::writev,
        Op::Pread64 => fd::pread64,
        Op::Preadv => fd::preadv,
        Op::Preadv2 => fd::preadv2,
        Op::Pwritev2 => fd::pwritev2,
        Op::Pwrite64 | Op::Pwritev => fd::write_at,
        Op::Open | Op::Creat | Op::Openat | Op::Openat2 => offloaded::open,
        Op::Msync => offloaded::msync,
        Op::Membarrier => offloaded::membarrier,
        Op::Mount | Op::Umount2 | Op::MoveMount | Op::PivotRoot => offloaded::mounting,
        Op::Getrandom => offloaded::getrandom,
        Op::Bpf => offloaded::bpf,
        Op::Madvise => pages::madvise,
        Op::ProcessMadvise => pages::process_madvise,
        Op::Mbind => pages::mbind,
        Op::Mlockall => pages::mlockall,
        Op::Flock => lock::flock,
        Op::Semop | Op::Semtimedop => ipc::semop,
        Op::Msgsnd => ipc::msgsnd,
        Op::Msgrcv => ipc::msgrcv,
        Op::MqTimedsend | Op::MqTimedreceive => ipc::posix_queue,
        Op::Splice => splice::splice,
        Op::Tee => splice::tee,
        Op::Vmsplice => splice::vmsplice,
        Op::Sendfile => splice::sendfile,
        Op::IoGetevents => aio::io_getevents,
        Op::IoPgetevents => aio::io_pgetevents,
        Op::FutexWait => futex::futex_wait,
        Op::FutexWake => futex::futex_wake,
        Op::FutexRequeue => futex::futex_requeue,
        Op::Close => fd::close,
        Op::CloseRange => fd::close_range,
        Op::Dup => fd::dup,
        Op::Dup2 | Op::Dup3 => fd::dup2,
        Op::Fcntl => fd::fcntl,
        Op::Ioctl => fd::ioctl,
        Op::Recvfrom => net::recvfrom,
        Op::Recvmsg => net::recvmsg,
        Op::Recvmmsg => net::recvmmsg,
        Op::Sendto => send::sendto,
        Op::Sendmsg => send::sendmsg,
        Op::Sendmmsg => send::sendmmsg,
        Op::Accept | Op::Accept4 => net::accept,
        Op::Connect => connect::connect,
        Op::Setsockopt => connect::setsockopt,
        Op::Getsockopt => connect::getsockopt,
        Op::Socket => connect::socket,
        Op::Ptrace => thread::ptrace,
        Op::IoUringSetup => uring::io_uring_setup,
        Op::IoUringEnter => uring::io_uring_enter,
        Op::Poll => poll::poll,
        Op::Ppoll => poll::ppoll,
        Op::Select => poll::select,
        Op::Pselect6 => poll::pselect6,
        Op::EpollWait => poll::epoll_wait,
        Op::EpollPwait => poll::epoll_pwait,
        Op::EpollPwait2 => poll::epoll_pwait2,
        Op::Nanosleep => time::nanosleep,
        Op::ClockNanosleep => time::clock_nanosleep,
        Op::SchedYield => time::sched_yield,
        Op::ClockGettime => cpu_clock::clock_gettime,
        Op::ClockGetres | Op::ClockSettime => cpu_clock::clock_about,
        Op::Getrusage => cpu_clock::getrusage,
        Op::Wait4 => process::wait4,
        Op::Waitid => process::waitid,
        Op::Execve | Op::Execveat => process::exec,
        Op::Futex => futex::futex,
        Op::FutexWaitv => futex::futex_waitv,
        Op::Clone | Op::Clone3 => thread::clone,
        Op::Fork => thread::fork_call,
        Op::Vfork => thread::vfork_call,
        Op::Exit => thread::exit,
        Op::ExitGroup => thread::exit_group,
        Op::Gettid => thread::gettid,
        Op::SetTidAddress => thread::set_tid_address,
        Op::SetRobustList => thread::set_robust_list,
        Op::GetRobustList => thread::get_robust_list,
        Op::Rseq => rseq::rseq,
        Op::Prctl => thread::prctl,
        Op::ArchPrctl => machine::arch_prctl,
        Op::PkeyAlloc => machine::pkey_alloc,
        Op::Setuid
        | Op::Setgid
        | Op::Setreuid
        | Op::Setregid
        | Op::Setgroups
        | Op::Setresuid
        | Op::Setresgid
        | Op::Setfsuid
        | Op::Setfsgid
        | Op::Seccomp
        | Op::Setns
        | Op::LandlockRestrictSelf
        | Op::Unshare => thread::credentials,
        Op::SchedSetaffinity => sched::setaffinity,
        Op::SchedGetaffinity => sched::getaffinity,
        Op::SchedSetscheduler => sched::setscheduler,
        Op::SchedGetscheduler => sched::getscheduler,
        Op::SchedSetparam => sched::setparam,
        Op::SchedGetparam => sched::getparam,
        Op::SchedSetattr => sched::setattr,
        Op::SchedGetattr => sched::getattr,
        Op::SchedRrGetInterval => sched::rr_get_interval,
        Op::Getpriority => sched::getpriority,
        Op::Setpriority => sched::setpriority,
        Op::IoprioSet => sched::ioprio_set,
        Op::IoprioGet => sched::ioprio_get,
        Op::Prlimit64 => identity::prlimit64,
        Op::Getrlimit => identity::getrlimit,
        Op::Setrlimit => identity::setrlimit,
        Op::Getpgid
        | Op::Getsid
        | Op::Kill
        | Op::RtSigqueueinfo
        | Op::ProcessVmReadv
        | Op::ProcessVmWritev => identity::first,
        Op::Kcmp => identity::kcmp,
        Op::MigratePages | Op::MovePages => identity::pages,
        Op::Setpgid | Op::PidfdOpen => identity::leader_only,
        Op::Capget => identity::capget,
        Op::Capset => identity::capset,
        Op::Mmap => memory::mmap,
        Op::Mprotect => memory::mprotect,
        Op::Munmap => memory::munmap,
        Op::Mremap => memory::mremap,
        Op::RtSigaction => signal::rt_sigaction,
        Op::RtSigprocmask => signal::rt_sigprocmask,
        Op::RtSigpending => signal::rt_sigpending,
        Op::RtSigsuspend => signal::rt_sigsuspend,
        Op::RtSigtimedwait => signal::rt_sigtimedwait,
        Op::Sigaltstack => signal::sigaltstack,
        Op::Signalfd | Op::Signalfd4 => signal::signalfd,
        Op::Pause => signal::pause,
        Op::TimerCreate => signal::timer_create,
        Op::TimerDelete => signal::timer_delete,
        Op::TimerGetoverrun => signal::timer_getoverrun,
        Op::Tkill => signal::tkill,
        Op::Tgkill => signal::tgkill,
        Op::RtTgsigqueueinfo => signal::rt_tgsigqueueinfo,
        Op::Shmat => memory::shmat,
        Op::Shmdt => memory::shmdt,
    }
}
