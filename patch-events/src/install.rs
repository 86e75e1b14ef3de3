//! Making this process listen to its events.

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::process::getpid;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

use crate::destination::{FILE_VARIABLE, Target};
use crate::filter::Filter;
use crate::format::OneLine;
use crate::sink::{OpenError, Sink, Write};

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
            InstallError::Installed => f.write_str("events are already listened to"),
        }
    }
}

impl std::error::Error for InstallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            InstallError::Open { cause, .. } => Some(cause),
            InstallError::Kind { .. } | InstallError::Installed => None,
        }
    }
}

/// From now on writes every event that passes `filter` to `target`, a line
/// each, with `write`. Once a process; a forked child goes on with the same
/// file. Host mode or start-up only: allocates, and opens the file.
///
/// # Errors
/// See [`InstallError`]; nothing listens then.
pub fn install(filter: &Filter, target: &Target, write: Write) -> Result<(), InstallError> {
    let sink = match target {
        Target::Stderr => Sink::stderr(write),
        Target::File(template) => {
            let path = template.expand(getpid().as_raw_nonzero().get() as u32);
            match Sink::file(&path, write) {
                Ok(sink) => sink,
                Err(OpenError::System(cause)) => return Err(InstallError::Open { path, cause }),
                Err(OpenError::Kind) => return Err(InstallError::Kind { path }),
            }
        }
    };
    let layer = tracing_subscriber::fmt::layer()
        .event_format(OneLine::new())
        // It would report them through std's locked stderr; the sink counts them.
        .log_internal_errors(false)
        .with_writer(sink);
    let wanted = Targets::new().with_targets(filter.directives());
    let subscriber = tracing_subscriber::registry().with(wanted).with(layer);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| InstallError::Installed)
}
