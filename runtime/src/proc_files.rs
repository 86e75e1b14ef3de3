//! Files of proc(5) that our kernel threads read while the program runs.
//!
//! The number of a new descriptor is the lowest that is free, and programs count on it.
//! A kernel thread of ours that opened a file beside them would hold that number for a
//! moment: the program's own open would get the next one, its dup2 onto that number
//! would fail with EBUSY, and what it had put there would be closed. So these files
//! are opened before another kernel thread of ours runs, by the one that runs the
//! guests, and kept at high numbers. The kernel writes their text anew for every read
//! from the start.
//!
//! # Synchronization
//! The numbers are written where no other thread of ours runs: at the start of the hub,
//! before the monitor's, and in a forked child.
#![allow(unsafe_code)]

use core::fmt::Write as _;
use core::sync::atomic::{AtomicI32, Ordering};

use patch_events::events;

use crate::arch::{syscall2, syscall4};
use crate::hub::processor::MAX as MAX_PROCESSORS;
use crate::private;

/// One of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    /// `stat` of the kernel thread of the processor with that index.
    Stat(usize),
    /// `syscall` of the first processor's kernel thread.
    Syscall,
    /// `statm` of the process.
    Statm,
}

impl File {
    fn place(self) -> usize {
        match self {
            File::Syscall => 0,
            File::Statm => 1,
            File::Stat(index) => 2 + index,
        }
    }
}

/// Bytes that hold any of the texts.
pub const MAX: usize = 1024;

static FDS: [AtomicI32; 2 + MAX_PROCESSORS] = [const { AtomicI32::new(-1) }; 2 + MAX_PROCESSORS];

/// Opens the files of the processor with that index. What cannot be opened reads as
/// nothing, and is told of. Called on the first one's kernel thread: its files have a name that
/// is right where /proc is that of another namespace of process ids.
pub fn open(index: usize, kernel_tid: i32) {
    let mut files = vec![File::Stat(index)];
    if index == 0 {
        files.extend([File::Syscall, File::Statm]);
    }
    for file in files {
        let mut path = String::new();
        let written = match file {
            File::Stat(0) => write!(path, "/proc/thread-self/stat\0"),
            File::Stat(_) => write!(path, "/proc/self/task/{kernel_tid}/stat\0"),
            File::Syscall => write!(path, "/proc/thread-self/syscall\0"),
            File::Statm => write!(path, "/proc/self/statm\0"),
        };
        if written.is_err() {
            continue;
        }
        // SAFETY: a path of ours that ends with a zero byte.
        let fd = private::open(|| unsafe {
            syscall2(
                libc::SYS_open,
                path.as_ptr() as u64,
                (libc::O_RDONLY | libc::O_CLOEXEC) as u64,
            )
        });
        if fd >= 0 {
            FDS[file.place()].store(fd as i32, Ordering::Relaxed);
        } else {
            events::FileMissing {
                path: path.trim_end_matches('\0'),
                errno: -fd as i32,
            }
            .emit();
        }
    }
}

/// The numbers of the files that are open.
pub fn numbers() -> impl Iterator<Item = i32> {
    FDS.iter()
        .map(|fd| fd.load(Ordering::Relaxed))
        .filter(|&fd| fd >= 0)
}

/// What a file says now, if it can be read.
pub fn read(file: File, text: &mut [u8; MAX]) -> Option<&str> {
    let fd = FDS[file.place()].load(Ordering::Relaxed);
    // SAFETY: the caller's buffer. A descriptor of -1 gives EBADF.
    let n = unsafe {
        syscall4(
            libc::SYS_pread64,
            fd as u64,
            text.as_mut_ptr() as u64,
            text.len() as u64,
            0,
        )
    };
    let read = text.get(..usize::try_from(n).ok()?)?;
    // A thread's name may be anything: what is behind it is what is looked at.
    let from = read.iter().rposition(|&b| b == b')').map_or(0, |at| at + 1);
    core::str::from_utf8(&read[from..]).ok()
}

/// In a forked child: they are its parent's.
pub fn close_after_fork() {
    for fd in &FDS {
        private::close(fd.swap(-1, Ordering::Relaxed));
    }
}
