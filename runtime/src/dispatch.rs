//! From the number in `rax` to the operation that carries the call out.
//!
//! Whose call it is stands in the thread-local word of the TCB it was made on:
//!
//! | word | caller | what happens |
//! |---|---|---|
//! | 0 | the program's thread before there is a hub, or a kernel thread that is no guest | the kernel's; futexes go to the table; the first thread creation starts the hub |
//! | [`POOL_WORD`] | a thread of the offload pool | as 0 |
//! | [`HOST_WORD`] | host code | the kernel's |
//! | [`FOREIGN_WORD`] | a kernel thread of the program's own beside the hub | see [`foreign`] |
//! | else | the guest whose record it points to | its operation |
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use patch_events::events;

use crate::api::section::Section;
use crate::arch::{self, syscall0};
use crate::catch;
use crate::chaos;
use crate::config::{self, Config};
use crate::control;
use crate::foreign::{self, FOREIGN_WORD};
use crate::frame::Frame;
use crate::group::{Group, GroupSet};
use crate::guest::{Guest, life};
use crate::heir;
use crate::host::{self, HOST_WORD, POOL_WORD};
use crate::hub::{hub, processor, recruit};
use crate::interrupt;
use crate::lookup;
use crate::monitor;
use crate::ops::{self, Call, Op as Operation, Outcome};
use crate::patching;
use crate::proc_files;
use crate::raw::{self, err, is_restart};
use crate::reactor::Reactor;
use crate::reactor::fds;
use crate::selection::{self, Selection};
use crate::sharers;
use crate::signal;
use crate::syscalls::{self, Op};
use crate::trace;
use crate::wanted;

/// How far the process is on its way to a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// No hub: the first thread creation starts one.
    Bare = 0,
    /// The hub is being started.
    Starting = 1,
    /// Guests run.
    Running = 2,
    /// There will be none: something could not be patched or made.
    Off = 3,
}

static PHASE: AtomicU8 = AtomicU8::new(0);

/// Sets the phase. Called where only one thread can be concerned.
pub fn set_phase(phase: Phase) {
    PHASE.store(phase as u8, Ordering::Release);
}

fn phase() -> Phase {
    match PHASE.load(Ordering::Acquire) {
        0 => Phase::Bare,
        1 => Phase::Starting,
        2 => Phase::Running,
        _ => Phase::Off,
    }
}

/// Whether guests run.
pub fn is_running() -> bool {
    phase() == Phase::Running
}

/// By number: the operation, if its group is on. Filled before the first guest runs.
///
/// # Synchronization
/// Written once, on the only thread that may become a guest; read afterwards.
struct Operations(core::cell::UnsafeCell<[Option<Operation>; syscalls::LIMIT]>);

// SAFETY: see Synchronization.
unsafe impl Sync for Operations {}

static OPERATIONS: Operations = Operations(core::cell::UnsafeCell::new([None; syscalls::LIMIT]));

/// Carries out the call in `frame` and leaves its result there.
///
/// Up to where our code begins, and from where it ends, a handler may run on top of this
/// function, and unwind the guest's stack through it, as that of an asynchronous cancellation
/// does. So it needs no cleaning up, and calls nothing that could unwind: its own functions
/// are `extern "C"`, and are not inlined. `scripts/check-unwinding` looks at what the compiler
/// made of it.
///
/// # Safety
/// Called by `arch::entry` alone, on the stack of the thread that made the call.
pub unsafe extern "C" fn dispatch(frame: *mut Frame) {
    // SAFETY: entry built the frame on this stack and uses it only after we return.
    let frame = unsafe { &mut *frame };
    let word = arch::current_word();
    if is_no_guest(word) {
        // SAFETY: the present call of this thread.
        unsafe { call_of_no_guest(word, frame) };
        return;
    }
    // SAFETY: the word of a guest's TCB points to its record while it lives.
    let guest: &'static Guest = unsafe { &*(word as *const Guest) };
    let hub = guest.hub();
    if sharers::any() {
        // SAFETY: the present call of this thread.
        if unsafe { is_of_sharer(frame) } {
            return;
        }
    }
    if processor::here().shared_child.get() {
        // SAFETY: as above.
        if unsafe { is_of_vforks_child(guest, frame) } {
            return;
        }
        hub.left_shim();
    }
    // SAFETY: filled before there was a guest.
    let wanted = unsafe { (&*OPERATIONS.0.get()).get(frame.rax as usize) };
    if !matches!(wanted, Some(Some(_))) && !catch::is_on() {
        frame.run_native();
        return;
    }
    let began = hub.claim_shim();
    // SAFETY: the guest's present call.
    let mut leaves = unsafe { guest_call(guest, frame, began) };
    while leaves {
        hub.left_shim();
        // What arrives after this look finds the guest's own code. A handler must not
        // run between a vfork's being prepared and made.
        if !signal::pending(guest) || processor::here().shared_child.get() || hub.in_section() {
            return;
        }
        let began = hub.claim_shim();
        // SAFETY: as above.
        leaves = unsafe { look_again(guest, frame, began) };
    }
}

