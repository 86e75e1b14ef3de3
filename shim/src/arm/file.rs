//! A file as bytes.
#![allow(unsafe_code)]

use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::kernel;

/// A file mapped for reading.
pub(super) struct File {
    start: *mut std::ffi::c_void,
    len: usize,
}

impl File {
    pub(super) fn map(path: &Path) -> Result<Self, Errno> {
        let fd = kernel::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Self::map_open(fd.as_fd())
    }

    /// Of a descriptor that was opened for reading.
    pub(super) fn map_open(fd: BorrowedFd<'_>) -> Result<Self, Errno> {
        let len = kernel::fstat(fd)?.st_size as usize;
        if len == 0 {
            return Err(Errno::NOEXEC);
        }
        let start = kernel::map_file(fd, len)?;
        Ok(Self { start, len })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: mapped until drop. The file may change under a private
        // mapping, as it may under the dynamic linker's; what is written is
        // compared with memory first.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.len) }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`; the slice borrows `self`.
        let _ = unsafe { kernel::munmap(self.start, self.len as u64) };
    }
}
