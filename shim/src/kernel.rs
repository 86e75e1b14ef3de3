//! System calls of the engine, also while the program runs.
//!
//! They are made by the runtime's own instruction, which first asks the filters of system
//! calls that the program has installed (seccomp(2)): what one does not let pass fails with
//! EPERM here, and an object that is opened later stays as it is. Met by the kernel, the
//! same call could end the process, or be a signal for the program.
#![allow(unsafe_code)]

use std::ffi::{OsStr, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use gevent_runtime::arch;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::path::Arg;

fn result(ret: i64) -> Result<u64, Errno> {
    if (-4095..0).contains(&ret) {
        Err(Errno::from_raw_os_error(-ret as i32))
    } else {
        Ok(ret as u64)
    }
}

fn number(fd: &OwnedFd) -> u64 {
    fd.as_raw_fd() as u64
}

/// Runs `f` with a path as the kernel takes it. A short one is not copied to the heap, whose
/// lock another thread may hold that stands still while text is written.
fn with_path<R>(path: &OsStr, f: impl FnOnce(u64) -> Result<R, Errno>) -> Result<R, Errno> {
    path.into_with_c_str(|path| f(path.as_ptr() as u64))
}

fn open_in(dir: u64, path: &OsStr, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let (flags, mode) = (flags.bits().into(), mode.bits().into());
    with_path(path, |path| {
        // SAFETY: a string that lives across the call.
        let ret = unsafe { arch::syscall4(libc::SYS_openat, dir, path, flags, mode) };
        // SAFETY: a new descriptor, in nobody else's hands.
        result(ret).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) })
    })
}

/// open(2).
///
/// # Errors
/// The kernel's.
pub fn open(path: impl AsRef<Path>, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let here = i64::from(libc::AT_FDCWD) as u64;
    open_in(here, path.as_ref().as_os_str(), flags, mode)
}

/// openat(2).
///
/// # Errors
/// The kernel's.
pub fn openat(
    dir: &OwnedFd,
    name: impl AsRef<OsStr>,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    open_in(number(dir), name.as_ref(), flags, mode)
}

fn make_dir_in(dir: u64, path: &OsStr, mode: Mode) -> Result<(), Errno> {
    with_path(path, |path| {
        // SAFETY: a string that lives across the call.
        let ret = unsafe { arch::syscall3(libc::SYS_mkdirat, dir, path, mode.bits().into()) };
        result(ret).map(drop)
    })
}

/// mkdir(2).
///
/// # Errors
/// The kernel's.
pub fn mkdir(path: &Path, mode: Mode) -> Result<(), Errno> {
    make_dir_in(i64::from(libc::AT_FDCWD) as u64, path.as_os_str(), mode)
}

/// mkdirat(2).
///
/// # Errors
/// The kernel's.
pub fn mkdirat(dir: &OwnedFd, name: &str, mode: Mode) -> Result<(), Errno> {
    make_dir_in(number(dir), OsStr::new(name), mode)
}

/// Renames `from` in `dir` to `to`: renameat(2).
///
/// # Errors
/// The kernel's.
pub fn rename_in(dir: &OwnedFd, from: &OsStr, to: &OsStr) -> Result<(), Errno> {
    let dir = number(dir);
    with_path(from, |from| {
        with_path(to, |to| {
            // SAFETY: strings that live across the call.
            result(unsafe { arch::syscall4(libc::SYS_renameat, dir, from, dir, to) }).map(drop)
        })
    })
}

/// unlinkat(2) of a file.
///
/// # Errors
/// The kernel's.
pub fn unlink_in(dir: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    with_path(name, |name| {
        // SAFETY: a string that lives across the call.
        result(unsafe { arch::syscall3(libc::SYS_unlinkat, number(dir), name, 0) }).map(drop)
    })
}

/// read(2).
///
/// # Errors
/// The kernel's.
pub fn read(fd: &OwnedFd, into: &mut [u8]) -> Result<usize, Errno> {
    let (at, len) = (into.as_mut_ptr() as u64, into.len() as u64);
    // SAFETY: the kernel writes into the slice.
    result(unsafe { arch::syscall3(libc::SYS_read, number(fd), at, len) }).map(|n| n as usize)
}

