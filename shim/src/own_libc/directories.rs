//! Directories: what std reads them with.
#![allow(unsafe_code)]

use core::ffi::{c_char, c_int};
use core::ptr;

use super::own;

own! { closedir dirfd opendir readdir64 }

/// Bytes of entries that the kernel is asked for at once.
const ROOM: usize = 8 << 10;

/// An open directory.
#[repr(C, align(8))]
struct Stream {
    /// Entries as the kernel writes them, which is as libc's `dirent64` is (getdents64(2)).
    entries: [u8; ROOM],
    /// How much of that is entries, and was returned.
    size: usize,
    read: usize,
    fd: c_int,
}

unsafe extern "C" fn opendir(path: *const c_char) -> *mut Stream {
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the caller's string.
    let fd = unsafe { libc::open(path, flags) };
    if fd < 0 {
        return ptr::null_mut();
    }
    Box::into_raw(Box::new(Stream {
        entries: [0; ROOM],
        size: 0,
        read: 0,
        fd,
    }))
}

unsafe extern "C" fn readdir64(stream: *mut Stream) -> *mut libc::dirent64 {
    // SAFETY: what `opendir` returned.
    let stream = unsafe { &mut *stream };
    if stream.read >= stream.size {
        let to = stream.entries.as_mut_ptr();
        // SAFETY: the kernel writes at most as much as there is room for.
        let size = unsafe { libc::syscall(libc::SYS_getdents64, stream.fd, to, ROOM) };
        if size <= 0 {
            return ptr::null_mut();
        }
        (stream.size, stream.read) = (size as usize, 0);
    }
    // SAFETY: the kernel writes whole entries, each a multiple of 8 bytes long.
    unsafe {
        let entry = stream
            .entries
            .as_mut_ptr()
            .add(stream.read)
            .cast::<libc::dirent64>();
        stream.read += usize::from((*entry).d_reclen);
        entry
    }
}

unsafe extern "C" fn dirfd(stream: *mut Stream) -> c_int {
    // SAFETY: what `opendir` returned.
    unsafe { (*stream).fd }
}

unsafe extern "C" fn closedir(stream: *mut Stream) -> c_int {
    // SAFETY: what `opendir` returned, which is not used again.
    let stream = unsafe { Box::from_raw(stream) };
    // SAFETY: the stream's own descriptor.
    unsafe { libc::close(stream.fd) }
}
