//! The process's other kernel threads stand still while text is written, and go on in the
//! stubs if they were where jumps are now: how a program is patched that has threads
//! already.
//!
//! Each thread is sent a signal of its own. Its handler says where it was interrupted, and
//! waits. When all are there, and none has come into being meanwhile, the text is written;
//! whoever was inside a window goes on at the same instruction in the window's stub. A call
//! that the signal ended with EINTR, though a handler with SA_RESTART ran, is made again, as
//! if nothing had been: it may wait for longer than its time-out said, by as much as it had
//! waited before. (A sleep that says what is left goes on with that.)
//!
//! A thread that blocks the signal can't be stopped, and then nothing is written.
//!
//! # Synchronization
//! One stop at a time ([`STOPPING`]). While threads stand still, any lock may be held by one
//! of them: nothing is allocated, and no lock is taken, by libc neither. The slots are
//! written by their threads before ARRIVED, and by the stopper between that and GO; they are
//! given up only once every thread has counted LEFT. If a stop fails they stay for ever, since
//! a handler may still run.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fmt;
use std::io::{Cursor, Write};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gevent_runtime::arch::{self, Ucontext, syscall0, syscall3, syscall4};
use gevent_runtime::foreign::FOREIGN_WORD;
use gevent_runtime::raw;
use gevent_runtime::signal::Info;
use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::Errno;

use crate::arch::may_be_interrupted;
use crate::maps::Mapping;

/// The signal: SIGRTMAX-1, which few programs use. A thread that was in the middle of a call of
/// libc's would take libc's own for it.
const STOP: i32 = 63;
/// How long all threads together may take to stand still.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a thread may block signals before the others go on.
const MOMENT: Duration = Duration::from_millis(200);
/// Bytes of a stack that are searched for interrupted contexts.
const STACK: u64 = 256 << 10;
const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// Why threads could not be stopped where they may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotStopped {
    /// This one blocks the signal.
    #[error("thread {0} blocks signal 63")]
    Blocked(i32),
    /// It did not run its handler in time.
    #[error("thread {0} could not be stopped")]
    Deaf(i32),
    /// It was in the middle of what was to be written, each time.
    #[error("thread {0} has something to do where a jump was to be written")]
    Inside(i32),
    /// New threads kept coming.
    #[error("threads are made all the time")]
    Restless,
    /// The list of threads can't be read.
    #[error("the list of threads can't be read: {0}")]
    Unlisted(Errno),
}

/// Where threads go on that are inside what is written.
#[derive(Debug, Default)]
pub struct Moves {
    /// What is written over: first address and the one after the last; ascending.
    windows: Vec<(u64, u64)>,
    /// An instruction there, and the same one elsewhere; ascending.
    moved: Vec<(u64, u64)>,
}

impl Moves {
    /// Of windows, and the instructions inside them that have another place now.
    pub fn new(mut windows: Vec<(u64, u64)>, mut moved: Vec<(u64, u64)>) -> Self {
        windows.sort_unstable();
        moved.sort_unstable();
        Self { windows, moved }
    }

    /// Whether an address lies behind the begin of a window, and in it.
    fn is_inside(&self, addr: u64) -> bool {
        let next = self.windows.partition_point(|w| w.0 < addr);
        next > 0 && addr < self.windows[next - 1].1
    }

    /// Where the instruction at an address is to be found. `None`: nowhere.
    fn place_of(&self, addr: u64) -> Option<u64> {
        if !self.is_inside(addr) {
            return Some(addr);
        }
        let at = self.moved.binary_search_by_key(&addr, |m| m.0).ok()?;
        Some(self.moved[at].1)
    }
}

/// A call that a thread was in before it was stopped.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    nr: i64,
    args: [u64; 6],
    /// The address after its `syscall`.
    behind: u64,
}

struct Slot {
    tid: i32,
    waiting: Option<Waiting>,
    context: AtomicPtr<Ucontext>,
}

static STOPPING: Mutex<()> = Mutex::new(());
/// Threads that were stopped when text was last written.
static KNOWN: Mutex<Vec<i32>> = Mutex::new(Vec::new());

static SLOTS: AtomicPtr<Slot> = AtomicPtr::new(std::ptr::null_mut());
static SENT: AtomicUsize = AtomicUsize::new(0);
static ARRIVED: AtomicU32 = AtomicU32::new(0);
static GO: AtomicU32 = AtomicU32::new(0);
static LEFT: AtomicU32 = AtomicU32::new(0);
/// Who stops them; it is not stopped.
static STOPPER: AtomicI32 = AtomicI32::new(0);