/// The call of a kernel thread that is no guest, by its word.
#[inline(never)]
unsafe extern "C" fn call_of_no_guest(word: usize, frame: &mut Frame) {
    match word {
        // Host code and the pool's threads share locks, so their futexes meet in
        // the table too.
        // SAFETY: the present call of this thread.
        HOST_WORD if frame.rax as i64 == libc::SYS_futex => unsafe { ops::futex::foreign(frame) },
        // SAFETY: as above.
        HOST_WORD => unsafe { host::host_call(frame) },
        // SAFETY: as above.
        FOREIGN_WORD => unsafe { foreign::call(frame) },
        // SAFETY: as above.
        _ => unsafe { bare_call(frame) },
    }
}

/// A kernel thread on the guest's TCB: its call is carried out. False: the guest itself.
#[inline(never)]
unsafe extern "C" fn is_of_sharer(frame: &mut Frame) -> bool {
    let is_one = sharers::is_one();
    if is_one {
        // SAFETY: the present call of this thread.
        unsafe { foreign::call(frame) };
    }
    is_one
}

/// The child of a vfork, on its parent's TCB; or, false, its parent, which is back: in our
/// code up to its last step.
#[inline(never)]
unsafe extern "C" fn is_of_vforks_child(guest: &'static Guest, frame: &mut Frame) -> bool {
    let hub = guest.hub();
    // SAFETY: no arguments.
    if unsafe { syscall0(libc::SYS_getpid) } != hub.pid.get() as i64 {
        trace::program::about_to_exec(frame);
        frame.run_native();
        return true;
    }
    hub.enter_shim();
    // Not before: a guest may be moved to another processor.
    if processor::here().shared_child.replace(false) {
        signal::resync();
    }
    hub.leaves_shim();
    false
}

/// A guest's call. Our code has been claimed. True: it has come to its last step, but for
/// handlers that are to run; false: the guest goes on at `frame` as that says.
#[inline(never)]
unsafe extern "C" fn guest_call(guest: &'static Guest, frame: &mut Frame, began: bool) -> bool {
    let hub = guest.hub();
    hub.claimed_shim(began);
    // SAFETY: filled before there was a guest.
    let operation = unsafe {
        (&*OPERATIONS.0.get())
            .get(frame.rax as usize)
            .copied()
            .flatten()
    };
    guest.frame.set(frame);
    if heir::is_wanted() {
        // Others may learn by this call that it holds a lock.
        heir::look(guest);
    }
    let Some(operation) = operation else {
        catch::run_native(frame);
        hub.leaves_shim();
        return true;
    };
    let nr = frame.rax;
    loop {
        let a = frame.args();
        let mut call = Call {
            guest,
            hub,
            frame,
            a,
        };
        // SAFETY: the guest's present call.
        match unsafe { operation(&mut call) } {
            Outcome::Done(ret) if is_restart(ret) => {
                if trace::waits() {
                    trace::call::returned(guest, nr, frame, err(libc::EINTR));
                }
                if !signal::deliver_interrupted(guest, frame, ret) {
                    if guest.interrupt.is_armed()
                        && let Some(ret) = interrupt::deliver(guest, nr as i64)
                    {
                        frame.rax = ret as u64;
                        break;
                    }
                    // No handler ran after all: as if nothing had happened.
                    continue;
                }
                // Every signal is blocked.
                hub.leave_shim();
                return false;
            }
            // A call that is never restarted.
            Outcome::Done(ret)
                if ret == err(libc::EINTR)
                    && guest.interrupt.is_armed()
                    && !signal::pending(guest) =>
            {
                let ret = interrupt::deliver(guest, nr as i64).unwrap_or(ret);
                frame.rax = ret as u64;
            }
            Outcome::Done(ret) => frame.rax = ret as u64,
            Outcome::Native => catch::run_native(frame),
            Outcome::AsSet => {}
        }
        break;
    }
    if phase() != Phase::Running {
        // The child of a fork: bare again.
        return false;
    }
    if trace::waits() {
        trace::call::returned(guest, nr, frame, frame.rax as i64);
    }
    // Not between a vfork's being prepared and made: whoever ran then would take the
    // child for gone.
    if !hub.in_section() && hub.take_preemption() && !processor::here().shared_child.get() {
        hub.give_way(guest);
    }
    hub.leaves_shim();
    true
}