/// write(2).
///
/// # Errors
/// The kernel's.
pub fn write(fd: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    let (at, len) = (bytes.as_ptr() as u64, bytes.len() as u64);
    // SAFETY: the kernel reads the slice.
    result(unsafe { arch::syscall3(libc::SYS_write, number(fd), at, len) }).map(|n| n as usize)
}

/// pwrite(2).
///
/// # Errors
/// The kernel's.
pub fn pwrite(fd: &OwnedFd, bytes: &[u8], offset: u64) -> Result<usize, Errno> {
    let (at, len) = (bytes.as_ptr() as u64, bytes.len() as u64);
    // SAFETY: the kernel reads the slice.
    let ret = unsafe { arch::syscall4(libc::SYS_pwrite64, number(fd), at, len, offset) };
    result(ret).map(|n| n as usize)
}

/// fstat(2).
///
/// # Errors
/// The kernel's.
pub fn fstat(fd: impl AsFd) -> Result<libc::stat, Errno> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel fills `stat`, whose layout is its own on this target.
    let ret = unsafe {
        arch::syscall2(
            libc::SYS_fstat,
            fd.as_fd().as_raw_fd() as u64,
            stat.as_mut_ptr() as u64,
        )
    };
    // SAFETY: it has.
    result(ret).map(|_| unsafe { stat.assume_init() })
}

/// mmap(2) of a file from its start, private and for reading.
///
/// # Errors
/// The kernel's.
pub fn map_file(fd: impl AsFd, len: usize) -> Result<*mut c_void, Errno> {
    let flags = libc::MAP_PRIVATE;
    map(
        0,
        len as u64,
        libc::PROT_READ,
        flags,
        fd.as_fd().as_raw_fd() as u64,
    )
}

/// mmap(2) of new memory, readable and writable, at `addr` if nothing is there. A kernel before
/// 4.17 takes the address as a mere hint.
///
/// # Errors
/// The kernel's.
pub fn map_anonymous(addr: u64, len: u64) -> Result<*mut c_void, Errno> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    map(
        addr,
        len,
        libc::PROT_READ | libc::PROT_WRITE,
        flags,
        u64::MAX,
    )
}

fn map(addr: u64, len: u64, access: i32, flags: i32, fd: u64) -> Result<*mut c_void, Errno> {
    let a = [addr, len, access as u64, flags as u64, fd, 0];
    // SAFETY: a new mapping, which replaces none.
    let ret = unsafe { arch::syscall(libc::SYS_mmap as u64, a) };
    result(ret).map(|at| std::ptr::with_exposed_provenance_mut(at as usize))
}

/// mprotect(2).
///
/// # Errors
/// The kernel's.
///
/// # Safety
/// Nobody may count on what the pages no longer allow.
pub unsafe fn mprotect(start: *mut c_void, len: u64, access: i32) -> Result<(), Errno> {
    // SAFETY: the caller's contract.
    result(unsafe { arch::syscall3(libc::SYS_mprotect, start as u64, len, access as u64) })
        .map(drop)
}

/// munmap(2).
///
/// # Errors
/// The kernel's.
///
/// # Safety
/// Nobody may use what is there.
pub unsafe fn munmap(start: *mut c_void, len: u64) -> Result<(), Errno> {
    // SAFETY: the caller's contract.
    result(unsafe { arch::syscall2(libc::SYS_munmap, start as u64, len) }).map(drop)
}

/// geteuid(2).
pub fn effective_user() -> u32 {
    // SAFETY: no arguments.
    unsafe { arch::syscall0(libc::SYS_geteuid) as u32 }
}

/// getpid(2).
pub fn process() -> i32 {
    // SAFETY: no arguments.
    unsafe { arch::syscall0(libc::SYS_getpid) as i32 }
}

/// RLIMIT_FSIZE: beyond it the kernel sends a signal.
pub fn file_size_limit() -> u64 {
    let mut limit = [u64::MAX; 2];
    let at = limit.as_mut_ptr() as u64;
    // SAFETY: the kernel writes two words, or none.
    unsafe { arch::syscall2(libc::SYS_getrlimit, libc::RLIMIT_FSIZE.into(), at) };
    limit[0]
}
