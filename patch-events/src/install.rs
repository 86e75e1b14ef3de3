//! Making this process listen to its events.

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::channel::{self, Listener};
use crate::destination::{FILE_VARIABLE, Target};
use crate::filter::Filter;
use crate::format::Format;
use crate::listen::{self, Front};
use crate::sink::{OpenError, Sink, Write};
use crate::subscriber::Subscriber;

/// Why nothing listens.
#[derive(Debug)]
pub enum InstallError {
    /// The file can't be opened for appending, or is a symbolic link.
    Open {
        /// The path, with the process id in it.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The file is neither a regular file nor a character device.
    Kind {
        /// The path, with the process id in it.
        path: PathBuf,
    },
    /// No memory for the ring.
    Memory,
    /// Something listens already.
    Installed,
}

impl fmt::Display for InstallError {
    /// One line, that names the variable.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |f: &mut fmt::Formatter<'_>, path: &PathBuf| {
            let path = path.as_os_str().as_bytes().escape_ascii();
            write!(f, "{FILE_VARIABLE}: cannot write events to \"{path}\": ")
        };
        match self {
            InstallError::Open { path, cause } => {
                named(f, path)?;
                if cause.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
                    f.write_str("it is a symbolic link, or its path has too many")
                } else {
                    write!(f, "{cause}")
                }
            }
            InstallError::Kind { path } => {
                named(f, path)?;
                f.write_str("it is neither a regular file nor a character device")
            }
            InstallError::Memory => f.write_str("no memory for events"),
            InstallError::Installed => f.write_str("events are already listened to"),
        }
    }
}

impl std::error::Error for InstallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            InstallError::Open { cause, .. } => Some(cause),
            InstallError::Kind { .. } | InstallError::Memory | InstallError::Installed => None,
        }
    }
}

/// From now on writes every event that passes `filter` to `target` in `format`, to a file with
/// `write`. Once a process; a forked child goes on with the same file, or with its own
/// where the path has a `%p`. Host mode or start-up only: allocates, and opens the file.
///
/// # Errors
/// See [`InstallError`]; nothing listens then.
pub fn install(
    filter: &Filter,
    target: &Target,
    format: Format,
    write: Write,
) -> Result<(), InstallError> {
    if listen::filter().is_some() {
        return Err(InstallError::Installed);
    }
    let sink = match target {
        Target::Stderr => Sink::stderr(format),
        Target::File(template) => Sink::file(template, format, write).map_err(|error| {
            let path = template.expand(std::process::id());
            match error {
                OpenError::System(cause) => InstallError::Open { path, cause },
                OpenError::Kind => InstallError::Kind { path },
            }
        })?,
    };
    begin(filter, Box::new(sink), true)
}

/// Asks everybody who listens whether the program may be patched with these groups.
///
/// # Errors
/// The first objection.
pub fn ask_all(groups: &str) -> Result<(), String> {
    let asked = channel::with_listeners(|all| {
        all.iter_mut()
            .try_for_each(|one| one.subscriber.will_patch_all(groups))
    });
    // Nobody who is busy objects.
    asked.unwrap_or(Ok(()))
}

/// Asks everybody who listens whether a group may be switched on, with which of its
/// calls: those whose word they set to false are left out.
///
/// # Errors
/// The first objection.
pub fn ask_group(group: &str, items: &mut [(&'static str, bool)]) -> Result<(), String> {
    let asked = channel::with_listeners(|all| {
        all.iter_mut()
            .try_for_each(|one| one.subscriber.will_patch_group(group, items))
    });
    asked.unwrap_or(Ok(()))
}

/// From now on gives every event that passes `filter` to `listener`, beside those who
/// listen already, and asks it before something is patched. As [`install`].
///
/// # Errors
/// See [`InstallError`].
pub fn listen(filter: &Filter, listener: Box<dyn Subscriber>) -> Result<(), InstallError> {
    begin(filter, listener, false)
}

fn begin(filter: &Filter, subscriber: Box<dyn Subscriber>, main: bool) -> Result<(), InstallError> {
    let first = !channel::is_open();
    if !channel::open() {
        return Err(InstallError::Memory);
    }
    if first {
        tracing::subscriber::set_global_default(Front).map_err(|_| InstallError::Installed)?;
    }
    let place = listen::add(filter, main);
    channel::subscribe(Listener { place, subscriber });
    Ok(())
}
