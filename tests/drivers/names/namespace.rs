//! A network and a file system in which a test decides what names mean.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use tempfile::TempDir;

/// Where nscd would be asked; see [`enter`].
pub const NSCD: &str = "/run/nscd/socket";

/// The files that decide about names.
#[derive(Clone, Copy, Debug)]
pub struct Files {
    /// /etc/resolv.conf.
    pub resolv: &'static str,
    /// /etc/hosts.
    pub hosts: &'static str,
    /// /etc/nsswitch.conf.
    pub nsswitch: &'static str,
}

/// Lets the process make namespaces without being root. To be called before it has threads.
///
/// # Errors
/// The kernel's, which may forbid it.
pub fn become_root_of_own() -> io::Result<()> {
    // SAFETY: no pointers.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    if user == 0 {
        return Ok(());
    }
    // SAFETY: no pointers; the process has one thread.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) })?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// Moves the calling thread, and the processes it starts from now on, into a network that has
/// nothing but a loopback interface, and to a file system where `files` are in place and where
/// nothing of /run is. The directory must be kept until they have ended.
///
/// # Errors
/// The kernel's, with what was tried.
pub fn enter(files: &Files) -> io::Result<TempDir> {
    let flags = libc::CLONE_NEWNS | libc::CLONE_NEWNET;
    // SAFETY: no pointers. The thread gets a working directory and root of its own.
    check(unsafe { libc::unshare(flags) }).map_err(|error| tried("unshare", error))?;
    let private = libc::MS_REC | libc::MS_PRIVATE;
    mount(None, Path::new("/"), None, private)?;
    bring_loopback_up().map_err(|error| tried("loopback", error))?;

    let resolv = fs::canonicalize("/etc/resolv.conf")?;
    mount(None, Path::new("/run"), Some("tmpfs"), 0)?;
    fs::create_dir("/run/nscd")?;
    let directory = tempfile::tempdir()?;
    if let Some(parent) = resolv.parent().filter(|_| resolv.starts_with("/run")) {
        // It was a link to what some service keeps there.
        fs::create_dir_all(parent)?;
        fs::write(&resolv, files.resolv)?;
    } else {
        put(&directory, &resolv, files.resolv)?;
    }
    put(&directory, Path::new("/etc/hosts"), files.hosts)?;
    put(&directory, Path::new("/etc/nsswitch.conf"), files.nsswitch)?;
    Ok(directory)
}

/// Mounts a file with this text over `path`.
fn put(directory: &TempDir, path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let file = directory.path().join(name);
    fs::write(&file, text)?;
    mount(Some(&file), path, None, libc::MS_BIND)
}

fn mount(
    from: Option<&Path>,
    to: &Path,
    kind: Option<&str>,
    flags: libc::c_ulong,
) -> io::Result<()> {
    let text = |bytes: &[u8]| CString::new(bytes);
    let from = from
        .map(|path| text(path.as_os_str().as_bytes()))
        .transpose()?;
    let target = text(to.as_os_str().as_bytes())?;
    let kind = kind.map(|kind| text(kind.as_bytes())).transpose()?;
    let pointer = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
    // SAFETY: strings that live during the call, or null.
    let result = unsafe {
        libc::mount(
            pointer(&from),
            target.as_ptr(),
            pointer(&kind),
            flags,
            ptr::null(),
        )
    };
    check(result).map_err(|error| tried(&format!("mount at {}", to.display()), error))
}

fn bring_loopback_up() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: all zero is a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    use std::os::fd::AsRawFd;
    // SAFETY: the request names an interface and its flags.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) })
}

fn check(result: i32) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn tried(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
