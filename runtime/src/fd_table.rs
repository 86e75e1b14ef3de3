//! How large the program's table of descriptors would be without ours in it, which live at high
//! numbers and make it larger: select(2) does not look at what a set says beyond the table.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};

use crate::arch::{syscall, syscall2, syscall3};
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
    let size = fdinfo::of_process(b"\nFDSize:\t").unwrap_or_else(asked);
    AT_START.store(size, Ordering::Relaxed);
}

/// The size of the kernel's table where `/proc` does not tell: select(2) minds a closed descriptor
/// within it alone. At the start of a hub: allocates.
fn asked() -> u64 {
    const LARGEST: u64 = 1 << 20;
    let is_within = |fd: u64| {
        let mut set = vec![0u64; (fd / 64 + 1) as usize];
        if let Some(last) = set.last_mut() {
            *last = 1 << (fd % 64);
        }
        let now = raw::ns_timespec(0);
        let args = [
            fd + 1,
            set.as_mut_ptr() as u64,
            0,
            0,
            &raw const now as u64,
            0,
        ];
        // SAFETY: a set as large as it is said to be, and no time, of ours.
        let ret = unsafe { syscall(libc::SYS_pselect6 as u64, args) };
        ret == raw::err(libc::EBADF) || raw::status_flags(fd as i32) >= 0
    };
    let larger = core::iter::successors(Some(STEP), |size| Some(size * 2));
    let sizes = larger.take_while(|&size| size <= LARGEST && is_within(size - 1));
    sizes.last().unwrap_or(SMALLEST)
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
        return highest_asked();
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

/// The same where there is no list: asks for one number after the other.
fn highest_asked() -> Option<u64> {
    const MOST: u64 = 1 << 16;
    let numbers = 0..raw::most_descriptors().min(MOST);
    let open = |fd: &u64| !private::is_ours(*fd as i32) && raw::status_flags(*fd as i32) >= 0;
    numbers.rev().find(open)
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
        assert!(highest_asked().unwrap() >= file.as_raw_fd() as u64);
        let real = fdinfo::of_process(b"\nFDSize:\t").unwrap();
        assert!(holding(highest().unwrap()) <= real);
        assert_eq!(asked(), real);
    }
}
