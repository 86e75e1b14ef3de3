//! The start of the hub, with the thread that makes the program's first one as its first guest.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicI32, Ordering};

use patch_events::events;

use super::{PHASE, Phase, operations, set_phase};
use crate::arch::{self, rare, syscall0, syscall1};
use crate::catch;
use crate::config::{self, Config};
use crate::control;
use crate::fd_table;
use crate::futex;
use crate::group::Group;
use crate::guest::{life, most};
use crate::heap_reserve;
use crate::host;
use crate::hub::{hub, processor, recruit};
use crate::libc_threads;
use crate::monitor;
use crate::patching;
use crate::private;
use crate::proc_files;
use crate::raw;
use crate::reactor::Reactor;
use crate::reactor::fds;
use crate::sandbox::{self, inherited};
use crate::selection;
use crate::sharing;
use crate::signal;
use crate::trace;
use crate::wanted;

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

pub(super) fn may_start_here() -> bool {
    let starter = STARTER.load(Ordering::Relaxed);
    // SAFETY: no arguments.
    starter == 0 || starter == unsafe { syscall0(libc::SYS_gettid) } as i32
}

/// The program is about to make its first thread, and no site tells of it: starts the hub.
///
/// # Safety
/// Called on the program's own stack, where nothing of ours is below.
pub unsafe fn expect_thread() {
    if super::phase() != Phase::Bare || arch::current_word() != 0 || !may_start_here() {
        return;
    }
    // SAFETY: the caller's contract.
    if unsafe { start(0) } {
        let hub = hub();
        hub.enter_shim();
        hub.leave_shim();
    }
}

/// The program makes its first thread: patches what was left, starts the hub, and
/// makes the calling thread its first guest. False: the program stays bare.
///
/// # Safety
/// Called on the program's own stack, from a clone call with number `nr`, or before one: 0.
pub(super) unsafe fn start(nr: u64) -> bool {
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
    // The host context, and every thread of ours, begins with what is set here.
    let _floats = arch::DefaultFloats::begin();
    inherited::look(nr);
    if let Err(refusal) = begin(mask) {
        set_phase(Phase::Off);
        catch::give_up();
        for nr in 0..wanted::TABLE_LEN {
            wanted::want(nr, false);
        }
        if let Refusal::Because(reason) = refusal
            && raw::has_room(ROOM_TO_TELL)
        {
            events::NotPatched { reason }.emit();
        }
        signal::give_kernel_mask_back(mask);
        return false;
    }
    true
}

/// Address space that the start of a hub takes, with some to spare; and that telling of a
/// refusal takes. In bytes.
const ROOM: usize = 16 << 20;
const ROOM_TO_TELL: usize = 1 << 20;

/// Where RLIMIT_AS is less, in bytes, a hub would take more than a twentieth of what the program
/// has.
const LITTLE_ADDRESS_SPACE: u64 = 128 << 20;

/// Where the hard RLIMIT_NOFILE is not above this the program is to have all numbers: a hub
/// takes a dozen, among them the lowest ones.
const FEW_DESCRIPTORS: u64 = 64;

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
    sandbox::may_start()?;
    if rare::has_shadow_stack() {
        return Err(
            "the thread has a shadow stack, on which coroutines cannot change places".into(),
        );
    }
    private::mind_filters();
    // The one kernel thread has files to read, and our descriptors to open.
    let _room = private::room();
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
    if !raw::has_room(ROOM) {
        return Err("no address space for the hub".into());
    }
    if !again && raw::soft_limit(libc::RLIMIT_AS) < LITTLE_ADDRESS_SPACE {
        futex::give_up();
        return Err("RLIMIT_AS leaves too little address space for a hub".into());
    }
    if raw::most_descriptors() <= FEW_DESCRIPTORS {
        return Err("RLIMIT_NOFILE leaves no descriptors for the hub".into());
    }
    if !again {
        futex::fit(raw::memory_limit());
    }
    heap_reserve::begin();
    // Before there are kernel threads of ours, which control groups count.
    most::begin();
    if again {
        // The records are there.
        hub.slab.begin(pid);
        hub.stacks.forget();
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
        libc_threads::init();
        arch::init_context();
        fd_table::begin();
        // Not before: it may take what is left next to libc, where the stubs have to be.
        hub.slab.begin(pid);
        if !hub.slab.init() || !fds::table().init() {
            return Err("no address space for the hub".into());
        }
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
        unsafe { operations::begin() };
    }
    // SAFETY: no pointers.
    let unfiltered = unsafe { syscall1(libc::SYS_prctl, libc::PR_GET_SECCOMP as u64) } == 0;
    rare::begin(unfiltered);
    sharing::begin();
    let hubs = hubs(config);
    match Reactor::open(config.loop_kind, hubs > 1) {
        Ok(reactor) => {
            events::HubStarted {
                reactor: reactor.name(),
                kernel_tid: tid,
            }
            .emit();
            inherited::tell();
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
    inherited::want();
    set_phase(Phase::Running);
    catch::start_early();
    // The first call takes the host context through may's start-up, whose one event
    // is in a queue that a forked child would share with its parent.
    hub.call(guest, || {
        let mask = signal::block_all();
        // To make a thread, libc allocates: for one that is not the program's, the host, from
        // 64 MiB of address space that malloc would reserve for it.
        let as_guest = |make: &mut dyn FnMut()| {
            // SAFETY: the guest is in the clone call of a thread's making, where libc holds
            // no lock, and waits for us.
            unsafe { arch::on_tcb((*guest.ctx.get()).fs, make) }
        };
        as_guest(&mut || recruit::start(hub, guest, hubs));
        for processor in processor::each() {
            proc_files::open(processor.index(), processor.kernel_tid());
        }
        let quantum = config.preempt.map(|quantum| quantum.as_nanos() as u64);
        as_guest(&mut || monitor::start(quantum));
        trace::totals::begin();
        control::start(config);
        signal::restore_kernel_mask(mask);
        catch::start();
    });
    Ok(())
}

/// How many kernel threads are to run guests.
fn hubs(config: &Config) -> usize {
    if catch::is_wanted() && config.hubs > 1 {
        // The kernel catches calls for a thread, and guests change theirs.
        let reason = "calls are caught on one kernel thread alone";
        events::HubsLimited { hubs: 1, reason }.emit();
        return 1;
    }
    config.hubs
}
