//! What proc(5) says of this process, as if guests were threads of the kernel's.
//!
//! The kernel lists its own threads: the one that runs the guests and those that help it. Programs
//! count their threads there (CPython before a fork, libc's tests), name them, and read their
//! times. So what tells of threads is answered from the records of guests, to guests:
//!
//! | below `/proc/self`, `/proc/PID`, `/proc/TID` | answer |
//! |---|---|
//! | `task` | a directory with the guests; its number of links counts them |
//! | `task/TID` and `/proc/TID`, with all that is in it | those of the kernel thread, under the guest's id |
//! | `comm`, `stat`, `status`, also of a task | the kernel's text with the guest's values |
//! | `/proc/thread-self` | the caller |
//!
//! # How
//! Descriptors stay what the kernel opened, so that their status, position, flags and permissions
//! are its own: only what is read of them is another text, and what a directory lists. What a
//! descriptor is of is asked of the kernel once a number ([`View`], kept with what else is known
//! of the number), by the name that `/proc/self/fd` gives it: so it does not matter by which path
//! it was opened, or when. Only the ids of guests, which the kernel has no name for, are looked
//! for in paths: [`path`] puts a kernel thread's id in their place, and the number's view remembers
//! whose it is.
//!
//! A copy of a file's text in memory (memfd_create(2)) would be old when it is read again from the
//! start, as monitors do, and is another kind of file to who asks. Helpers that are no threads of
//! the process (`CLONE_VM` without `CLONE_THREAD`) would be left out of a count, but no guest would be
//! in it; they would be children that `wait` and `ps` show, and outlive a process that is killed.
//!
//! # What remains
//! Where `/proc` is of another pid namespace, its ids are not those that the program has: all of it
//! is the kernel's there. Other processes (`ps -T`, `top -H`, gdb) have the kernel's view; so have kernel threads of the
//! program's own, an io_uring of the program's, sendfile(2) and splice(2) from such a file, and a
//! descriptor that another process got, or a child. A path is known by its beginning `/proc/`, or
//! relative to a descriptor; relative to the current directory ids of guests are known in
//! `/proc/self/task` and `/proc`, but a guest's own directory as the current one is the kernel
//! thread's. What follows `..` is the kernel's. Other files of a guest's directory (`syscall`,
//! `wchan`, `schedstat`, `children`) are the kernel thread's, and so are the page faults, the start
//! time and the context switches in `stat` and `status`. Ids of our own kernel threads, which no
//! list has, lead to their files all the same. Where kernel threads of the program's run beside
//! the hub, ours are listed with them.

#![allow(unsafe_code)]

pub mod listing;
pub mod path;
pub mod text;

use core::ffi::CStr;

use crate::arch::{syscall2, syscall3};
use crate::guest::Guest;
use crate::hub::{Hub, hub, processor};
use crate::sandbox::elsewhere;
use path::Who;

/// What a file or directory of proc(5) is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum What {
    /// None that matters here.
    Nothing = 0,
    /// `/proc`.
    Root,
    /// `/proc/PID`.
    Process,
    /// `/proc/PID/task`.
    Tasks,
    /// `/proc/PID/task/TID`.
    Thread,
    /// `stat` of the process, under the id of any of its threads.
    WholeStat,
    /// `stat` of a thread.
    Stat,
    /// `status` of either.
    Status,
    /// `comm` of either.
    Comm,
}

/// What a descriptor is of, or a path names. All zero: nothing that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// What.
    pub what: What,
    /// Whose: the id of a thread of this process.
    pub tid: i32,
}

impl View {
    /// Nothing that matters here.
    pub const NOTHING: View = View {
        what: What::Nothing,
        tid: 0,
    };
    /// `/proc`.
    pub const ROOT: View = View {
        what: What::Root,
        tid: 0,
    };

    /// Whether it is nothing that matters here.
    #[inline]
    pub fn is_nothing(self) -> bool {
        self.what == What::Nothing
    }
}

/// The process for the names of a path, with who asks.
pub struct Program<'a> {
    /// Its hub.
    pub hub: &'a Hub,
    /// Who asks, if that is a guest in a call; else no name leads to whoever that is.
    pub caller: Option<&'static Guest>,
}

impl Who for Program<'_> {
    fn pid(&self) -> i32 {
        self.hub.pid.get()
    }

    fn caller(&self) -> i32 {
        self.caller.map_or(0, |guest| guest.tid.get())
    }

    fn is_guest(&self, tid: i32) -> bool {
        self.hub.find(tid).is_some_and(|guest| !guest.is_initial())
    }

    fn kernel_thread(&self, tid: i32) -> i32 {
        let thread = if tid == self.caller() {
            processor::here()
        } else {
            processor::first()
        };
        thread.kernel_tid()
    }
}

/// Whether `/proc` is that of the process's own pid namespace: ids in another one's are of
/// others.
pub fn is_own_namespaces(hub: &Hub, caller: Option<&'static Guest>) -> bool {
    let mut text = [0u8; 16];
    link(caller, c"/proc/self", &mut text).and_then(path::number) == Some(hub.pid.get())
}

/// What a symbolic link says, if that is all of it.
pub fn link<'a>(
    caller: Option<&'static Guest>,
    path: &CStr,
    text: &'a mut [u8],
) -> Option<&'a [u8]> {
    let (path, to, size) = (
        path.as_ptr() as u64,
        text.as_mut_ptr() as u64,
        text.len() as u64,
    );
    let nr = libc::SYS_readlink;
    // SAFETY: a path and a buffer of the caller's.
    let n = unsafe {
        match caller {
            Some(guest) => elsewhere::make(guest, nr as u64, [path, to, size, 0, 0, 0]),
            None => syscall3(nr, path, to, size),
        }
    };
    let n = usize::try_from(n).ok().filter(|&n| n < text.len())?;
    text.get(..n)
}

/// What an absolute path of the kernel's leads to.
pub fn of_name(hub: &Hub, caller: Option<&'static Guest>, name: &[u8]) -> View {
    let program = Program { hub, caller };
    match name.strip_prefix(b"/proc") {
        Some(rest) if (rest.is_empty() || rest[0] == b'/') && is_own_namespaces(hub, caller) => {
            path::walk(View::ROOT, rest, &program).view
        }
        _ => View::NOTHING,
    }
}

/// Whether a descriptor is of the kernel's proc file system.
pub fn is_kernels(fd: i32) -> bool {
    /// linux/magic.h.
    const PROC_SUPER_MAGIC: i64 = 0x9fa0;
    // SAFETY: all zero is a valid one.
    let mut about: libc::statfs = unsafe { core::mem::zeroed() };
    // SAFETY: a variable of ours.
    let ret = unsafe { syscall2(libc::SYS_fstatfs, fd as u64, &raw mut about as u64) };
    ret == 0 && about.f_type == PROC_SUPER_MAGIC
}

/// What a descriptor is of, by the kernel's own name of it.
#[cold]
pub fn of_descriptor(fd: i32) -> View {
    if !is_kernels(fd) {
        return View::NOTHING;
    }
    let mut path = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0";
    let (digits, len) = path::decimal(fd as u32);
    let prefix = b"/proc/self/fd/".len();
    path[prefix..prefix + len].copy_from_slice(&digits[..len]);
    let mut text = [0u8; 64];
    let name = CStr::from_bytes_until_nul(&path).ok();
    let name = name.and_then(|path| link(None, path, &mut text));
    name.map_or(View::NOTHING, |name| of_name(hub(), None, name))
}