/// A signal has arrived before the guest's own code goes on at `frame`. Our code has been
/// claimed. As [`guest_call`].
#[inline(never)]
unsafe extern "C" fn look_again(guest: &'static Guest, frame: &mut Frame, began: bool) -> bool {
    let hub = guest.hub();
    hub.claimed_shim(began);
    if signal::deliver(guest, frame) {
        // Every signal is blocked.
        hub.leave_shim();
        return false;
    }
    hub.leaves_shim();
    true
}

/// The guest's own code goes on at `frame`: handlers of what arrived meanwhile
/// run first. For the begin of a thread, on top of which nothing unwinds.
pub fn leave(guest: &Guest, frame: &mut Frame) {
    let hub = guest.hub();
    loop {
        hub.leave_shim();
        if !signal::pending(guest) || processor::here().shared_child.get() || hub.in_section() {
            return;
        }
        hub.enter_shim();
        if signal::deliver(guest, frame) {
            hub.leave_shim();
            return;
        }
    }
}

/// A call on a TCB that is neither a guest's nor the host's.
unsafe fn bare_call(frame: &mut Frame) {
    let nr = frame.rax as i64;
    if phase() == Phase::Starting {
        // SAFETY: no arguments.
        let tid = unsafe { syscall0(libc::SYS_gettid) } as i32;
        if host::is_starting(tid) {
            // SAFETY: the present call.
            unsafe { starting_call(frame, tid) };
            return;
        }
    }
    match nr {
        libc::SYS_exit_group => {
            tell_of_end(frame);
            frame.run_native();
        }
        libc::SYS_execve | libc::SYS_execveat if phase() == Phase::Bare => {
            tell_of_end(frame);
            frame.run_native();
        }
        libc::SYS_futex if phase() == Phase::Running => {
            // SAFETY: the present call.
            unsafe { ops::futex::foreign(frame) };
        }
        libc::SYS_clone | libc::SYS_clone3 if phase() == Phase::Bare && may_start_here() => {
            // SAFETY: the present call.
            match unsafe { life::thread_args(frame) } {
                // SAFETY: as above.
                Some(args) if unsafe { start() } => {
                    // SAFETY: `start` made this thread a guest.
                    let guest = unsafe { &*(arch::current_word() as *const Guest) };
                    guest.hub().enter_shim();
                    // SAFETY: the present call.
                    frame.rax = unsafe { life::create(guest, frame, &args) } as u64;
                    leave(guest, frame);
                }
                _ => frame.run_native(),
            }
        }
        _ => frame.run_native(),
    }
}

unsafe fn starting_call(frame: &mut Frame, tid: i32) {
    match frame.rax as i64 {
        libc::SYS_clone | libc::SYS_clone3 => {
            // SAFETY: the present call.
            match unsafe { life::thread_args(frame) } {
                // SAFETY: as above.
                Some(args) => unsafe { host::catch(frame, &args, tid) },
                None => frame.run_native(),
            }
        }
        // SAFETY: as above.
        libc::SYS_epoll_create1 | libc::SYS_eventfd2 => unsafe { host::open_private(frame) },
        _ => frame.run_native(),
    }
}

