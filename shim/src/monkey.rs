//! Patching a program that is not preloaded: it links this crate, and asks for it.
//!
//! ```standalone_crate
//! use std::time::Duration;
//! use gevent_shim::{joinall, monkey, spawn};
//!
//! fn main() {
//!     monkey::patch_all().unwrap();
//!     let sleepers: Vec<_> = (0..100)
//!         .map(|_| spawn(|| std::thread::sleep(Duration::from_millis(10))))
//!         .collect();
//!     assert_eq!(joinall(&sleepers, None).len(), 100);
//! }
//! ```
//!
//! Call it first in `main`. A process that has other threads by then is patched as well,
//! with a warning on standard error: those threads, and what threads they make, stay kernel
//! threads, whose calls block them alone. They are stopped for a moment with a signal, so
//! none may block signal 63; and none may unload an object meanwhile. The `GEVENT_SHIM_*` variables of the environment count here
//! as they do for a preloaded library; a group that they leave out stays out. In a program
//! that is preloaded as well, nothing is left to be done.
//!
//! A program that links this crate uses its heap (a global allocator of Rust), which the
//! hub shares.

use std::fmt;

use gevent_runtime::api::get_hub;
use gevent_runtime::config::{self, ConfigError};
use gevent_runtime::dispatch;
use gevent_runtime::foreign;
use gevent_runtime::group::{Group, GroupSet};
use patch_events::events;

use crate::{arm, init};

/// Why nothing was patched. The program goes on as it was, and greenlets are kernel
/// threads.
#[derive(Debug)]
#[non_exhaustive]
pub enum PatchError {
    /// A variable of the environment can't be meant.
    Config(ConfigError),
    /// `GEVENT_SHIM_DISABLE` or `GEVENT_SHIM_PATCH` say that nothing be patched.
    Disabled,
    /// It was called too late: the process has other threads, so many in all, and they could
    /// not be stopped, for the reason given.
    Late(usize, String),
    /// The program runs with privileges that its caller does not have.
    Privileged,
    /// libc can't be patched, or the kernel gives no reactor; the events say why.
    Refused,
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatchError::Config(error) => error.fmt(f),
            PatchError::Disabled => f.write_str("the environment says to patch nothing"),
            PatchError::Late(threads, reason) => write!(
                f,
                "patching comes too late: the process has {threads} threads already, and {reason}"
            ),
            PatchError::Privileged => f.write_str("a privileged program is not patched"),
            PatchError::Refused => f.write_str("nothing could be patched"),
        }
    }
}

impl std::error::Error for PatchError {}

/// Makes everything cooperative: patches the program's libraries and starts the hub with
/// the caller as its first guest. A second time nothing happens.
///
/// If the process has other threads already, a line on standard error says so (as does an
/// event), and names them: they stay kernel threads.
///
/// # Errors
/// [`PatchError`]
pub fn patch_all() -> Result<(), PatchError> {
    patch(GroupSet::ALL)
}

/// Makes the calls of these groups cooperative, and those without which there are no
/// greenlets: `thread`, `signal` and `sys`. Calls add to each other.
///
/// # Errors
/// As [`patch_all`].
pub fn patch(groups: GroupSet) -> Result<(), PatchError> {
    if get_hub().is_running() {
        // The groups of a preloaded library are its own affair.
        if dispatch::is_running() {
            dispatch::add_groups(groups);
        }
        return Ok(());
    }
    if !init::allowed() {
        return Err(PatchError::Privileged);
    }
    let config = config::init_for(groups).map_err(PatchError::Config)?;
    if config.disable || config.selection.groups().is_empty() {
        return Err(PatchError::Disabled);
    }
    foreign::becomes_first();
    // A preloaded library is armed by its own constructor.
    let late = arm::threads().filter(|&threads| threads > 1 && !is_preloaded());
    let names = late.map(|_| arm::be_late());
    let refused = || match (late, arm::why_not_stopped()) {
        (Some(threads), Some(reason)) => {
            let error = PatchError::Late(threads, reason.to_string());
            init::complain(&error);
            error
        }
        _ => PatchError::Refused,
    };
    if !is_preloaded() && !init::arm(config) {
        return Err(refused());
    }
    // The first thread starts the hub.
    if let Ok(first) = std::thread::Builder::new().spawn(|| ()) {
        // It does nothing that could panic.
        let _ = first.join();
    }
    if !get_hub().is_running() {
        return Err(refused());
    }
    if let (Some(threads), Some(names)) = (late, names) {
        events::LoadedLate {
            threads,
            names: &names,
        }
        .emit();
        init::complain(&format_args!(
            "patching late: {} threads stay kernel threads: {names}",
            threads - 1
        ));
    }
    Ok(())
}

fn is_preloaded() -> bool {
    gevent_runtime::api::backend::preloaded().is_some()
}

macro_rules! groups {
    ($($name:ident $group:ident $what:literal)*) => {$(
        #[doc = concat!("Makes ", $what, " cooperative; see [`patch`].")]
        ///
        /// # Errors
        /// As [`patch_all`].
        pub fn $name() -> Result<(), PatchError> {
            patch(GroupSet::of(&[Group::$group]))
        }
    )*};
}

groups! {
    patch_socket Socket "sending, receiving, accepting and connecting"
    patch_dns Dns "the look-up of names"
    patch_time Time "sleeping"
    patch_select Select "poll, select and epoll"
    patch_thread Thread "threads and what waits on a futex"
    patch_os Os "fork, waits for processes, pipes and other descriptors"
    patch_subprocess Subprocess "what runs other programs"
    patch_signal Signal "signals"
    patch_queue Queue "message queues and semaphores of System V and POSIX"
    patch_file File "regular files"
    patch_sys Sys "what the kernel knows of a thread"
}
