//! The processes that the library is in, and the way to ask one.

use std::ffi::OsString;
use std::io::{self, BufReader, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gevent_runtime::config::settings::CONTROL;
use gevent_runtime::control::wire::{self, Snapshot};
use patch_events::PathTemplate;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process with the library in it.
#[derive(Debug)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its command line, printable.
    pub command: String,
    /// Where it may listen.
    socket: Option<PathBuf>,
}

/// Every one that this user may look at, by its id.
///
/// # Errors
/// When `/proc` can't be read.
pub fn all() -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let pid = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        // Others may end, or be somebody else's.
        found.extend(pid.and_then(|pid| Process::find(pid).ok()));
    }
    found.sort_by_key(|process| process.pid);
    Ok(found)
}

impl Process {
    /// The process with that id.
    ///
    /// # Errors
    /// The line that says why it can't be looked at.
    pub fn find(pid: i32) -> Result<Process, String> {
        let told = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => format!("no process {pid}"),
            io::ErrorKind::PermissionDenied => {
                format!("process {pid} is another user's, or does not let itself be looked at")
            }
            _ => format!("process {pid} cannot be looked at: {error}"),
        };
        let maps = read(pid, "maps").map_err(told)?;
        if !maps.split(|&byte| byte == b'\n').any(is_library) {
            return Err(format!("process {pid} runs without the library"));
        }
        let environment = read(pid, "environ").map_err(told)?;
        let mut command = read(pid, "cmdline").map_err(told)?;
        while command.pop_if(|byte| *byte == 0).is_some() {}
        let words = command.split(|&byte| byte == 0);
        let words: Vec<_> = words.map(|word| word.escape_ascii().to_string()).collect();
        Ok(Process {
            pid,
            command: words.join(" "),
            socket: socket(pid, &environment),
        })
    }

    /// Asks what its guests do, with so many bytes of their stacks.
    ///
    /// # Errors
    /// The line that says why there is no answer.
    pub fn snapshot(&self, stack: usize) -> Result<Snapshot, String> {
        let mut answer = self.ask(&format!("dump {stack}"))?;
        Snapshot::read(&mut answer).map_err(|error| self.told(&error))
    }

    /// Asks for something that is answered with a line.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot).
    pub fn request(&self, line: &str) -> Result<(), String> {
        let mut answer = self.ask(line)?;
        wire::accept(&mut answer).map_err(|error| self.told(&error))
    }

    fn ask(&self, line: &str) -> Result<BufReader<UnixStream>, String> {
        let pid = self.pid;
        let Some(path) = &self.socket else {
            return Err(format!(
                "process {pid} has no control socket: start it with {CONTROL} set, \
                 or `gevent-shim run --control PATH`"
            ));
        };
        let shown = path.as_os_str().as_bytes().escape_ascii();
        let stream = connect(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!(
                "process {pid} does not listen on {shown}: it has made no thread yet, \
                 or could not make the socket"
            ),
            _ => format!("process {pid} cannot be asked on {shown}: {error}"),
        })?;
        let asked = stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| (&stream).write_all(format!("{line}\n").as_bytes()));
        asked.map_err(|error| self.told(&error))?;
        Ok(BufReader::with_capacity(1 << 16, stream))
    }

    fn told(&self, error: &io::Error) -> String {
        let pid = self.pid;
        match error.kind() {
            io::ErrorKind::WouldBlock => format!("process {pid} does not answer"),
            io::ErrorKind::Other => format!("process {pid}: {error}"),
            _ => format!("process {pid} gave no whole answer: {error}"),
        }
    }

    /// What a descriptor of its is, in words to stand behind the number.
    pub fn descriptor(&self, fd: i32) -> String {
        std::fs::read_link(format!("/proc/{}/fd/{fd}", self.pid)).map_or_else(
            |_| String::new(),
            |target| format!(" {}", target.as_os_str().as_bytes().escape_ascii()),
        )
    }
}

/// Whether a line of `maps` is of the library, also if its file has been replaced.
fn is_library(line: &[u8]) -> bool {
    let line = line.strip_suffix(b" (deleted)").unwrap_or(line);
    line.ends_with(b"/libgevent_shim.so")
}

fn read(pid: i32, file: &str) -> io::Result<Vec<u8>> {
    std::fs::read(format!("/proc/{pid}/{file}"))
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path)
}

/// Where the process listens, by the environment it was started with.
fn socket(pid: i32, environment: &[u8]) -> Option<PathBuf> {
    let value = environment.split(|&byte| byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(CONTROL.as_bytes())?.strip_prefix(b"=")?;
        (!value.is_empty()).then(|| OsString::from_vec(value.to_vec()))
    })?;
    let path = PathTemplate::new(&value).ok()?.expand(pid as u32);
    if path.is_absolute() {
        return Some(path);
    }
    let directory = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    Some(directory.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn a_library_that_was_replaced_is_still_one() {
        let line = |path: &str| format!("7f00-7f01 r-xp 00000000 08:01 7   {path}").into_bytes();
        assert!(is_library(&line("/usr/lib/libgevent_shim.so")));
        assert!(is_library(&line("/usr/lib/libgevent_shim.so (deleted)")));
        assert!(!is_library(&line("/usr/lib/libgevent_shim.so.old")));
        assert!(!is_library(b""));
    }

    #[test]
    fn the_socket_is_where_the_environment_says() {
        let of = |environment: &str| socket(7, environment.as_bytes());
        assert_eq!(
            of("A=b\0GEVENT_SHIM_CONTROL=/run/x.%p\0C="),
            Some("/run/x.7".into())
        );
        assert_eq!(of("GEVENT_SHIM_CONTROL=\0"), None);
        assert_eq!(of("GEVENT_SHIM_CONTROLS=/x\0"), None);
        assert_eq!(of("GEVENT_SHIM_CONTROL=/run/%d\0"), None);
        let own = std::process::id() as i32;
        let relative = socket(own, b"GEVENT_SHIM_CONTROL=x").unwrap();
        assert_eq!(
            relative,
            std::env::current_dir().unwrap().join(OsStr::new("x"))
        );
    }
}