/// If the call ends the program, or makes it another one: what is left is told first. For
/// kernel threads that are no guests.
pub fn tell_of_end(frame: &Frame) {
    match frame.rax as i64 {
        libc::SYS_exit_group => trace::finish(None),
        libc::SYS_execve | libc::SYS_execveat => trace::before_exec(None, frame),
        _ => {}
    }
}

/// The kernel thread that alone may start the hub; 0 if any may.
static STARTER: AtomicI32 = AtomicI32::new(0);

/// The program has other threads, which may make threads at any time: that of the caller
/// starts the hub.
pub fn start_here_only() {
    // SAFETY: no arguments.
    let tid = unsafe { syscall0(libc::SYS_gettid) } as i32;
    STARTER.store(tid, Ordering::Relaxed);
}

/// Any thread may start the hub: there is only one, as in a forked child.
pub fn start_anywhere() {
    STARTER.store(0, Ordering::Relaxed);
}

fn may_start_here() -> bool {
    let starter = STARTER.load(Ordering::Relaxed);
    // SAFETY: no arguments.
    starter == 0 || starter == unsafe { syscall0(libc::SYS_gettid) } as i32
}

/// The program makes its first thread: patches what was left, starts the hub, and
/// makes the calling thread its first guest. False: the program stays bare.
///
/// # Safety
/// Called on the program's own stack, from a clone call.
unsafe fn start() -> bool {
    if PHASE
        .compare_exchange(
            Phase::Bare as u8,
            Phase::Starting as u8,
            Ordering::AcqRel,
            Ordering::Acquire,
        )
        .is_err()
    {
        return false;
    }
    let mask = signal::block_all();
    if let Err(refusal) = begin(mask) {
        set_phase(Phase::Off);
        for nr in 0..wanted::TABLE_LEN {
            wanted::want(nr, false);
        }
        if let Refusal::Because(reason) = refusal
            && raw::has_room(ROOM_TO_TELL)
        {
            events::NotPatched { reason }.emit();
        }
        signal::restore_kernel_mask(mask);
        return false;
    }
    true
}

/// Address space that the start of a hub takes besides the states of descriptors, with much
/// to spare; and that telling of a refusal takes. In bytes.
const ROOM: usize = 64 << 20;
const ROOM_TO_TELL: usize = 1 << 20;

/// Why the hub cannot start.
enum Refusal {
    /// The engine gave up, and has told why.
    Engine,
    /// This.
    Because(&'static str),
}

impl From<&'static str> for Refusal {
    fn from(reason: &'static str) -> Self {
        Refusal::Because(reason)
    }
}