fn tid() -> i32 {
    // SAFETY: no arguments.
    unsafe { syscall0(libc::SYS_gettid) as i32 }
}

/// Waits until a word is no longer `value`, for a millisecond at most.
fn wait_on(word: &AtomicU32, value: u32) {
    let timeout = raw::ns_timespec(1_000_000);
    let wait = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as u64;
    let at = word.as_ptr() as u64;
    // SAFETY: a word and a time span of ours.
    unsafe {
        syscall4(
            libc::SYS_futex,
            at,
            wait,
            value as u64,
            &raw const timeout as u64,
        )
    };
}

fn wake(word: &AtomicU32) {
    let wake = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64;
    // SAFETY: a wake needs a valid address only.
    unsafe { syscall3(libc::SYS_futex, word.as_ptr() as u64, wake, i32::MAX as u64) };
}

/// The signal's handler, on the thread that is to stand still.
unsafe extern "C" fn stand_still(_: i32, info: *const Info, context: *mut Ucontext) {
    // SAFETY: the kernel's own frame.
    let info = unsafe { &*info };
    let slots = SLOTS.load(Ordering::Acquire);
    let index = info.0[3] as usize;
    if slots.is_null() || info.code() != libc::SI_QUEUE || index >= SENT.load(Ordering::Acquire) {
        return;
    }
    // SAFETY: the slots stay until every thread that arrived has left.
    let slot = unsafe { &*slots.add(index) };
    if slot.tid != tid() {
        return;
    }
    slot.context.store(context, Ordering::Release);
    ARRIVED.fetch_add(1, Ordering::SeqCst);
    wake(&ARRIVED);
    while GO.load(Ordering::Acquire) == 0 {
        wait_on(&GO, 0);
    }
    if arch::current_word() == 0 {
        arch::set_current_word(FOREIGN_WORD);
    }
    LEFT.fetch_add(1, Ordering::SeqCst);
    wake(&LEFT);
}

