//! The thread that listens on the control socket.
//!
//! It has a table of descriptors of its own, empty but for its sockets and the bell of
//! the hub: the program sees none of them, a forked child inherits none, and nothing of
//! the program's is kept open. Its clients are served one after another, each for a bounded time.
//!
//! # Synchronization
//! `BOUND` is written when the thread starts and in a forked child, and taken when the
//! process ends.
#![allow(unsafe_code)]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use patch_events::{Filter, InvalidFilter, PathTemplate};

use super::snapshot;
use super::wire::LINE_MAX;
use crate::config::settings::{CONTROL, EVENTS};
use crate::hub::processor;
use crate::libc_threads;
use crate::proc_files::{self, File};
use crate::reactor;
use crate::trace;
use crate::wanted;

/// The path that this process has to remove at its end.
static BOUND: Mutex<Option<PathBuf>> = Mutex::new(None);

/// How long a client may take for its line, and for taking the answer.
const PATIENCE: Duration = Duration::from_secs(5);

const STACK: usize = 128 << 10;

/// Makes the socket and the thread; every signal must be blocked. Waits until the
/// socket is there.
///
/// # Errors
/// The line that says why there is none.
pub fn start(template: &PathTemplate) -> Result<(), String> {
    let path = template.expand(std::process::id());
    let shown = path.as_os_str().as_bytes().escape_ascii().to_string();
    let failed =
        |why: &dyn std::fmt::Display| format!("{CONTROL}: no socket at \"{shown}\": {why}");
    let (ready, outcome) = mpsc::channel();
    let bind_to = path.clone();
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            let listener = own_descriptors(reactor::bell()).and_then(|()| bind(&bind_to));
            match listener {
                Ok(listener) => {
                    // The starter waits.
                    let _ = ready.send(Ok(()));
                    serve(&listener);
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        })
        .map_err(|error| failed(&error))?;
    match outcome.recv() {
        Ok(Ok(())) => {
            // A program's last thread is its last, whatever we run beside it.
            libc_threads::discount(1);
            *bound() = Some(path);
            wanted::want(libc::SYS_exit_group as usize, true);
            Ok(())
        }
        Ok(Err(error)) => Err(failed(&error)),
        Err(error) => Err(failed(&error)),
    }
}

/// Removes the socket's name. Called on the host context when the process ends.
pub fn remove() {
    if let Some(path) = bound().take() {
        // It may be gone already.
        let _ = std::fs::remove_file(path);
    }
}

/// In a forked child: nothing is its own.
pub fn reset_after_fork() {
    *bound() = None;
}

fn bound() -> std::sync::MutexGuard<'static, Option<PathBuf>> {
    BOUND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives the calling thread a table of descriptors of its own, with nothing in it but
