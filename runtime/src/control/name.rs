//! The control socket's name in the file system, which its process removes at every end that
//! lets it: exit, a signal that ends it, and exec.
//!
//! The kernel keeps the name of a socket whose process is gone. Whoever is killed by SIGKILL, or
//! ends in a call that no patched site makes, leaves it: the next one that is to have the path
//! finds that nobody listens there, and replaces it.
//!
//! # Exec
//! The threads of ours are gone when exec succeeds, and so is who could remove the name; when it
//! fails the program goes on. So the name is removed before, and the thread that listens makes
//! the socket anew afterwards. It learns that through a connection to itself, made before the
//! name is gone: the end of that is the end of a failed exec.
//!
//! # Synchronization
//! `NAME` is set by the thread that listens, taken by whoever ends the process, and forgotten in
//! a forked child. Its value is never freed: a signal handler may look at it. `IN_EXEC` and
//! `LOST` are set by the one thread that execs, and read by the thread that listens.
#![allow(unsafe_code)]

use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::arch::{syscall0, syscall3, syscall4};
use crate::frame::Frame;
use crate::private;
use crate::raw;

/// The name, and what is known by it.
struct Name {
    /// Absolute: the program may change its working directory.
    path: CString,
    /// As connect(2) takes it, and its length: 0 if it is too long for that.
    address: libc::sockaddr_un,
    length: u32,
    /// Whose it is.
    pid: i64,
    /// Device and inode: another socket of this name is left alone.
    identity: (u64, u64),
}

static NAME: AtomicPtr<Name> = AtomicPtr::new(ptr::null_mut());

/// The name is gone because the program execs.
static IN_EXEC: AtomicBool = AtomicBool::new(false);
/// That has failed, and the name is still gone.
static LOST: AtomicBool = AtomicBool::new(false);

/// Remembers a socket that was bound at this path, which is absolute.
///
/// # Errors
/// When it is not there.
pub fn keep(path: &Path) -> io::Result<()> {
    let bytes = path.as_os_str().as_bytes();
    let text = CString::new(bytes).map_err(io::Error::other)?;
    let identity = identity(&text).ok_or_else(|| io::Error::other("the socket is gone"))?;
    let (address, length) = match address(bytes) {
        Some(address) => (address, size_of::<libc::sockaddr_un>() as u32),
        None => (empty_address(), 0),
    };
    let name = Box::new(Name {
        path: text,
        address,
        length,
        pid: pid(),
        identity,
    });
    NAME.store(Box::into_raw(name), Ordering::SeqCst);
    Ok(())
}

fn empty_address() -> libc::sockaddr_un {
    libc::sockaddr_un {
        sun_family: libc::AF_UNIX as u16,
        sun_path: [0; 108],
    }
}

/// A path as bind(2) and connect(2) take it. `None`: it is too long.
pub fn address(path: &[u8]) -> Option<libc::sockaddr_un> {
    let mut address = empty_address();
    if path.len() >= address.sun_path.len() {
        return None;
    }
    for (to, byte) in address.sun_path.iter_mut().zip(path) {
        *to = *byte as libc::c_char;
    }
    Some(address)
}

fn pid() -> i64 {
    // SAFETY: no arguments.
    unsafe { syscall0(libc::SYS_getpid) }
}

/// Device and inode of a socket's name. `None`: there is none, or something else.
fn identity(path: &CString) -> Option<(u64, u64)> {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    let here = libc::AT_FDCWD as i64 as u64;
    let flags = libc::AT_SYMLINK_NOFOLLOW as u64;
    let (at, to) = (path.as_ptr() as u64, stat.as_mut_ptr() as u64);
    // SAFETY: a string and a structure of ours, of which all zero is a value.
    let stat = unsafe {
        if syscall4(libc::SYS_newfstatat, here, at, to, flags) != 0 {
            return None;
        }
        stat.assume_init()
    };
    let is_socket = stat.st_mode & libc::S_IFMT == libc::S_IFSOCK;
    is_socket.then_some((stat.st_dev, stat.st_ino))
}

/// The name, in the process whose it is: a child of vfork sees its parent's.
fn own() -> Option<&'static Name> {
    // SAFETY: null, or a name, which is never freed.
    let name = unsafe { NAME.load(Ordering::SeqCst).as_ref() }?;
    (name.pid == pid()).then_some(name)
}