/// Starts the hub with the calling thread as its first guest.
fn begin(mask: u64) -> Result<(), Refusal> {
    let config = config::get();
    let hub = hub();
    // SAFETY: no arguments.
    let (tid, pid) = unsafe {
        (
            syscall0(libc::SYS_gettid) as i32,
            syscall0(libc::SYS_getpid) as i32,
        )
    };
    // Written before any guest runs, on the only thread that can become one.
    let first = processor::first();
    // SAFETY: as above.
    let again = unsafe { (*first.ctx.get()).rsp } != 0;
    if !raw::has_room(ROOM + fds::table().size()) {
        return Err("no address space for the hub".into());
    }
    if again {
        // The records are there.
        hub.slab.begin(pid);
    } else {
        if !patching::ask(config.selection)
            .groups()
            .contains(Group::Thread)
        {
            return Err("without the group thread there is nobody to be cooperative".into());
        }
        match wanted::patch_all() {
            Some(outcome) if outcome.libc_complete => {}
            Some(_) => return Err(Refusal::Engine),
            None => return Err("no patch engine".into()),
        }
        arch::init_context();
        // Not before: it may take what is left next to libc, where the stubs have to be.
        hub.slab.begin(pid);
        if !hub.slab.init() || !fds::table().init() {
            return Err("no address space for the hub".into());
        }
        ops::memory::note_present_mappings();
        wanted::want(libc::SYS_epoll_create1 as usize, true);
        wanted::want(libc::SYS_eventfd2 as usize, true);
        let started = host::start(tid);
        wanted::want(libc::SYS_epoll_create1 as usize, false);
        wanted::want(libc::SYS_eventfd2 as usize, false);
        started?;
        if let Some(seed) = config.chaos {
            hub.begin_chaos(seed);
        }
        // SAFETY: no guest runs yet.
        unsafe { fill(&mut *OPERATIONS.0.get(), selection::in_use()) };
    }
    let hubs = hubs(config);
    match Reactor::open(config.loop_kind, hubs > 1) {
        Ok(reactor) => {
            events::HubStarted {
                reactor: reactor.name(),
                kernel_tid: tid,
            }
            .emit();
            hub.set_reactor(Some(reactor));
        }
        Err(_) => return Err("the kernel gives no reactor".into()),
    }
    first.set_kernel_tid(tid);
    hub.pid.set(pid);
    hub.foreign
        .set(tid != pid || STARTER.load(Ordering::Relaxed) != 0);
    catch::prepare();
    let Some(guest) = life::adopt(hub, tid) else {
        return Err("no room for the first guest".into());
    };
    signal::adopt(guest, mask);
    if !again {
        patching::carry_out(selection::in_use());
    }
    set_phase(Phase::Running);
    // The first call takes the host context through may's start-up, whose one event
    // is in a queue that a forked child would share with its parent.
    hub.call(guest, || {
        let mask = signal::block_all();
        recruit::start(hub, guest, hubs);
        for processor in processor::each() {
            proc_files::open(processor.index(), processor.kernel_tid());
        }
        monitor::start(config.preempt.map(|quantum| quantum.as_nanos() as u64));
        trace::totals::begin();
        control::start(config);
        signal::restore_kernel_mask(mask);
        catch::start();
    });
    Ok(())
}

/// How many kernel threads are to run guests.
fn hubs(config: &Config) -> usize {
    if config.catch && config.hubs > 1 {
        // The kernel catches calls for a thread, and guests change theirs.
        let reason = "calls are caught on one kernel thread alone";
        events::HubsLimited { hubs: 1, reason }.emit();
        return 1;
    }
    config.hubs
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

/// Whether our code runs on a guest's TCB now, where it must not allocate. For
/// assertions.
pub fn in_guest_mode() -> bool {
    let word = arch::current_word();
    !is_no_guest(word) && phase() == Phase::Running && hub().in_shim() && !hub().in_section()
}

/// Whether a TCB's word is none that points to a guest.
pub fn is_no_guest(word: usize) -> bool {
    matches!(word, 0 | HOST_WORD | POOL_WORD | FOREIGN_WORD)
}

/// The guest that makes this call, if the program runs on one now.
#[inline]
pub fn current_guest() -> Option<&'static Guest> {
    match arch::current_word() {
        word if is_no_guest(word) => None,
        // SAFETY: the word of a guest's TCB points to its record while it lives.
        word => Some(unsafe { &*(word as *const Guest) }),
    }
}

/// The guest whose `pthread_t` this is, if it is a guest's. The initial thread's
/// name is the kernel's, so it is left out.
///
/// # Safety
/// `thread` must be of a thread of this process that has not ended.
pub unsafe fn guest_of(thread: libc::pthread_t) -> Option<&'static Guest> {
    if phase() != Phase::Running {
        return None;
    }
    // SAFETY: in glibc a pthread_t is the thread pointer.
    match unsafe { arch::word_of(thread) } {
        word if is_no_guest(word) => None,
        // SAFETY: the word of a guest's TCB points to its record while it lives.
        word => Some(unsafe { &*(word as *const Guest) }).filter(|guest| !guest.is_initial()),
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
        aio, connect, cpu_clock, fd, futex, identity, ipc, lock, memory, net, offloaded, pages,
        poll, process, sched, send, signal, splice, thread, time, uring,
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
        Op::Rseq => thread::rseq,
        Op::Prctl => thread::prctl,
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
        Op::Prlimit64
        | Op::Getpgid
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
    }
}
