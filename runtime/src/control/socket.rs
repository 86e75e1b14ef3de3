//! The thread that listens on the control socket.
//!
//! It has a table of descriptors of its own, empty but for its sockets and the bell of
//! the hub: the program sees none of them, a forked child inherits none, and nothing of
//! the program's is kept open. Its clients are served one after another, each for a bounded time.
//!
//! It is named after what it is: `gevent-shim ps` finds the socket by that, and not by the
//! program's environment, which the program may have changed or overwritten.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use patch_events::{Filter, InvalidFilter, PathTemplate};

use super::wire::{LINE_MAX, LISTENER};
use super::{name, snapshot};
use crate::arch::{syscall, syscall2};
use crate::config::settings::{CONTROL, EVENTS};
use crate::hub::processor;
use crate::libc_threads;
use crate::proc_files::{self, File};
use crate::reactor;
use crate::trace;
use crate::wanted;

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
    // Where the program goes later has nothing to do with it.
    let bind_to = std::path::absolute(&path)
        .ok()
        .filter(|path| name::address(path.as_os_str().as_bytes()).is_some())
        .unwrap_or(path.clone());
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            call_thread(LISTENER);
            let listener = own_descriptors(reactor::bell()).and_then(|()| bind(&bind_to));
            match listener {
                Ok(listener) => {
                    // The starter waits.
                    let _ = ready.send(Ok(()));
                    serve(listener, &bind_to);
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
            wanted::want(libc::SYS_exit_group as usize, true);
            Ok(())
        }
        Ok(Err(error)) => Err(failed(&error)),
        Err(error) => Err(failed(&error)),
    }
}

/// Gives the calling thread a name.
fn call_thread(name: &CStr) {
    // SAFETY: a C string.
    unsafe {
        syscall2(
            libc::SYS_prctl,
            libc::PR_SET_NAME as u64,
            name.as_ptr() as u64,
        )
    };
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

/// A listening socket for this user alone, whose name is removed at the end. A socket of ours
/// that nobody listens on any more is replaced.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let listener = match bind_new(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && remove_left_over(path) => {
            bind_new(path)?
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            return Err(io::Error::other("the path is taken"));
        }
        outcome => outcome?,
    };
    name::keep(&std::path::absolute(path)?)?;
    Ok(listener)
}

/// Whether there was a socket that nobody listens on, and is no more. It is looked at again
/// under a name that nobody else uses: another process may have replaced it meanwhile.
fn remove_left_over(path: &Path) -> bool {
    if !is_left_over(path) {
        return false;
    }
    let Some(aside) = aside(path, std::process::id()) else {
        return false;
    };
    if !rename(path, &aside) {
        // Somebody else was first, and binds; or it can't be removed here.
        return std::fs::symlink_metadata(path).is_err();
    }
    if is_left_over(&aside) {
        return std::fs::remove_file(&aside).is_ok();
    }
    // Where the path is taken again, it keeps the name that it has: somebody listens.
    rename(&aside, path);
    false
}

/// A name in the directory of `path` that the process of that id uses. It is no longer than the
/// one there, for an address has 107 bytes.
fn aside(path: &Path, id: u32) -> Option<PathBuf> {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let len = path.file_name()?.len();
    let name = (0..len.min(6))
        .map(|i| DIGITS[(id / 36u32.pow(i as u32) % 36) as usize] as char)
        .collect::<String>();
    Some(path.with_file_name(name))
}

/// renameat2(2), which replaces nothing. Whether it did.
fn rename(from: &Path, to: &Path) -> bool {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let (Ok(from), Ok(to)) = (text(from), text(to)) else {
        return false;
    };
    let here = libc::AT_FDCWD as i64 as u64;
    let (from, to) = (from.as_ptr() as u64, to.as_ptr() as u64);
    let flags = libc::RENAME_NOREPLACE.into();
    // SAFETY: strings of ours.
    let ret = unsafe { syscall(libc::SYS_renameat2 as u64, [here, from, here, to, flags, 0]) };
    ret == 0
}