/// The process ends: removes the name. Any mode, any thread, also in a signal handler.
pub fn remove() {
    if let Some(name) = own()
        && !NAME.swap(ptr::null_mut(), Ordering::SeqCst).is_null()
    {
        unlink(name);
    }
}

fn unlink(name: &Name) {
    if identity(&name.path) != Some(name.identity) {
        return;
    }
    let here = libc::AT_FDCWD as i64 as u64;
    // It may be refused, to a program that has given up its rights: then it stays.
    // SAFETY: a string of ours.
    unsafe { syscall3(libc::SYS_unlinkat, here, name.path.as_ptr() as u64, 0) };
}

/// In a forked child: it is the parent's.
pub fn reset_after_fork() {
    NAME.store(ptr::null_mut(), Ordering::SeqCst);
    IN_EXEC.store(false, Ordering::SeqCst);
    LOST.store(false, Ordering::SeqCst);
}

/// The connection that ends when an exec has failed.
pub struct Exec(i32);

/// The program is about to exec: removes the name, if it can be had again. Guest mode.
pub fn before_exec(frame: &Frame) -> Option<Exec> {
    let name = own()?;
    if name.length == 0 || !is_there(frame) {
        return None;
    }
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let fd = private::open(|| {
        // SAFETY: no pointers.
        unsafe { syscall3(libc::SYS_socket, libc::AF_UNIX as u64, kind as u64, 0) }
    });
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    IN_EXEC.store(true, Ordering::SeqCst);
    let (address, length) = (&raw const name.address as u64, name.length.into());
    // SAFETY: an address of ours.
    if unsafe { syscall3(libc::SYS_connect, fd as u64, address, length) } != 0 {
        // Whom nobody could tell that the exec has failed keeps the name.
        IN_EXEC.store(false, Ordering::SeqCst);
        private::close(fd);
        return None;
    }
    unlink(name);
    Some(Exec(fd))
}

/// Whether there is what is to be executed: execvp(3) asks for it in many places.
fn is_there(frame: &Frame) -> bool {
    let a = frame.args();
    let here = libc::AT_FDCWD as i64 as u64;
    let (directory, path) = match frame.rax as i64 {
        libc::SYS_execve => (here, a[0]),
        _ if a[4] as i32 & libc::AT_EMPTY_PATH != 0 => return true,
        _ => (a[0], a[1]),
    };
    // SAFETY: the program's own string, which the kernel looks at.
    let ret = unsafe { syscall3(libc::SYS_faccessat, directory, path, libc::F_OK as u64) };
    ret == 0 || ret == raw::err(libc::EACCES)
}

/// The exec has failed.
pub fn after_exec(exec: Option<Exec>) {
    if let Some(Exec(fd)) = exec {
        LOST.store(true, Ordering::SeqCst);
        IN_EXEC.store(false, Ordering::SeqCst);
        private::close(fd);
    }
}

/// Whether the program is in an exec.
pub fn is_in_exec() -> bool {
    IN_EXEC.load(Ordering::SeqCst)
}

/// Whether the socket has to be made anew; then it is.
pub fn take_lost() -> bool {
    LOST.swap(false, Ordering::SeqCst)
}

/// Tests that set the name hold it.
#[cfg(test)]
pub static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_the_socket_that_was_made_is_removed() {
        let _alone = ALONE.lock().unwrap();
        let directory = std::env::temp_dir().join(format!("name-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("socket");
        let first = UnixListener::bind(&path).unwrap();
        keep(&path).unwrap();
        std::fs::rename(&path, directory.join("moved")).unwrap();
        let second = UnixListener::bind(&path).unwrap();
        remove();
        assert!(path.exists());
        keep(&path).unwrap();
        remove();
        assert!(!path.exists());
        // Once.
        drop((first, second));
        let third = UnixListener::bind(&path).unwrap();
        remove();
        assert!(path.exists());
        assert!(keep(&directory.join("none")).is_err());
        keep(&path).unwrap();
        reset_after_fork();
        remove();
        assert!(path.exists());
        drop(third);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
