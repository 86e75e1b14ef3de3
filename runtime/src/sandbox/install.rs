//! The installation of a filter.
#![allow(unsafe_code)]

use core::ptr;
use core::sync::atomic::Ordering;

use patch_events::{events, numbers};

use super::bpf::{Instruction, MOST};
use super::{
    ALL, ALLOW, ARCH, BINDS, DOWN, Filter, HUBS, KILL_THREAD, NEWEST, STRICT, guard_operations,
    lets_pass, refuses,
};
use crate::arch;
use crate::guest::Guest;
use crate::hub::processor;
use crate::monitor;
use crate::offload;
use crate::ops::Call;
use crate::raw;
use crate::reactor::fds;
use crate::wanted;

/// SECCOMP_SET_MODE_STRICT and SECCOMP_SET_MODE_FILTER (seccomp(2)).
const SET_STRICT: u64 = 0;
const SET_FILTER: u64 = 1;
/// SECCOMP_MODE_STRICT and SECCOMP_MODE_FILTER (prctl(2)).
const MODE_STRICT: u64 = 1;
const MODE_FILTER: u64 = 2;
const TSYNC: u64 = libc::SECCOMP_FILTER_FLAG_TSYNC;
const TSYNC_ESRCH: u64 = libc::SECCOMP_FILTER_FLAG_TSYNC_ESRCH;

/// The thread that has a filter which the caller has not, so that a filter can't be for all.
fn diverged(c: &Call<'_>) -> Option<i64> {
    let own = c.guest.filter.get();
    let has_others = |guest: &&Guest| !Filter::is_among(guest.filter.get(), own);
    let first = c.hub.guests().find(has_others)?;
    Some(i64::from(first.tid.get()))
}

/// What a call asks for.
enum Wish {
    /// A filter: its `struct sock_fprog`, and whether it is for all threads.
    Filter { program: u64, all: bool },
    /// read, write, exit and rt_sigreturn alone.
    Strict,
}

fn wish(nr: u64, a: [u64; 6]) -> Option<Wish> {
    match (nr as i64, a[0], a[1]) {
        (libc::SYS_seccomp, SET_FILTER, flags) => Some(Wish::Filter {
            program: a[2],
            all: flags & TSYNC != 0,
        }),
        (libc::SYS_seccomp, SET_STRICT, 0) if a[2] == 0 => Some(Wish::Strict),
        (libc::SYS_prctl, set, mode) if set == libc::PR_SET_SECCOMP as u64 => match mode {
            MODE_FILTER => Some(Wish::Filter {
                program: a[2],
                all: false,
            }),
            MODE_STRICT => Some(Wish::Strict),
            _ => None,
        },
        _ => None,
    }
}

/// The kernel's `struct sock_fprog`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Program {
    len: u16,
    pad: [u16; 3],
    code: u64,
}

/// Host context. Copies the program's filter. `None`: the kernel will refuse it.
fn copied(program: u64) -> Option<Vec<Instruction>> {
    // SAFETY: the guest's own argument; any bytes make one.
    let program: Program = unsafe { raw::get(program) }.ok()?;
    let len = usize::from(program.len);
    if len == 0 || len > MOST {
        return None;
    }
    let mut code = vec![Instruction::default(); len];
    let bytes = len * size_of::<Instruction>();
    // SAFETY: room for that many bytes, any of which make instructions.
    unsafe { arch::copy(code.as_mut_ptr().cast(), program.code as *const u8, bytes) }
        .then_some(code)
}

/// What strict mode allows, and what the kernel is told to let pass then: the hub goes on for
/// guests that are not in strict mode, and the one that is has its other calls refused by
/// [`guard`](super::guard).
const STRICT_CALLS: [i64; 4] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_exit,
    libc::SYS_rt_sigreturn,
];
const KEPT: [i64; 8] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_exit,
    libc::SYS_rt_sigreturn,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_rt_sigprocmask,
    libc::SYS_gettid,
];
/// SECCOMP_RET_ERRNO with EPERM.
const REFUSE: u32 = 0x0005_0000 | libc::EPERM as u32;

/// A filter that lets `calls` pass, and answers `otherwise` to the rest.
fn list(calls: &[i64], otherwise: u32) -> Vec<Instruction> {
    let one = |code, jf, k| Instruction { code, jt: 0, jf, k };
    let mut code = vec![one(0x20, 0, 0)];
    for &nr in calls {
        code.extend([one(0x15, 1, nr as u32), one(0x06, 0, ALLOW)]);
    }
    code.push(one(0x06, 0, otherwise));
    code
}

/// A call that has no substitute: handlers of the program's are entered by it.
const MASK: i64 = libc::SYS_rt_sigprocmask;

