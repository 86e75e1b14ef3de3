//! A control group that allows few threads (cgroups(7), the controller `pids`).
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Threads that it allows.
const MOST: &str = "20";

/// Where groups are that have the controller: of the first version, and of the second.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];

/// A group of this test's own; it goes with this.
pub struct Group {
    directory: PathBuf,
    processes: CString,
}

impl Group {
    /// A new one, if this process may make one.
    pub fn new(name: &str) -> Option<Group> {
        ROOTS.into_iter().find_map(|root| {
            let name = format!("gevent-tests-{}-{name}", std::process::id());
            let directory = Path::new(root).join(name);
            std::fs::create_dir(&directory).ok()?;
            let processes = directory.join("cgroup.procs");
            let processes = CString::new(processes.as_os_str().as_bytes()).ok()?;
            let limit = directory.join("pids.max");
            let group = Group {
                directory,
                processes,
            };
            // Without the controller there is no such file.
            let mut limit = OpenOptions::new().write(true).open(limit).ok()?;
            limit.write_all(MOST.as_bytes()).ok()?;
            Some(group)
        })
    }

    /// Puts the process that runs `command` there.
    pub fn put(&self, command: &mut Command) {
        let processes = self.processes.clone();
        // SAFETY: between fork and exec the closure makes system calls alone.
        unsafe {
            command.pre_exec(move || {
                let fd = libc::open(processes.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                // The writer itself.
                if fd < 0 || libc::write(fd, c"0".as_ptr().cast(), 1) != 1 {
                    return Err(io::Error::last_os_error());
                }
                libc::close(fd);
                Ok(())
            })
        };
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The kernel lets go of a process a moment after it was waited for.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.directory).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("sandbox: {} is left", self.directory.display());
    }
}
