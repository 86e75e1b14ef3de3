//! Where a guest is: its registers and the top of its stack, copied for somebody who
//! makes a backtrace of them.
//!
//! A thread that runs is asked with the monitor's signal, and copies in its handler. A
//! thread that sleeps in a call that the hub cannot see must not get a signal, which
//! would end the call: where it sleeps stands in its `syscall` file, and its stack does
//! not change meanwhile. Copies are made by the kernel, which answers where a handler
//! of ours would fault.
//!
//! # Synchronization
//! `STATE` says whose [`SAMPLE`] is: the asker's at `IDLE` and `TAKEN`, the handler's
//! when it has turned `ASKED` into `TAKING`. Who has set `ASKING` asks, the monitor or a host
//! context. A forked child has neither: it begins anew.
#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::OnceLock;
use std::time::Duration;

use crate::arch::{self, Ucontext, syscall0};
use crate::frame::Frame;
use crate::monitor;
use crate::proc_files::{self, File};
use crate::raw;

/// Bytes of a stack that are copied.
const STACK: usize = 32 << 10;
const PAGE: u64 = 4096;

/// What a backtrace is made of.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The instruction pointer.
    pub ip: u64,
    /// The stack pointer: the address of the first byte of `stack`.
    pub sp: u64,
    /// The frame pointer's register; 0 if it is not known.
    pub fp: u64,
    /// Bytes from the stack pointer up.
    pub stack: Vec<u8>,
}

/// Makes one line of a sample: the functions, innermost first.
pub type Namer = fn(&Sample) -> String;

static NAMER: OnceLock<Namer> = OnceLock::new();

/// Registers who knows names. Only the first call counts.
pub fn set_namer(namer: Namer) {
    let _ = NAMER.set(namer);
}

impl Sample {
    /// One line: the functions, innermost first. On the drain thread.
    pub fn name(&self) -> String {
        match NAMER.get() {
            Some(namer) => namer(self),
            None => format!("{:#x}", self.ip),
        }
    }

    /// Of the call in `frame`, whose thread stays in it meanwhile.
    pub fn of_call(frame: &Frame) -> Sample {
        Sample {
            ip: frame.ra,
            sp: frame.rsp,
            fp: frame.rbp,
            stack: copy(frame.rsp),
        }
    }
}

struct Taken {
    ip: u64,
    sp: u64,
    fp: u64,
    len: usize,
    stack: [u8; STACK],
}

struct Shared(UnsafeCell<Taken>);

// SAFETY: see Synchronization.
unsafe impl Sync for Shared {}

static SAMPLE: Shared = Shared(UnsafeCell::new(Taken {
    ip: 0,
    sp: 0,
    fp: 0,
    len: 0,
    stack: [0; STACK],
}));

const IDLE: u32 = 0;
const ASKED: u32 = 1;
const TAKING: u32 = 2;
const TAKEN: u32 = 3;
static STATE: AtomicU32 = AtomicU32::new(IDLE);

/// Looks between two of which a millisecond passes, until a sample that was asked for
/// is given up.
const LOOKS: u32 = 100;

/// Copies bytes of this process from `from` up, as many of `into` as there are.
fn copy_to(from: u64, into: &mut [u8]) -> usize {
    const PIECES: usize = STACK / PAGE as usize + 1;
    // The kernel copies whole pieces or nothing of them: a page each.
    let mut pieces = [libc::iovec {
        iov_base: core::ptr::null_mut(),
        iov_len: 0,
    }; PIECES];
    let (mut at, mut count) = (from, 0);
    let end = from.saturating_add(into.len() as u64);
    while at < end && count < PIECES {
        let next = ((at & !(PAGE - 1)) + PAGE).min(end);
        pieces[count] = libc::iovec {
            iov_base: at as *mut libc::c_void,
            iov_len: (next - at) as usize,
        };
        (at, count) = (next, count + 1);
    }
    let local = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    // SAFETY: writes to `into` alone; what cannot be read ends the copy.
    let copied = unsafe {
        arch::syscall(
            libc::SYS_process_vm_readv as u64,
            [
                syscall0(libc::SYS_getpid) as u64,
                &raw const local as u64,
                1,
                pieces.as_ptr() as u64,
                count as u64,
                0,
            ],
        )
    };
    copied.max(0) as usize
}

fn copy(from: u64) -> Vec<u8> {
    let mut bytes = vec![0; STACK];
    let len = copy_to(from, &mut bytes);
    bytes.truncate(len);
    bytes
}

/// The bytes at an address, if they can be read. Any mode.
pub fn bytes<const N: usize>(at: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    (copy_to(at, &mut bytes) == N).then_some(bytes)
}

/// The bytes from an address on that can be read, at most so many. Host mode.
pub fn memory(at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len.min(STACK)];
    let read = copy_to(at, &mut bytes);
    bytes.truncate(read);
    bytes
}

/// The word at an address, if there is one. Any mode.
pub fn word(at: u64) -> Option<u32> {
    bytes(at).map(u32::from_ne_bytes)
}

