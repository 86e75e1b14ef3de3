//! How large the program's table of descriptors would be without ours in it, which live at high
//! numbers and make it larger: select(2) does not look at what a set says beyond the table.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};

use crate::arch::{syscall2, syscall3};
use crate::fdinfo;
use crate::private;
use crate::raw;

/// Its size before there was any of ours.
static AT_START: AtomicU64 = AtomicU64::new(0);

/// Descriptors of the smallest table, and what larger ones are multiples of.
const SMALLEST: u64 = 64;
const STEP: u64 = 128;

/// Before the first descriptor of ours.
pub fn begin() {
    let size = fdinfo::of_process(b"\nFDSize:\t").unwrap_or(SMALLEST);
    AT_START.store(size, Ordering::Relaxed);
}

/// The size now: a table grows with its highest number, and never shrinks. `None`: nothing can
/// be told.
pub fn size() -> Option<u64> {
    let highest = highest()?;
    Some(holding(highest).max(AT_START.load(Ordering::Relaxed)))
}

/// The kernel's `alloc_fdtable`.
fn holding(fd: u64) -> u64 {
    if fd < SMALLEST {
        SMALLEST
    } else {
        (fd / STEP + 1).next_power_of_two() * STEP
    }
}

/// The highest number of the program's.
fn highest() -> Option<u64> {
    let _room = private::room();
    let path = c"/proc/self/fd";
    // SAFETY: a path of ours.
    let directory = unsafe {
        let flags = (libc::O_RDONLY | libc::O_CLOEXEC | libc::O_DIRECTORY) as u64;
        syscall2(libc::SYS_open, path.as_ptr() as u64, flags)
    };
    if directory < 0 {
        return None;
    }
    let mut highest = 0;
    let mut entries = [0u64; 128];
    loop {
        let (to, size) = (entries.as_mut_ptr() as u64, size_of_val(&entries) as u64);
        // SAFETY: a buffer of ours.
        let n = unsafe { syscall3(libc::SYS_getdents64, directory as u64, to, size) };
        if n <= 0 {
            break;
        }
        // SAFETY: the kernel has written that many bytes of it.
        let bytes = unsafe { core::slice::from_raw_parts(to as *const u8, n as usize) };
        let theirs = |&fd: &u64| fd != directory as u64 && !private::is_ours(fd as i32);
        highest = numbers(bytes).filter(theirs).fold(highest, u64::max);
    }
    raw::close(directory as i32);
    Some(highest)
}

/// The names in entries of getdents64(2) that are numbers.
fn numbers(mut entries: &[u8]) -> impl Iterator<Item = u64> {
    /// Where an entry says how long it is, and where its name is.
    const LENGTH: usize = 16;
    const NAME: usize = 19;
    core::iter::from_fn(move || {
        let length = entries.get(LENGTH..LENGTH + 2)?;
        let length = usize::from(u16::from_ne_bytes([length[0], length[1]]));
        let (entry, rest) = entries.split_at_checked(length)?;
        entries = rest;
        entry.get(NAME..)
    })
    .filter_map(|name| {
        let end = name.iter().position(|&byte| byte == 0)?;
        core::str::from_utf8(&name[..end]).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn tables_grow_as_the_kernels() {
        let sizes = [0, 63, 64, 127, 128, 255, 256, 700, 1023, 1024].map(holding);
        assert_eq!(sizes, [64, 64, 128, 128, 256, 256, 512, 1024, 1024, 2048]);
    }

    #[test]
    fn the_highest_descriptor_is_found() {
        let file = std::fs::File::open("/proc/self/status").unwrap();
        assert!(highest().unwrap() >= file.as_raw_fd() as u64);
        let real = fdinfo::of_process(b"\nFDSize:\t").unwrap();
        assert!(holding(highest().unwrap()) <= real);
    }
}
