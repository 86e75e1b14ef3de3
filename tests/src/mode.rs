//! How a program is started: bare, or preloaded with one of the event loops.
#![allow(unsafe_code)]

use std::path::PathBuf;
use std::process::Command;

/// An event loop of the library, by the value of `GEVENT_SHIM_LOOP` that forces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventLoop {
    /// Operations are submitted to the kernel's io_uring.
    IoUring,
    /// Readiness is waited for with epoll.
    Epoll,
}

impl EventLoop {
    /// Both loops, in the order they are tested.
    pub const ALL: [Self; 2] = [Self::IoUring, Self::Epoll];

    /// The value of `GEVENT_SHIM_LOOP`, and the last part of a test's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }

    /// Whether this kernel lets us have the loop at all.
    ///
    /// Containers commonly forbid io_uring; its tests are then reported as ignored.
    #[must_use]
    pub fn available(self) -> bool {
        match self {
            Self::Epoll => true,
            Self::IoUring => io_uring_allowed(),
        }
    }
}

fn io_uring_allowed() -> bool {
    // With no entries and no parameters the call always fails; how it fails tells whether the kernel
    // would have looked at the arguments.
    // SAFETY: a null parameter block is never written to; the kernel answers EFAULT or EINVAL.
    let refused = unsafe {
        libc::syscall(
            libc::SYS_io_uring_setup,
            0,
            std::ptr::null_mut::<libc::c_void>(),
        )
    };
    debug_assert_eq!(refused, -1);
    !matches!(
        std::io::Error::last_os_error().raw_os_error(),
        Some(libc::ENOSYS | libc::EPERM)
    )
}

/// Whether the kernel can catch calls for `GEVENT_SHIM_CATCH` (Syscall User Dispatch, Linux 5.11);
/// the tests of that are reported as ignored if not.
#[must_use]
pub fn catching_available() -> bool {
    const PR_SET_SYSCALL_USER_DISPATCH: i32 = 59;
    const OFF: libc::c_ulong = 0;
    // SAFETY: off is off already, and there are no pointers.
    unsafe { libc::prctl(PR_SET_SYSCALL_USER_DISPATCH, OFF, 0, 0, 0) == 0 }
}

/// The variable of the tests' own that says how many hubs preloaded programs run.
const HUBS: &str = "GEVENT_TESTS_HUBS";

/// How many hubs preloaded programs are to run, if the caller says so.
#[must_use]
pub fn hubs() -> Option<usize> {
    std::env::var(HUBS).ok()?.parse().ok()
}

/// How a program is started.
#[derive(Clone, Debug)]
pub enum Mode {
    /// As it is: the oracle.
    Bare,
    /// With the library preloaded.
    Preloaded {
        /// The library under test.
        library: PathBuf,
        /// The event loop it is told to use.
        event_loop: EventLoop,
        /// How many hubs it is told to run.
        hubs: usize,
    },
}

impl Mode {
    /// Gives `command` the environment of this mode, and nothing of ours besides.
    ///
    /// `GEVENT_SHIM_*` variables of the caller are dropped: a test's result must not depend on them.
    /// Except `GEVENT_SHIM_EVENTS` when it names a file, which changes no output and helps debugging.
    pub fn apply(&self, command: &mut Command) {
        for (name, value) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let to_a_file = text == "GEVENT_SHIM_EVENTS" && value.to_string_lossy().contains('/');
            if text.starts_with("GEVENT_SHIM_") && !to_a_file {
                command.env_remove(&name);
            }
        }
        command.env("LC_ALL", "C").env("TZ", "UTC");
        match self {
            Self::Bare => {
                command.env_remove("LD_PRELOAD");
            }
            Self::Preloaded {
                library,
                event_loop,
                hubs,
            } => {
                command
                    .env("LD_PRELOAD", library)
                    .env("GEVENT_SHIM_LOOP", event_loop.name());
                if *hubs != 1 {
                    command.env("GEVENT_SHIM_HUBS", hubs.to_string());
                }
            }
        }
    }

    /// The same with this number of hubs, where there are any.
    #[must_use]
    pub fn with_hubs(mut self, count: usize) -> Self {
        if let Self::Preloaded { hubs, .. } = &mut self {
            *hubs = count;
        }
        self
    }

    /// The name a report uses: `bare`, or the event loop's.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Preloaded { event_loop, .. } => event_loop.name(),
        }
    }

    /// Whether the library is preloaded.
    #[must_use]
    pub const fn is_preloaded(&self) -> bool {
        matches!(self, Self::Preloaded { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_mode_starts_without_a_preload() {
        let mut command = Command::new("env");
        command.env("LD_PRELOAD", "/nonexistent.so");
        Mode::Bare.apply(&mut command);
        let preload = command.get_envs().find(|(name, _)| *name == "LD_PRELOAD");
        assert_eq!(preload.map(|(_, value)| value), Some(None));
    }

    #[test]
    fn preloaded_mode_names_library_and_loop() {
        let mut command = Command::new("env");
        let mode = Mode::Preloaded {
            library: PathBuf::from("/x/lib.so"),
            event_loop: EventLoop::Epoll,
            hubs: 2,
        };
        mode.apply(&mut command);
        let value = |wanted: &str| {
            command
                .get_envs()
                .find(|(name, _)| *name == wanted)
                .and_then(|(_, value)| value.map(|text| text.to_string_lossy().into_owned()))
        };
        assert_eq!(value("LD_PRELOAD").as_deref(), Some("/x/lib.so"));
        assert_eq!(value("GEVENT_SHIM_LOOP").as_deref(), Some("epoll"));
        assert_eq!(value("GEVENT_SHIM_HUBS").as_deref(), Some("2"));
    }
}
