//! Where a program runs: in the machine's own root directory, or in that of another system.
//!
//! Paths that the tests pass to a program are the same in both: whoever prepares a root mounts
//! what the tests share with its programs at the same place in it.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A root directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Root {
    /// `None`: the machine's own.
    directory: Option<PathBuf>,
}

impl Root {
    /// The machine's own.
    #[must_use]
    pub const fn machine() -> Self {
        Self { directory: None }
    }

    /// That of the system installed in `directory`, which must be a whole one with its mounts.
    #[must_use]
    pub fn at(directory: &Path) -> Self {
        Self {
            directory: Some(directory.to_path_buf()),
        }
    }

    /// Where a file of this system is for the tests themselves.
    #[must_use]
    pub fn outside(&self, path: &Path) -> PathBuf {
        match &self.directory {
            None => path.to_path_buf(),
            Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
        }
    }

    /// Has `command` run here: its program and its arguments are paths of this system. Its working
    /// directory is then the root, unless this is the machine's own.
    ///
    /// # Panics
    /// If the directory's name has a NUL byte.
    pub fn enter(&self, command: &mut Command) {
        let Some(root) = &self.directory else {
            return;
        };
        let root = CString::new(root.as_os_str().as_bytes()).expect("a path has no NUL byte");
        let enter = move || {
            // SAFETY: between fork and exec, two system calls that read a string of ours.
            match unsafe { libc::chroot(root.as_ptr()) | libc::chdir(c"/".as_ptr()) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        // SAFETY: the closure allocates nothing and takes no lock.
        unsafe { command.pre_exec(enter) };
    }
}
