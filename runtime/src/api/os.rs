//! Forking with a watcher: gevent's `fork_and_watch`.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::spawn::Builder;

/// Which of the two processes this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The one that forked, with the child's process id.
    Parent(i32),
    /// The new one, in which the caller is the only thread.
    Child,
}

/// Forks. In the parent a greenlet waits for the child, so it leaves no zombie, and then
/// calls `callback` with its id and its status; if the program has waited for it itself
/// (or ignores SIGCHLD), `callback` is not called.
///
/// # Errors
/// Those of fork(2), and of making the greenlet: then there is a child that nobody waits
/// for.
///
/// # Safety
/// The child has the calling thread alone, and locks that other kernel threads held stay
/// locked: as fork(2) says, it may only do what a signal handler may, unless the process has
/// one kernel thread of the program's. It has, if the hub runs all its threads.
///
/// ```
/// use gevent_runtime::api::{fork_and_watch, AsyncResult, Fork};
///
/// let ended = AsyncResult::new();
/// let tell = ended.clone();
/// // SAFETY: the child leaves at once.
/// let fork = unsafe { fork_and_watch(move |_, status| tell.set(status)) };
/// if fork.unwrap() == Fork::Child {
///     unsafe { libc::_exit(3) };
/// }
/// assert_eq!(ended.get().unwrap().code(), Some(3));
/// ```
pub unsafe fn fork_and_watch(
    callback: impl FnOnce(i32, ExitStatus) + Send + 'static,
) -> io::Result<Fork> {
    // SAFETY: the caller's contract.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        child => {
            Builder::new().spawn(move || {
                if let Some(status) = wait_for(child) {
                    callback(child, status);
                }
            })?;
            Ok(Fork::Parent(child))
        }
    }
}

fn wait_for(child: i32) -> Option<ExitStatus> {
    let mut status = 0;
    loop {
        // SAFETY: our variable.
        if unsafe { libc::waitpid(child, &mut status, 0) } == child {
            return Some(ExitStatus::from_raw(status));
        }
        if io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return None;
        }
    }
}