/// Whether that is a socket of this user's (of anybody's, for root) that nobody listens on.
fn is_left_over(path: &Path) -> bool {
    // SAFETY: no preconditions.
    let user = unsafe { libc::geteuid() };
    let mine = std::fs::symlink_metadata(path).is_ok_and(|metadata| {
        metadata.file_type().is_socket() && (metadata.uid() == user || user == 0)
    });
    let Some(address) = name::address(path.as_os_str().as_bytes()).filter(|_| mine) else {
        return false;
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the address lives through the calls, and the descriptor is new.
    unsafe {
        let socket = libc::socket(libc::AF_UNIX, kind, 0);
        if socket < 0 {
            return false;
        }
        let socket = OwnedFd::from_raw_fd(socket);
        let length = size_of_val(&address) as u32;
        libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) != 0
            && io::Error::last_os_error().kind() == io::ErrorKind::ConnectionRefused
    }
}

/// bind(2) neither follows a link nor replaces a file. The mode that the socket has
/// before, less the umask, is the mode its name gets.
fn bind_new(path: &Path) -> io::Result<UnixListener> {
    let Some(address) = name::address(path.as_os_str().as_bytes()) else {
        return Err(io::Error::other("the path is longer than 107 bytes"));
    };
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

fn serve(mut listener: UnixListener, path: &Path) {
    loop {
        match listener.accept() {
            // A client that goes away is its own affair.
            Ok((client, _)) => drop(attend(&client)),
            // Nothing more comes if this is not a passing trouble.
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
        if name::take_lost()
            && let Ok(again) = bind(path)
        {
            listener = again;
        }
    }
}

fn attend(client: &UnixStream) -> io::Result<()> {
    if name::is_in_exec() && peer(client)?.pid == std::process::id() as i32 {
        // Its end, and nothing else, comes when the exec has failed.
        return client.take(1).read_to_end(&mut Vec::new()).map(drop);
    }
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(client.take(LINE_MAX)).read_line(&mut line)?;
    // Not before: hanging up on unread words takes the answer away.
    if !may_ask(client)? {
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

/// Whether the other end runs as this user, or as root.
fn may_ask(client: &UnixStream) -> io::Result<bool> {
    // SAFETY: no preconditions.
    let user = unsafe { libc::geteuid() };
    let uid = peer(client)?.uid;
    Ok(uid == user || uid == 0)
}

/// Who is at the other end (SO_PEERCRED, unix(7)).
///
/// # Errors
/// Of getsockopt(2).
pub fn peer(stream: &UnixStream) -> io::Result<libc::ucred> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut len = size_of_val(&peer) as u32;
    // SAFETY: the kernel writes at most `len` bytes to `peer`.
    let ret = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut len,
        )
    };
    match ret {
        0 => Ok(peer),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_socket_is_for_its_owner_and_takes_nobodys_place() {
        let _alone = name::ALONE.lock().unwrap();
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

        // The longest path that an address has room for.
        let longest = 107 - directory.as_os_str().len() - 1;
        let long = directory.join("l".repeat(longest));
        drop(bind(&long).unwrap());
        drop(bind(&long).unwrap());
        // One that is put aside while somebody listens there.
        let live = bind(&long).unwrap();
        assert!(!remove_left_over(&long));
        assert!(long.exists());
        drop(live);

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

    #[test]
    fn a_name_aside_is_no_longer_than_the_one_there() {
        let of = |path: &str, id| aside(Path::new(path), id);
        assert_eq!(of("/run/x/socket", 37), Some("/run/x/110000".into()));
        assert_eq!(of("/run/x/s", 37), Some("/run/x/1".into()));
        assert_eq!(of("control", 4_194_303), Some("fcwh20".into()));
        assert_eq!(of("/", 1), None);
    }
}
