//! What the programs of a system find mounted, in a mount namespace of this process: nothing is left
//! of it when the process is gone, however it ends.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

/// Gives this process a mount namespace. To be called before it has threads.
///
/// # Errors
/// The kernel's, which may forbid it.
pub fn separate() -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    // Nothing comes back to where it was copied from.
    mount(None, Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE)
}

/// Mounts what programs of the system at `root` need, and `shared` at the paths they have
/// outside. The rest can't be written.
///
/// # Errors
/// The kernel's, with the path.
pub fn prepare(root: &Path, shared: &[&Path]) -> Result<(), String> {
    bind(root, root, 0)?;
    for name in ["proc", "sys", "dev", "tmp"] {
        bind(&Path::new("/").join(name), &root.join(name), libc::MS_REC)?;
    }
    for path in shared {
        let inside = root.join(path.strip_prefix("/").unwrap_or(path));
        make_mount_point(path, &inside)
            .map_err(|error| format!("{}: {error}", inside.display()))?;
        bind(path, &inside, 0)?;
    }
    let run = root.join("run");
    mount(Some(c"tmpfs"), &run, Some(c"tmpfs"), 0)
        .and_then(|()| {
            let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY;
            mount(None, root, None, flags)
        })
        .map_err(|error| format!("{}: {error}", root.display()))
}

/// Makes what `path` can be mounted on, as far as it is not there.
fn make_mount_point(path: &Path, inside: &Path) -> io::Result<()> {
    if inside.exists() {
        return Ok(());
    }
    if path.is_dir() {
        return fs::create_dir_all(inside);
    }
    if let Some(directory) = inside.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::File::create(inside).map(drop)
}

fn bind(from: &Path, to: &Path, more: libc::c_ulong) -> Result<(), String> {
    let source = text(from);
    mount(Some(&source), to, None, libc::MS_BIND | more)
        .map_err(|error| format!("{} at {}: {error}", from.display(), to.display()))
}

fn mount(
    source: Option<&std::ffi::CStr>,
    target: &Path,
    kind: Option<&std::ffi::CStr>,
    flags: libc::c_ulong,
) -> io::Result<()> {
    let target = text(target);
    let pointer = |text: Option<&std::ffi::CStr>| text.map_or(ptr::null(), |text| text.as_ptr());
    // SAFETY: strings that outlive the call, or null where mount(2) looks at none.
    check(unsafe {
        libc::mount(
            pointer(source),
            target.as_ptr(),
            pointer(kind),
            flags,
            ptr::null(),
        )
    })
}

fn text(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path has no NUL byte")
}

fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