/// Whether the filters let every change of the mask of signals pass, whose argument a filter sees.
fn changes_masks() -> bool {
    let ways = [libc::SIG_BLOCK, libc::SIG_UNBLOCK, libc::SIG_SETMASK];
    let mut args = ways.iter().map(|&how| [how as u64, 0, 0, 8, 0, 0]);
    args.all(|args| lets_pass(MASK as u64, &args))
}

/// A program's filter for the kernel, but that [`MASK`] passes: guests are given the answer by
/// [`guard`](super::guard). `None`: it would be too long.
fn with_masks(code: &[Instruction]) -> Option<Vec<Instruction>> {
    let one = |code, jf, k| Instruction { code, jt: 0, jf, k };
    let mut all = vec![
        one(0x20, 0, 4),
        one(0x15, 3, ARCH),
        one(0x20, 0, 0),
        one(0x15, 1, MASK as u32),
        one(0x06, 0, ALLOW),
        // The program's own begins with a zero.
        one(0x00, 0, 0),
    ];
    all.extend(code);
    (all.len() <= MOST).then_some(all)
}

/// Has the kernel take the filter that `given` is for, in a call like the program's.
fn install_instead(nr: u64, mut a: [u64; 6], given: &[Instruction]) -> i64 {
    let program = Program {
        len: given.len() as u16,
        pad: [0; 3],
        code: given.as_ptr() as u64,
    };
    a[2] = &raw const program as u64;
    // SAFETY: the guest's own call, with a filter of ours that lives across it.
    unsafe { arch::syscall_unasked(nr, a) }
}

/// Has the kernel take a filter of ours.
fn install_list(code: &[Instruction]) -> i64 {
    let program = Program {
        len: code.len() as u16,
        pad: [0; 3],
        code: code.as_ptr() as u64,
    };
    let seccomp = [
        libc::PR_SET_SECCOMP as u64,
        MODE_FILTER,
        &raw const program as u64,
        0,
        0,
        0,
    ];
    // Strict mode asks for no privilege; and nothing can be executed in it.
    let privileges = [libc::PR_SET_NO_NEW_PRIVS as u64, 1, 0, 0, 0, 0];
    let prctl = libc::SYS_prctl as u64;
    // SAFETY: a filter of ours, which lives across the calls.
    unsafe {
        arch::syscall(prctl, privileges);
        arch::syscall(prctl, seccomp)
    }
}

/// Calls of the reactor that nothing else can stand for.
const OF_REACTOR: [i64; 1] = [libc::SYS_epoll_ctl];

/// Calls that wait for the reactor's events, of which one is enough.
const WAITS: [i64; 3] = [
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
];

/// Further calls of ours, for the warning.
const OTHERS: [(i64, &str); 12] = [
    (libc::SYS_epoll_ctl, "epoll_ctl"),
    (libc::SYS_epoll_pwait2, "epoll_pwait2"),
    (libc::SYS_io_uring_enter, "io_uring_enter"),
    (libc::SYS_futex, "futex"),
    (libc::SYS_poll, "poll"),
    (libc::SYS_preadv2, "preadv2"),
    (libc::SYS_pwritev2, "pwritev2"),
    (libc::SYS_fcntl, "fcntl"),
    (libc::SYS_rt_sigprocmask, "rt_sigprocmask"),
    (libc::SYS_madvise, "madvise"),
    (libc::SYS_clone, "clone"),
    (libc::SYS_rt_sigreturn, "rt_sigreturn"),
];

/// Brings the caller, and everybody else, to the first kernel thread that runs guests. The
/// others, which could not be reached any more afterwards, run nobody from here on.
fn gather(c: &Call<'_>) {
    /// How often those that compute elsewhere are asked to give way.
    const TURNS: u32 = 1000;
    if !processor::several() {
        return;
    }
    for _ in 0..TURNS {
        c.hub.gather();
        c.hub.yield_now(c.guest);
        if !c.hub.is_scattered() {
            break;
        }
    }
}

fn passes(nr: i64) -> bool {
    lets_pass(nr as u64, &[0; 6])
}