/// Runs `f` while every other thread of the process stands still outside of `moves`, and lets
/// them go on where their instructions are after it. `mappings` tells where stacks end.
///
/// # Errors
/// [`NotStopped`]: `f` was not run.
pub fn stopped<R>(
    moves: &Moves,
    mappings: &[Mapping],
    mut f: impl FnMut() -> R,
) -> Result<R, NotStopped> {
    let _alone = STOPPING.lock().unwrap_or_else(PoisonError::into_inner);
    let begin = Instant::now();
    loop {
        let mut stop = Stop::begin();
        let held = stop.everybody(begin).and_then(|()| {
            let inside = |slot: &&Slot| !may_move(slot, moves, mappings);
            match stop.slots().find(inside) {
                Some(slot) => Err(NotStopped::Inside(slot.tid)),
                None => Ok(()),
            }
        });
        let result = held.map(|()| f());
        // Also if one can't be stopped, the others come.
        let complete = result.is_ok() || stop.wait(begin).is_ok();
        let wrote = if result.is_ok() {
            moves
        } else {
            &Moves::default()
        };
        let stopped = stop.end(complete, wrote);
        match result {
            Ok(result) => {
                *KNOWN.lock().unwrap_or_else(PoisonError::into_inner) = stopped;
                return Ok(result);
            }
            // Who blocks signals for a moment may wait for a lock of one that stands still.
            Err(NotStopped::Inside(_) | NotStopped::Blocked(_))
                if complete && begin.elapsed() < PATIENCE / 2 =>
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Runs `f`, which changes a list of libc's, while those that were stopped before are not in
/// the middle of one: not in libc's own code, but for system calls.
pub fn outside_libc(f: &mut dyn FnMut()) {
    let _alone = STOPPING.lock().unwrap_or_else(PoisonError::into_inner);
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if known.is_empty() {
        return f();
    }
    let mappings = crate::maps::read().unwrap_or_default();
    let libc: Vec<_> = crate::maps::objects(&mappings)
        .into_iter()
        .filter(|object| object.kind != crate::maps::Kind::Other)
        .collect();
    let at_rest = |slot: &Slot| {
        let context = slot.context.load(Ordering::Acquire);
        // SAFETY: the thread stands still in its handler; one that has ended has none.
        let Some(ip) = (unsafe { context.as_ref() }).map(Ucontext::ip) else {
            return true;
        };
        !libc.iter().any(|object| object.contains(ip)) || is_at_call(ip)
    };
    let begin = Instant::now();
    loop {
        let mut stop = Stop::begin();
        let held = known
            .iter()
            .try_for_each(|&tid| stop.ask(tid, begin))
            .and_then(|()| stop.wait(begin));
        // Who stays there for that long copies or compares, and has no list in its hands.
        let fine = held.is_err() || stop.slots().all(at_rest) || begin.elapsed() > PATIENCE / 2;
        if fine {
            f();
        }
        stop.end(held.is_ok(), &Moves::default());
        if fine {
            return;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Whether a thread is behind a `syscall` or in front of one.
fn is_at_call(ip: u64) -> bool {
    let bytes = |at: u64| -> [u8; 2] {
        let at: *const u8 = std::ptr::with_exposed_provenance(at as usize);
        // SAFETY: text that the thread runs in; a `syscall` is nowhere at its very begin.
        unsafe { [at.read_volatile(), at.add(1).read_volatile()] }
    };
    bytes(ip - 2) == SYSCALL || bytes(ip) == SYSCALL
}

/// Whether a thread may go on after the text is written.
fn may_move(slot: &Slot, moves: &Moves, mappings: &[Mapping]) -> bool {
    // SAFETY: the thread stands still in its handler; one that has ended has no context.
    let Some(context) = (unsafe { slot.context.load(Ordering::Acquire).as_ref() }) else {
        return true;
    };
    if moves.place_of(context.ip()).is_none() {
        return false;
    }
    // Contexts that a handler of its own is to return to.
    let sp = context.sp().next_multiple_of(8);
    let Some(stack) = mappings.iter().find(|m| m.start <= sp && sp < m.end) else {
        return true;
    };
    let end = stack.end.min(sp + STACK).saturating_sub(16);
    (sp..end).step_by(8).all(|at| {
        let words: *const [u64; 3] = std::ptr::with_exposed_provenance(at as usize);
        // SAFETY: the stack of a thread that stands still, above its stack pointer.
        let words = unsafe { words.read_volatile() };
        !moves.is_inside(words[0]) || !may_be_interrupted(words)
    })
}

/// The text is written: where a thread is goes on being where it was.
fn go_on(slot: &Slot, moves: &Moves) {
    // SAFETY: as in `may_move`; the kernel reads the context when the handler returns.
    let Some(context) = (unsafe { slot.context.load(Ordering::Acquire).as_mut() }) else {
        return;
    };
    if let Some(call) = slot.waiting
        && context.result() == -i64::from(libc::EINTR)
        && context.ip() == call.behind
        && context.args() == call.args
        && let Some(args) = again(&call)
    {
        context.repeat(call.nr, args);
    }
    if let Some(place) = moves.place_of(context.ip()) {
        context.set_ip(place);
    }
}

/// The arguments with which a call is made again that a signal has ended, if it is one that
/// SA_RESTART does not have made again (signal(7)) and that has done nothing yet.
fn again(call: &Waiting) -> Option<[u64; 6]> {
    let mut args = call.args;
    match call.nr {
        // What is left was written there.
        libc::SYS_nanosleep if args[1] != 0 => args[0] = args[1],
        libc::SYS_clock_nanosleep if args[1] == 0 && args[3] != 0 => args[2] = args[3],
        libc::SYS_nanosleep
        | libc::SYS_clock_nanosleep
        | libc::SYS_poll
        | libc::SYS_ppoll
        | libc::SYS_select
        | libc::SYS_pselect6
        | libc::SYS_epoll_wait
        | libc::SYS_epoll_pwait
        | libc::SYS_epoll_pwait2
        | libc::SYS_pause
        | libc::SYS_rt_sigsuspend
        | libc::SYS_rt_sigtimedwait
        | libc::SYS_futex
        | libc::SYS_semop
        | libc::SYS_semtimedop
        | libc::SYS_msgrcv
        | libc::SYS_msgsnd
        | libc::SYS_io_getevents
        | libc::SYS_accept
        | libc::SYS_accept4
        | libc::SYS_recvfrom
        | libc::SYS_recvmsg
        | libc::SYS_sendto
        | libc::SYS_sendmsg => {}
        _ => return None,
    }
    Some(args)
}

/// Threads that are told to stand still, until [`end`](Stop::end).
struct Stop {
    slots: Vec<Slot>,
    old: libc::sigaction,
}

/// Room for threads that come into being meanwhile.
const ROOM: usize = 4096;

impl Stop {
    fn begin() -> Self {
        let slots = Vec::with_capacity(count().unwrap_or(0) + ROOM);
        STOPPER.store(tid(), Ordering::Relaxed);
        ARRIVED.store(0, Ordering::Relaxed);
        LEFT.store(0, Ordering::Relaxed);
        GO.store(0, Ordering::Relaxed);
        SENT.store(0, Ordering::Relaxed);
        // SAFETY: zero is a valid action.
        let (mut old, mut action): (libc::sigaction, libc::sigaction) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        action.sa_sigaction = stand_still as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
        // SAFETY: the handler calls nothing but the kernel.
        unsafe {
            libc::sigfillset(&mut action.sa_mask);
            libc::sigaction(STOP, &action, &mut old);
        }
        Self { slots, old }
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    /// Stops every thread but the caller's.
    fn everybody(&mut self, begin: Instant) -> Result<(), NotStopped> {
        loop {
            let before = self.slots.len();
            let mut result = Ok(());
            each_thread(|tid| {
                if result.is_ok() && !self.slots.iter().any(|slot| slot.tid == tid) {
                    result = self.ask(tid, begin);
                }
            })
            .map_err(NotStopped::Unlisted)?;
            result?;
            if self.slots.len() == before {
                return Ok(());
            }
            self.wait(begin)?;
        }
    }

    /// Asks a thread to stand still, unless it has ended.
    fn ask(&mut self, tid: i32, begin: Instant) -> Result<(), NotStopped> {
        if tid == STOPPER.load(Ordering::Relaxed) {
            return Ok(());
        }
        if self.slots.len() == self.slots.capacity() || begin.elapsed() > PATIENCE {
            return Err(NotStopped::Restless);
        }
        let asked = Instant::now();
        loop {
            match is_blocked(tid) {
                None => return Ok(()),
                Some(false) => break,
                // libc blocks signals while it makes a thread, and the new one has them
                // blocked until it has run for the first time.
                Some(true) if asked.elapsed() < MOMENT => {
                    std::thread::sleep(Duration::from_micros(100));
                }
                Some(true) => return Err(NotStopped::Blocked(tid)),
            }
        }
        let index = self.slots.len();
        self.slots.push(Slot {
            tid,
            waiting: waiting(tid),
            context: AtomicPtr::new(std::ptr::null_mut()),
        });
        // Within the capacity, so they never move.
        SLOTS.store(self.slots.as_mut_ptr(), Ordering::Release);
        SENT.store(index + 1, Ordering::Release);
        // SAFETY: no arguments.
        let pid = unsafe { syscall0(libc::SYS_getpid) };
        let mut info = Info::of_sender(STOP, libc::SI_QUEUE, pid as i32, 0);
        info.0[3] = index as u64;
        // SAFETY: a complete siginfo of ours.
        unsafe {
            syscall4(
                libc::SYS_rt_tgsigqueueinfo,
                pid as u64,
                tid as u64,
                STOP as u64,
                &raw const info as u64,
            )
        };
        Ok(())
    }

    /// Waits until all that were asked stand still, or have ended.
    fn wait(&self, begin: Instant) -> Result<(), NotStopped> {
        loop {
            let arrived = ARRIVED.load(Ordering::SeqCst);
            let missing = self.slots.iter().find(|slot| {
                slot.context.load(Ordering::Acquire).is_null() && is_blocked(slot.tid).is_some()
            });
            let Some(missing) = missing else {
                return Ok(());
            };
            if begin.elapsed() > PATIENCE {
                return Err(NotStopped::Deaf(missing.tid));
            }
            wait_on(&ARRIVED, arrived);
        }
    }

    /// Lets them go on, `complete` if all stand still. Which threads there were.
    fn end(self, complete: bool, moves: &Moves) -> Vec<i32> {
        self.slots().for_each(|slot| go_on(slot, moves));
        let stood = |slot: &&Slot| !slot.context.load(Ordering::Acquire).is_null();
        let here = self.slots.iter().filter(stood).count() as u32;
        GO.store(1, Ordering::Release);
        wake(&GO);
        if !complete {
            // Somebody may still be on the way, with our signal.
            std::mem::forget(self.slots);
            return Vec::new();
        }
        loop {
            let left = LEFT.load(Ordering::SeqCst);
            if left >= here {
                break;
            }
            wait_on(&LEFT, left);
        }
        SLOTS.store(std::ptr::null_mut(), Ordering::Release);
        // SAFETY: what was there before; nobody has a signal of ours any more.
        unsafe { libc::sigaction(STOP, &self.old, std::ptr::null_mut()) };
        self.slots.iter().map(|slot| slot.tid).collect()
    }
}

/// Number of threads of the process.
fn count() -> Option<usize> {
    let mut threads = 0;
    each_thread(|_| threads += 1).ok().map(|()| threads)
}

/// Calls `f` for every thread of the process. Allocates nothing.
fn each_thread(mut f: impl FnMut(i32)) -> Result<(), Errno> {
    let list = rustix::fs::open(
        c"/proc/self/task",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut room = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(&list, &mut room);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_str().ok();
        if let Some(tid) = name.and_then(|name| name.parse().ok()) {
            f(tid);
        }
    }
    Ok(())
}

/// Reads a short file. Allocates nothing.
fn read<'a>(path: fmt::Arguments<'_>, text: &'a mut [u8]) -> Option<&'a str> {
    let mut name = [0u8; 64];
    Cursor::new(&mut name[..63]).write_fmt(path).ok()?;
    let name = CStr::from_bytes_until_nul(&name).ok()?;
    let file = rustix::fs::open(name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut len = 0;
    while let Ok(read @ 1..) = rustix::io::read(&file, &mut text[len..]) {
        len += read;
    }
    std::str::from_utf8(&text[..len]).ok()
}

/// Whether a thread blocks the signal. `None`: it has ended.
fn is_blocked(tid: i32) -> Option<bool> {
    let mut text = [0; 4096];
    let status = read(format_args!("/proc/self/task/{tid}/status"), &mut text)?;
    let field = |name: &str| {
        let mut lines = status.lines();
        lines
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    if field("State:").is_none_or(|state| state.starts_with(['Z', 'X'])) {
        return None;
    }
    let blocked = u64::from_str_radix(field("SigBlk:")?, 16).ok()?;
    Some(blocked & (1 << (STOP - 1)) != 0)
}

/// The call that a thread waits in, if it does.
fn waiting(tid: i32) -> Option<Waiting> {
    let mut text = [0; 512];
    let line = read(format_args!("/proc/self/task/{tid}/syscall"), &mut text)?;
    let mut words = line.split_ascii_whitespace();
    let nr = words.next()?.parse().ok().filter(|&nr| nr >= 0)?;
    let mut hex = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let args = [hex()?, hex()?, hex()?, hex()?, hex()?, hex()?];
    let (_, behind) = (hex()?, hex()?);
    Some(Waiting { nr, args, behind })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn only_the_inside_of_a_window_is_moved() {
        let moves = Moves::new(vec![(20, 27), (10, 15)], vec![(22, 102), (12, 52)]);
        let place = |addr| moves.place_of(addr);
        assert_eq!(
            [9, 10, 15, 16, 20, 27].map(place),
            [9, 10, 15, 16, 20, 27].map(Some)
        );
        assert_eq!([12, 22].map(place), [Some(52), Some(102)]);
        assert_eq!([11, 14, 26].map(place), [None; 3]);
    }

    #[test]
    fn what_a_thread_waits_in_is_read() {
        let gate = Barrier::new(2);
        let (reader, writer) = std::io::pipe().unwrap();
        let other = AtomicI32::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                use std::io::Read;
                other.store(tid(), Ordering::SeqCst);
                gate.wait();
                let mut byte = [0];
                (&reader).read_exact(&mut byte).unwrap();
            });
            gate.wait();
            let tid = other.load(Ordering::SeqCst);
            let call = loop {
                match waiting(tid) {
                    Some(call) if call.nr == libc::SYS_read => break call,
                    _ => std::thread::yield_now(),
                }
            };
            assert_eq!(call.args[2], 1);
            assert!(is_at_call(call.behind));
            assert_eq!(is_blocked(tid), Some(false));
            (&writer).write_all(b"x").unwrap();
        });
        // The kernel's thread ends a moment after it has been joined.
        while is_blocked(other.load(Ordering::SeqCst)).is_some() {
            std::thread::yield_now();
        }
    }
}
