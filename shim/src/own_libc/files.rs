//! Files: the system calls of libc's functions.
#![allow(unsafe_code)]

use core::ffi::{c_char, c_int, c_long, c_uint, c_void};
use core::ptr;

use super::call::set_errno;
use super::own;

own! {
    close dup2 fchmod fcntl fstat64 getcwd ioctl lseek64 lstat64 mkdir open open64 pipe2 poll read
    readlink realpath rename stat64 statx unlink write writev
    epoll_create1 epoll_ctl epoll_wait eventfd
}

unsafe extern "C" fn close(fd: c_int) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_close, fd) as c_int }
}

unsafe extern "C" fn dup2(from: c_int, to: c_int) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_dup2, from, to) as c_int }
}

unsafe extern "C" fn fchmod(fd: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_fchmod, fd, mode) as c_int }
}

unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: c_long) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_fcntl, fd, command, argument) as c_int }
}

unsafe extern "C" fn fstat64(fd: c_int, to: *mut libc::stat64) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_fstat, fd, to) as c_int }
}

unsafe extern "C" fn getcwd(to: *mut c_char, size: usize) -> *mut c_char {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe {
        if libc::syscall(libc::SYS_getcwd, to, size) < 0 {
            return ptr::null_mut();
        }
        // The kernel says so of a directory that no path leads to.
        if *to.cast::<u8>() != b'/' {
            set_errno(libc::ENOENT);
            return ptr::null_mut();
        }
    }
    to
}

unsafe extern "C" fn ioctl(fd: c_int, request: libc::c_ulong, argument: c_long) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_ioctl, fd, request, argument) as c_int }
}

unsafe extern "C" fn lseek64(fd: c_int, offset: libc::off64_t, whence: c_int) -> libc::off64_t {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_lseek, fd, offset, whence) as libc::off64_t }
}

unsafe extern "C" fn lstat64(path: *const c_char, to: *mut libc::stat64) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe {
        libc::syscall(
            libc::SYS_newfstatat,
            libc::AT_FDCWD,
            path,
            to,
            libc::AT_SYMLINK_NOFOLLOW,
        ) as c_int
    }
}

unsafe extern "C" fn mkdir(path: *const c_char, mode: libc::mode_t) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode) as c_int }
}

unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) as c_int }
}

unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: the caller's contract; the kernel's files are large on this target.
    unsafe { open(path, flags, mode) }
}

unsafe extern "C" fn pipe2(to: *mut c_int, flags: c_int) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_pipe2, to, flags) as c_int }
}

unsafe extern "C" fn poll(
    entries: *mut libc::pollfd,
    count: libc::nfds_t,
    timeout: c_int,
) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_poll, entries, count, timeout) as c_int }
}

unsafe extern "C" fn read(fd: c_int, to: *mut c_void, size: usize) -> isize {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_read, fd, to, size) as isize }
}

unsafe extern "C" fn readlink(path: *const c_char, to: *mut c_char, size: usize) -> isize {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_readlink, path, to, size) as isize }
}

/// With memory of the caller's for the result, or of this library's heap, as std wants it.
unsafe extern "C" fn realpath(path: *const c_char, to: *mut c_char) -> *mut c_char {
    // "/proc/self/fd/" and a number.
    let mut link = [0u8; 32];
    // SAFETY: the caller's string; buffers of their sizes; the descriptor is our own.
    unsafe {
        let fd = open(path, libc::O_PATH | libc::O_CLOEXEC, 0);
        if fd < 0 {
            return ptr::null_mut();
        }
        write_link(&mut link, fd);
        let size = libc::PATH_MAX as usize;
        let result = if to.is_null() {
            libc::malloc(size).cast()
        } else {
            to
        };
        let length = if result.is_null() {
            -1
        } else {
            readlink(link.as_ptr().cast(), result, size - 1)
        };
        close(fd);
        if length < 0 {
            if to.is_null() {
                libc::free(result.cast());
            }
            return ptr::null_mut();
        }
        *result.add(length as usize) = 0;
        result
    }
}

/// Writes the path of the link to a descriptor's file.
fn write_link(to: &mut [u8; 32], fd: c_int) {
    const DIRECTORY: &[u8] = b"/proc/self/fd/";
    to[..DIRECTORY.len()].copy_from_slice(DIRECTORY);
    let digits = fd.checked_ilog10().unwrap_or(0) as usize + 1;
    let mut rest = fd;
    for at in to[DIRECTORY.len()..DIRECTORY.len() + digits]
        .iter_mut()
        .rev()
    {
        *at = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_rename, from, to) as c_int }
}

unsafe extern "C" fn stat64(path: *const c_char, to: *mut libc::stat64) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_newfstatat, libc::AT_FDCWD, path, to, 0) as c_int }
}

unsafe extern "C" fn statx(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mask: c_uint,
    to: *mut libc::statx,
) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_statx, directory, path, flags, mask, to) as c_int }
}

unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_unlink, path) as c_int }
}

unsafe extern "C" fn write(fd: c_int, from: *const c_void, size: usize) -> isize {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_write, fd, from, size) as isize }
}

unsafe extern "C" fn writev(fd: c_int, from: *const libc::iovec, count: c_int) -> isize {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_writev, fd, from, count) as isize }
}

unsafe extern "C" fn epoll_create1(flags: c_int) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_epoll_create1, flags) as c_int }
}

unsafe extern "C" fn epoll_ctl(
    set: c_int,
    operation: c_int,
    fd: c_int,
    event: *mut libc::epoll_event,
) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_epoll_ctl, set, operation, fd, event) as c_int }
}

unsafe extern "C" fn epoll_wait(
    set: c_int,
    to: *mut libc::epoll_event,
    count: c_int,
    timeout: c_int,
) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_epoll_wait, set, to, count, timeout) as c_int }
}

unsafe extern "C" fn eventfd(value: c_uint, flags: c_int) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_eventfd2, value, flags) as c_int }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ffi::CStr;

    #[test]
    fn a_descriptors_link_is_written() {
        for fd in [0, 9, 10, 1023, c_int::MAX] {
            let mut link = [0; 32];
            write_link(&mut link, fd);
            let text = CStr::from_bytes_until_nul(&link).unwrap();
            assert_eq!(text.to_str().unwrap(), format!("/proc/self/fd/{fd}"));
        }
    }

    #[test]
    fn a_path_is_resolved_as_libc_does() {
        for path in [c"/proc/self/exe", c"/tmp/..", c"/", c"/none/such"] {
            // SAFETY: strings, and results that are freed by the allocator they are of.
            unsafe {
                let text = |at: *mut c_char| {
                    (!at.is_null()).then(|| CStr::from_ptr(at).to_bytes().to_vec())
                };
                let mut to = [0; libc::PATH_MAX as usize];
                let own = text(realpath(path.as_ptr(), to.as_mut_ptr()));
                let theirs = libc::realpath(path.as_ptr(), ptr::null_mut());
                assert_eq!(own, text(theirs), "{path:?}");
                libc::free(theirs.cast());
            }
        }
    }
}