/// seccomp(2) and prctl(PR_SET_SECCOMP). `None`: the call asks for no filter, or for none that
/// can be read.
pub fn carry_out(c: &Call<'_>) -> Option<i64> {
    let wish = wish(c.frame.rax, c.a)?;
    let all = matches!(wish, Wish::Filter { all: true, .. });
    let strict = matches!(wish, Wish::Strict);
    let hub = c.hub;
    let node = hub.call(c.guest, || {
        let (code, given) = match wish {
            Wish::Filter { program, .. } => (copied(program)?, None),
            Wish::Strict => (list(&STRICT_CALLS, KILL_THREAD), Some(list(&KEPT, REFUSE))),
        };
        Some(Box::into_raw(Box::new(Filter {
            code,
            given,
            older: NEWEST.load(Ordering::Relaxed),
            parent: c.guest.filter.get(),
        })))
    })?;
    if all && let Some(tid) = diverged(c) {
        hub.call(c.guest, || {
            // SAFETY: the box above, which nobody refers to.
            drop(unsafe { Box::from_raw(node) });
        });
        let names_none = c.a[1] & TSYNC_ESRCH != 0;
        return Some(if names_none {
            raw::err(libc::ESRCH)
        } else {
            tid
        });
    }
    // SAFETY: the box above, in nobody else's hands.
    let older = unsafe { (*node).older }.cast_mut();
    // Looked at, but binding nobody yet.
    NEWEST.store(node, Ordering::Release);
    let waits = WAITS.into_iter().any(passes) && OF_REACTOR.into_iter().all(passes);
    // What a ring has a thread do interrupts calls that wait, which go on by the latter.
    let rings = passes(libc::SYS_io_uring_enter) && passes(libc::SYS_restart_syscall);
    let returns = passes(libc::SYS_rt_sigreturn);
    let masks = strict || changes_masks();
    hub.call(c.guest, || {
        if !masks {
            // SAFETY: the box above; nobody reads it meanwhile.
            let node = unsafe { &mut *node };
            node.given = with_masks(&node.code);
        }
        offload::fix(offload::BY_FILTER);
    });
    NEWEST.store(older, Ordering::Release);
    gather(c);
    if !rings || !waits {
        // SAFETY: the reference ends with the statement.
        while !unsafe { hub.reactor() }.drain_ring(hub) {
            hub.yield_now(c.guest);
        }
        // SAFETY: as above.
        hub.call(c.guest, || unsafe { hub.reactor() }.lose_ring());
    }
    if !waits {
        DOWN.store(true, Ordering::SeqCst);
        fds::table().wake_all(hub);
    }
    if !returns {
        // No handler of ours may be run any more.
        monitor::hold();
    }
    // Who has raised the limit may not be able to lower it afterwards.
    numbers::hold();
    let bound = BINDS.load(Ordering::Relaxed);
    // Another guest may have installed one meanwhile.
    let older = NEWEST.load(Ordering::Acquire);
    // SAFETY: the box above, in nobody else's hands yet.
    unsafe { (*node).older = older };
    if all {
        // Our other kernel threads have the filter as soon as the kernel has taken it.
        NEWEST.store(node, Ordering::Release);
        BINDS.store(ALL, Ordering::SeqCst);
        arch::ask_before_calls(refuses);
    }
    // SAFETY: the guest's own call, unchanged; or code that stays.
    let ret = unsafe {
        match (*node).given.as_deref() {
            Some(given) if strict => install_list(given),
            Some(given) => install_instead(c.frame.rax, c.a, given),
            None => arch::syscall_unasked(c.frame.rax, c.a),
        }
    };
    let listener = c.frame.rax as i64 == libc::SYS_seccomp
        && c.a[1] & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0;
    if ret < 0 || ret > 0 && !listener {
        NEWEST.store(older, Ordering::Release);
        BINDS.store(bound, Ordering::SeqCst);
        numbers::release();
        if !returns {
            monitor::release();
        }
        // Another kernel thread may still look at one that was for all.
        if !all {
            hub.call(c.guest, || {
                // SAFETY: the box above, which nobody refers to.
                drop(unsafe { Box::from_raw(node) });
            });
        }
        if !super::is_on() {
            // Everything may go on as before.
            DOWN.store(false, Ordering::SeqCst);
            offload::release(offload::BY_FILTER);
        }
        return Some(ret);
    }
    NEWEST.store(node, Ordering::Release);
    BINDS.fetch_max(if all { ALL } else { HUBS }, Ordering::SeqCst);
    arch::ask_before_calls(refuses);
    numbers::release();
    if all {
        hub.guests().for_each(|guest| guest.filter.set(node));
    }
    c.guest.filter.set(node);
    STRICT.fetch_or(strict, Ordering::Relaxed);
    guard_operations();
    for nr in 0..wanted::TABLE_LEN {
        wanted::want(nr, true);
    }
    let is_other = |guest: &&Guest| !ptr::eq(guest.filter.get(), node);
    let others = hub.guests().filter(is_other).count();
    hub.call(c.guest, || {
        let refused: Vec<&str> = OTHERS
            .iter()
            .filter(|&&(nr, _)| !passes(nr))
            .map(|&(_, name)| name)
            .collect();
        events::Filtered {
            calls: &refused.join(", "),
            others,
        }
        .emit();
    });
    Some(ret)
}