/// Called by the handler of the monitor's signal with what it interrupted.
pub fn answer(uc: &Ucontext) {
    if STATE.load(Ordering::Relaxed) != ASKED
        || STATE
            .compare_exchange(ASKED, TAKING, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
    {
        return;
    }
    // SAFETY: ours until `TAKEN`.
    let taken = unsafe { &mut *SAMPLE.0.get() };
    (taken.ip, taken.sp, taken.fp) = (uc.ip(), uc.sp(), uc.fp());
    taken.len = copy_to(taken.sp, &mut taken.stack);
    STATE.store(TAKEN, Ordering::Release);
}

static ASKING: AtomicBool = AtomicBool::new(false);

/// Asks a thread that runs guests, and is not the caller. `None`: it does not answer. For the
/// monitor and host contexts.
pub fn of_running(kernel_tid: i32) -> Option<Sample> {
    soon(|| (!ASKING.swap(true, Ordering::Acquire)).then_some(()))?;
    let sample = soon(ask).and_then(|()| {
        monitor::send(kernel_tid);
        soon(|| (STATE.load(Ordering::Acquire) == TAKEN).then(taken))
    });
    let _ = STATE.compare_exchange(ASKED, IDLE, Ordering::Relaxed, Ordering::Relaxed);
    ASKING.store(false, Ordering::Release);
    sample
}

/// Lets the handler take one. `None`: it is still at one that was given up, which is for
/// nobody.
fn ask() -> Option<()> {
    let seen = STATE.load(Ordering::Relaxed);
    let idle = seen == IDLE || seen == TAKEN;
    (idle
        && STATE
            .compare_exchange(seen, ASKED, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok())
    .then_some(())
}

/// In a forked child, whose parent may have been asking when it was made.
pub fn reset_after_fork() {
    STATE.store(IDLE, Ordering::Relaxed);
    ASKING.store(false, Ordering::Release);
}

/// The sample that the handler has taken.
fn taken() -> Sample {
    // SAFETY: the asker's from `TAKEN` on.
    let taken = unsafe { &*SAMPLE.0.get() };
    let sample = Sample {
        ip: taken.ip,
        sp: taken.sp,
        fp: taken.fp,
        stack: taken.stack[..taken.len].to_vec(),
    };
    STATE.store(IDLE, Ordering::Relaxed);
    sample
}

/// What `look` finds, if it finds something within a while.
fn soon<T>(look: impl Fn() -> Option<T>) -> Option<T> {
    for _ in 0..LOOKS {
        let found = look();
        if found.is_some() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

/// A call that a kernel thread of this process sleeps in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sleeping {
    /// Its number.
    pub nr: u64,
    /// Its arguments.
    pub args: [u64; 6],
    /// Stack pointer and instruction pointer.
    pub sp: u64,
    #[allow(missing_docs)]
    pub ip: u64,
}

/// The call that the hub's kernel thread sleeps in, if it does (proc_pid_syscall(5)).
pub fn sleeping() -> Option<Sleeping> {
    let mut text = [0; proc_files::MAX];
    parse(proc_files::read(File::Syscall, &mut text)?)
}

fn parse(text: &str) -> Option<Sleeping> {
    let mut words = text.split_whitespace();
    let nr = words.next()?.parse().ok()?;
    let mut hex = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let mut args = [0; 6];
    for arg in &mut args {
        *arg = hex()?;
    }
    Some(Sleeping {
        nr,
        args,
        sp: hex()?,
        ip: hex()?,
    })
}

impl Sleeping {
    /// Where it sleeps. `frame` is of the last call that its guest made through
    /// dispatch; if that is this one, it knows more.
    pub fn sample(&self, frame: Option<&Frame>) -> Sample {
        let same = frame.filter(|frame| frame.rsp == self.sp && raw::plausible(frame.ra));
        match same {
            Some(frame) => Sample::of_call(frame),
            None => Sample {
                ip: self.ip,
                sp: self.sp,
                fp: 0,
                stack: copy(self.sp),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read() {
        let line = "73 0x3 0x2 0x0 0xffffffffffffff88 0x1 0x6 0x7ffe4 0x7f5a9\n";
        let read = parse(line).unwrap();
        assert_eq!((read.nr, read.sp, read.ip), (73, 0x7ffe4, 0x7f5a9));
        assert_eq!(read.args, [3, 2, 0, 0xffff_ffff_ffff_ff88, 1, 6]);
        assert_eq!(parse("running\n"), None);
        assert_eq!(parse("-1 0x7ffe4 0x7f5a9\n"), None);
    }

    #[test]
    fn a_forked_child_asks_anew() {
        let asks = || soon(|| (!ASKING.swap(true, Ordering::Acquire)).then_some(()));
        assert_eq!(asks(), Some(()));
        assert_eq!(ask(), Some(()));
        STATE.store(TAKING, Ordering::Relaxed);
        assert_eq!((asks(), ask()), (None, None));
        reset_after_fork();
        assert_eq!((asks(), ask()), (Some(()), Some(())));
        reset_after_fork();
    }

    #[test]
    fn copies_end_where_memory_does() {
        let here = [7u8; 100];
        let mut into = [0; 100];
        assert_eq!(copy_to(here.as_ptr() as u64, &mut into), 100);
        assert_eq!(here, into);
        assert_eq!(copy_to(8, &mut into), 0);
        let two = raw::reserve(2 * PAGE as usize).unwrap();
        // SAFETY: our own mapping, of which nothing is used.
        unsafe { arch::syscall2(libc::SYS_munmap, two as u64 + PAGE, PAGE) };
        assert_eq!(copy_to(two as u64 + PAGE - 50, &mut into), 50);
        assert_eq!(word(two as u64 + PAGE - 2), None);
    }
}
