//! The processes that the library is in, and the way to ask one.
//!
//! Where a process listens is what the kernel knows: the thread that does has a name and a table
//! of descriptors of its own. The environment, which says where it was to listen, is asked where
//! that can't be read; it may be gone, as where a program writes its title over it.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gevent_runtime::config::settings::CONTROL;
use gevent_runtime::control::socket::peer;
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
        let command = read(pid, "cmdline").map_err(told)?;
        Ok(Process {
            pid,
            command: in_words(command, || read(pid, "comm").unwrap_or_default()),
            socket: listening(pid)
                .or_else(|| socket(pid, &read(pid, "environ").unwrap_or_default())),
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
        let silent = || {
            format!(
                "process {pid} does not listen on {shown}: it has made no thread yet, \
                 or could not make the socket"
            )
        };
        let stream = connect(pid, path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => silent(),
            _ => format!("process {pid} cannot be asked on {shown}: {error}"),
        })?;
        // 0: it is in a pid namespace that is none of ours.
        if peer(&stream).is_ok_and(|peer| peer.pid != pid && peer.pid != 0) {
            return Err(silent());
        }
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

/// The words of a command line; for a process that has none, the name that the kernel knows.
fn in_words(mut command: Vec<u8>, name: impl FnOnce() -> Vec<u8>) -> String {
    while command.pop_if(|byte| matches!(byte, 0 | b' ')).is_some() {}
    if command.is_empty() {
        return format!("[{}]", name().trim_ascii_end().escape_ascii());
    }
    let words = command.split(|&byte| byte == 0);
    let words: Vec<_> = words.map(|word| word.escape_ascii().to_string()).collect();
    words.join(" ")
}

/// Connects to a path as the process sees it, which may be longer than an address.
fn connect(pid: i32, path: &Path) -> io::Result<UnixStream> {
    let place = if path.is_absolute() { "root" } else { "cwd" };
    let path = path.strip_prefix("/").unwrap_or(path);
    let path = Path::new(&format!("/proc/{pid}/{place}")).join(path);
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)?;
    UnixStream::connect(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Where the process listens, by what the kernel knows of the thread that does.
fn listening(pid: i32) -> Option<PathBuf> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let sockets: Vec<u64> = tasks
        .filter_map(|task| Some(task.ok()?.path()))
        .filter(|task| {
            let name = std::fs::read(task.join("comm")).unwrap_or_default();
            name.trim_ascii_end() == wire::LISTENER.to_bytes()
        })
        .filter_map(|task| std::fs::read_dir(task.join("fd")).ok())
        .flatten()
        .filter_map(|file| socket_number(&std::fs::read_link(file.ok()?.path()).ok()?))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    bound_path(&read(pid, "net/unix").ok()?, &sockets)
}

/// The inode of a socket, by what a descriptor's link says.
fn socket_number(link: &Path) -> Option<u64> {
    let link = link.to_str()?;
    link.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// The path of the one of these sockets that listens (proc_pid_net(5)).
fn bound_path(table: &[u8], sockets: &[u64]) -> Option<PathBuf> {
    /// SO_ACCEPTCON among the flags.
    const LISTENS: u32 = 1 << 16;
    table.split(|&byte| byte == b'\n').find_map(|line| {
        let (mut rest, mut fields) = (line, [""; 7]);
        for field in &mut fields {
            rest = rest.trim_ascii_start();
            let (this, after) = rest.split_at(rest.iter().position(|&byte| byte == b' ')?);
            *field = str::from_utf8(this).ok()?;
            rest = after;
        }
        let flags = u32::from_str_radix(fields[3], 16).ok()?;
        let inode = fields[6].parse().ok()?;
        let path = rest.strip_prefix(b" ")?;
        let is_it = flags & LISTENS != 0 && sockets.contains(&inode) && !path.is_empty();
        is_it.then(|| PathBuf::from(OsStr::from_bytes(path)))
    })
}

/// Where the process listens, by the environment it was started with.
fn socket(pid: i32, environment: &[u8]) -> Option<PathBuf> {
    let value = environment.split(|&byte| byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(CONTROL.as_bytes())?.strip_prefix(b"=")?;
        (!value.is_empty()).then(|| OsString::from_vec(value.to_vec()))
    })?;
    Some(PathTemplate::new(&value).ok()?.expand(pid as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }

    #[test]
    fn the_socket_that_listens_is_found_by_its_number() {
        let table = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 70 /run/other\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 71 /run/a b\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 72\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 73 /run/a b\n";
        let path = |sockets: &[u64]| bound_path(table, sockets);
        assert_eq!(path(&[73]), Some("/run/a b".into()));
        for others in [&[70][..], &[71], &[72], &[7], &[]] {
            assert_eq!(path(others), None);
        }
        assert_eq!(socket_number(Path::new("socket:[73]")), Some(73));
        assert_eq!(socket_number(Path::new("/socket:[73]")), None);
    }

    #[test]
    fn a_process_without_a_command_line_has_a_name() {
        let words = |command: &[u8]| in_words(command.to_vec(), || b"name\n".to_vec());
        assert_eq!(words(b"a\0b c\0"), "a b c");
        assert_eq!(
            words(b"redis-server 127.0.0.1:1   \0\0"),
            "redis-server 127.0.0.1:1"
        );
        assert_eq!(words(b"\0\0"), "[name]");
    }
}