/// the bell and the files it reads.
fn own_descriptors(bell: i32) -> io::Result<()> {
    let close = |from: u32, to: u32, flags: u32| {
        // SAFETY: the first call makes the table the thread's own.
        match unsafe { libc::syscall(libc::SYS_close_range, from, to, flags) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    let mut kept: Vec<u32> = proc_files::numbers()
        .chain([bell])
        .filter_map(|fd| u32::try_from(fd).ok())
        .collect();
    kept.sort_unstable();
    let highest = kept.last().map_or(0, |last| last.saturating_add(1));
    close(highest, u32::MAX, libc::CLOSE_RANGE_UNSHARE)?;
    let mut from = 0;
    for fd in kept {
        if from < fd {
            close(from, fd - 1, 0)?;
        }
        from = fd.saturating_add(1);
    }
    Ok(())
}

/// A listening socket for this user alone. A socket of ours that nobody listens on
/// any more is replaced.
fn bind(path: &Path) -> io::Result<UnixListener> {
    match bind_new(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_over(path) => {
            std::fs::remove_file(path)?;
            bind_new(path)
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(io::Error::other("the path is taken"))
        }
        outcome => outcome,
    }
}

fn is_left_over(path: &Path) -> bool {
    // SAFETY: no preconditions.
    let user = unsafe { libc::geteuid() };
    std::fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.file_type().is_socket() && metadata.uid() == user)
        && UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// bind(2) neither follows a link nor replaces a file. The mode that the socket has
/// before, less the umask, is the mode its name gets.
fn bind_new(path: &Path) -> io::Result<UnixListener> {
    let mut address = libc::sockaddr_un {
        sun_family: libc::AF_UNIX as u16,
        sun_path: [0; 108],
    };
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() >= address.sun_path.len() {
        return Err(io::Error::other("the path is longer than 107 bytes"));
    }
    for (to, byte) in address.sun_path.iter_mut().zip(bytes) {
        *to = *byte as libc::c_char;
    }
    let check = |ret: i32| match ret {
        -1 => Err(io::Error::last_os_error()),
        ret => Ok(ret),
    };
    // SAFETY: the address lives through the calls, and the descriptor is new.
    unsafe {
        let socket = check(libc::socket(
            libc::AF_UNIX,
            libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
            0,
        ))?;
        let socket = OwnedFd::from_raw_fd(socket);
        check(libc::fchmod(socket.as_raw_fd(), 0o600))?;
        check(libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as u32,
        ))?;
        check(libc::listen(socket.as_raw_fd(), 16))?;
        Ok(UnixListener::from(socket))
    }
}

fn serve(listener: &UnixListener) {
    loop {
        match listener.accept() {
            // A client that goes away is its own affair.
            Ok((client, _)) => drop(attend(&client)),
            // Nothing more comes if this is not a passing trouble.
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn attend(client: &UnixStream) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(client.take(LINE_MAX)).read_line(&mut line)?;
    // Not before: hanging up on unread words takes the answer away.
    if !is_same_user(client)? {
        return refuse(client, "only the same user may ask");
    }
    let (word, rest) = line
        .trim_end()
        .split_once(' ')
        .unwrap_or((line.trim_end(), ""));
    match word {
        "dump" => match rest.parse() {
            Ok(stack) if stack <= snapshot::STACK_MAX => dump(client, stack),
            _ => refuse(
                client,
                &format!("expected up to {} bytes", snapshot::STACK_MAX),
            ),
        },
        "events" => match change_events(rest) {
            Ok(()) => (&mut &*client).write_all(b"ok\n"),
            Err(why) => refuse(client, &why),
        },
        _ => refuse(client, "no such request"),
    }
}

/// From now on events are told by another filter.
fn change_events(filter: &str) -> Result<(), String> {
    let filter: Filter = filter
        .parse()
        .map_err(|_| format!("expected {}", InvalidFilter::EXPECTED))?;
    if patch_events::filter().is_none() {
        return Err(format!(
            "nobody listens to events: start the program with {EVENTS}, \
             as in {EVENTS}=gevent=error"
        ));
    }
    patch_events::set_filter(filter);
    trace::refresh();
    Ok(())
}

fn dump(client: &UnixStream, stack: usize) -> io::Result<()> {
    match snapshot::take(stack) {
        Some(snapshot) => snapshot.write(client),
        None => refuse(client, &standstill()),
    }
}

/// Why the hub does not answer, in words.
pub fn standstill() -> String {
    let kernel_tid = processor::first().kernel_tid();
    let mut text = [0; proc_files::MAX];
    let call = proc_files::read(File::Syscall, &mut text).unwrap_or_default();
    let number = call.split(' ').next().and_then(|word| word.parse().ok());
    let name = number
        .and_then(crate::syscalls::lookup)
        .map_or("unknown", |row| row.name);
    format!("the hub stands still: kernel thread {kernel_tid} is in the call {name}")
}

fn refuse(mut client: &UnixStream, why: &str) -> io::Result<()> {
    client.write_all(format!("error {why}\n").as_bytes())
}

/// Whether the other end runs as this user (SO_PEERCRED, unix(7)).
fn is_same_user(client: &UnixStream) -> io::Result<bool> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut len = size_of_val(&peer) as u32;
    // SAFETY: the kernel writes at most `len` bytes to `peer`.
    let ret = unsafe {
        libc::getsockopt(
            client.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut len,
        )
    };
    if ret != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: no preconditions.
    Ok(peer.uid == unsafe { libc::geteuid() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_socket_is_for_its_owner_and_takes_nobodys_place() {
        let directory = std::env::temp_dir().join(format!("control-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("socket");
        let listener = bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o177, 0);
        let why = |path: &Path| bind(path).unwrap_err().to_string();
        assert_eq!(why(&path), "the path is taken");
        drop(listener);
        let again = bind(&path).unwrap();
        drop(again);

        let file = directory.join("file");
        std::fs::write(&file, "kept").unwrap();
        assert_eq!(why(&file), "the path is taken");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
        let link = directory.join("link");
        std::os::unix::fs::symlink(directory.join("elsewhere"), &link).unwrap();
        assert_eq!(why(&link), "the path is taken");
        assert!(why(Path::new(OsStr::from_bytes(&[b'x'; 108]))).contains("107"));
        assert!(why(&directory.join("no/socket")).contains("No such file"));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
