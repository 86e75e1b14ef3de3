//! Places that lack what programs usually find.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What is different about a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// /proc is not mounted.
    NoProc,
    /// An empty file system is mounted on /proc.
    EmptyProc,
    /// /proc/self/maps is empty.
    NoMaps,
    /// Processes of other users are hidden in /proc.
    HiddenProcesses,
    /// The root file system is read-only.
    ReadOnly,
    /// /dev/shm and /tmp are not there.
    NoShm,
    /// A user namespace of its own.
    UserNamespace,
    /// The first process of a namespace of process ids, where /proc shows others.
    PidNamespace,
    /// No capabilities, and none to come.
    NoCapabilities,
}

impl Place {
    pub const ALL: [Self; 9] = [
        Self::NoProc,
        Self::EmptyProc,
        Self::NoMaps,
        Self::HiddenProcesses,
        Self::ReadOnly,
        Self::NoShm,
        Self::UserNamespace,
        Self::PidNamespace,
        Self::NoCapabilities,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::NoProc => "no_proc",
            Self::EmptyProc => "empty_proc",
            Self::NoMaps => "no_maps",
            Self::HiddenProcesses => "hidden_processes",
            Self::ReadOnly => "read_only",
            Self::NoShm => "no_shm",
            Self::UserNamespace => "user_namespace",
            Self::PidNamespace => "pid_namespace",
            Self::NoCapabilities => "no_capabilities",
        }
    }

    /// Puts the process that runs `command` there.
    pub fn put(self, command: &mut Command) {
        // SAFETY: between fork and exec the closure makes system calls alone.
        unsafe { command.pre_exec(move || self.enter()) };
    }

    fn enter(self) -> io::Result<()> {
        match self {
            Self::NoProc => {
                own_mounts()?;
                // SAFETY: a path of ours.
                check(unsafe { libc::umount2(c"/proc".as_ptr(), libc::MNT_DETACH) })
            }
            Self::EmptyProc => {
                own_mounts()?;
                mount(c"/proc", Some(c"tmpfs"), 0, c"")
            }
            Self::NoMaps => {
                own_mounts()?;
                bind(c"/dev/null", c"/proc/self/maps")
            }
            Self::HiddenProcesses => {
                own_mounts()?;
                mount(c"/proc", Some(c"proc"), 0, c"hidepid=2")
            }
            Self::ReadOnly => {
                own_mounts()?;
                let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY;
                mount(c"/", None, flags, c"")
            }
            Self::NoShm => {
                own_mounts()?;
                mount(c"/dev", Some(c"tmpfs"), 0, c"")?;
                let null = libc::makedev(1, 3);
                let zero = libc::makedev(1, 5);
                // SAFETY: paths of ours.
                unsafe {
                    check(libc::mknod(
                        c"/dev/null".as_ptr(),
                        libc::S_IFCHR | 0o666,
                        null,
                    ))?;
                    check(libc::mknod(
                        c"/dev/zero".as_ptr(),
                        libc::S_IFCHR | 0o666,
                        zero,
                    ))
                }
            }
            // SAFETY: no pointers; the process has one thread.
            Self::UserNamespace => check(unsafe { libc::unshare(libc::CLONE_NEWUSER) }),
            Self::PidNamespace => {
                // SAFETY: no pointers; the process has one thread.
                check(unsafe { libc::unshare(libc::CLONE_NEWPID) })?;
                // SAFETY: as above.
                match unsafe { libc::fork() } {
                    // SAFETY: as above.
                    0 => check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }),
                    child => {
                        check(child.min(0))?;
                        end_as(child)
                    }
                }
            }
            Self::NoCapabilities => {
                const LAST: libc::c_ulong = 63;
                // SAFETY: no pointers.
                unsafe {
                    for capability in 0..=LAST {
                        libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
                    }
                    check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
                }
            }
        }
    }
}

/// Waits for the child and ends as it did, without the descriptor by which the parent learns that
/// a program runs.
fn end_as(child: libc::pid_t) -> ! {
    let mut status = 0;
    // SAFETY: the process has one thread and does nothing else; `status` is ours.
    unsafe {
        libc::close_range(3, libc::c_uint::MAX, 0);
        while libc::waitpid(child, &mut status, 0) != child {}
        if libc::WIFSIGNALED(status) {
            libc::signal(libc::WTERMSIG(status), libc::SIG_DFL);
            libc::raise(libc::WTERMSIG(status));
        }
        libc::_exit(libc::WEXITSTATUS(status))
    }
}

/// Mounts of the process's own, of which nobody else learns.
fn own_mounts() -> io::Result<()> {
    // SAFETY: no pointers; the process has one thread.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    mount(c"/", None, libc::MS_REC | libc::MS_PRIVATE, c"")
}

fn mount(target: &CStr, kind: Option<&CStr>, flags: libc::c_ulong, data: &CStr) -> io::Result<()> {
    let kind_or_none = kind.map_or(c"none".as_ptr(), CStr::as_ptr);
    // SAFETY: strings that live across the call.
    check(unsafe {
        libc::mount(
            kind_or_none,
            target.as_ptr(),
            kind_or_none,
            flags,
            data.as_ptr().cast(),
        )
    })
}

fn bind(from: &CStr, to: &CStr) -> io::Result<()> {
    // SAFETY: strings that live across the call.
    check(unsafe {
        libc::mount(
            from.as_ptr(),
            to.as_ptr(),
            std::ptr::null(),
            libc::MS_BIND,
            std::ptr::null(),
        )
    })
}

fn check(ret: libc::c_int) -> io::Result<()> {
    if ret == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
