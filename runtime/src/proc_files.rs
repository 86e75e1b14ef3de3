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
//! # Without /proc
//! It may be absent (a chroot, a container), covered by something else, or say little. Each file
//! that the library reads, and what is done without it:
//!
//! | file | read by | for | without it |
//! |---|---|---|---|
//! | `self/maps` | the engine, at load and at the first thread | objects, free places near them, the stack | what the dynamic linker has loaded, and the kernel's strings at the stack's top; the program runs bare where an object is in another namespace (dlmopen(3)), or the thread is not on the initial stack |
//! | `self/maps` | the engine, when an object is opened | the same | the arguments of its mmap(2); the object has no name in events |
//! | `self/maps` | [`sharing`](crate::sharing) | words of shared memory | the kernel is asked for each such word (mremap(2) of no bytes) |
//! | `self/maps` | [`maps`](crate::maps) | the stack of a thread made by clone(2); memory to be read by mlockall(2) | the stack's end is not known; pages are locked as they are first used |
//! | `self/maps` | backtraces, symbols | names of addresses | addresses |
//! | `self/status` | the engine, at load | number of threads | libc's knowledge of its own |
//! | `self/status` | the engine, at the first thread; [`sandbox`](crate::sandbox) | number of threads; filters of system calls | [`unseen`](crate::sandbox::unseen): the program runs bare where there is a filter, or the thread is made by clone(2) |
//! | `self/status` | [`fdinfo`](crate::fdinfo) | size of the table of descriptors; signals that wait | select(2) tells; those of the kernel's are not counted |
//! | `self/task/…` | the engine, beside threads that were there before | who is to stand still | such a program runs bare |
//! | `self/mem` | the engine | text | mprotect(2) and stores |
//! | `self/pagemap` | the engine | unused pages of text | they stay mapped |
//! | `self/exe` | the constructor; the launcher | the program's name | the name by which it was started: of a script, its own and not the interpreter's |
//! | `self/fd` | [`fd_table`](crate::fd_table) | the highest descriptor | each number is asked for |
//! | `self/fd/…` | [`program_file`](crate::program_file) | a program that is started by a descriptor which cannot be read from | taken for one that loads the library |
//! | `self`, `self/fd/…` | [`proc_view`](crate::proc_view) | names of the program's files of proc(5) | there are none |
//! | `self/fd/2` | events | a description of the terminal that does not wait | the program's own |
//! | `self/fdinfo/…` | [`ops::uring`](crate::ops) | completions of a ring of the program's | the ring's memory is mapped for a moment, if one was made beside the hub |
//! | `self/fdinfo/…` | [`signal`](crate::signal) | signals of a signalfd(2) from before the hub | any descriptor that may be one is for all |
//! | `self/timers` | [`signal`](crate::signal) | timers of CPU time from before the hub | the kernel counts their overruns |
//! | `self/mountinfo` | [`mounts`](crate::mounts) | slow file systems | any that is not on a block device, nor that of the root |
//! | `self/cgroup` | [`guest::most`](crate::guest::most) | `pids.max` | no limit of control groups |
//! | `thread-self/ns/…` | [`ops::thread`](crate::ops) | whether children leave the namespace of ids | taken for no |
//! | `thread-self/stat` | [`monitor`](crate::monitor) | whether a hub runs | its CPU time |
//! | `thread-self/syscall`, `self/statm` | the control interface, events | what a hub waits in; memory | nothing is said |
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
