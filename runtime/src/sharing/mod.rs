//! Which words other processes may wait for, and which the kernel wakes at a thread's end.
//!
//! A futex without FUTEX_PRIVATE_FLAG is the kernel's where its word lies in a shared
//! mapping, and the futex table's anywhere else. So the shared mappings of the process are
//! known here: those that were there when the hub started, by `/proc/self/maps`, and after
//! that by every call that maps or unmaps. Where `/proc` can't be read, or there is no memory
//! for an entry, the kernel is asked about each word that may be shared ([`kernels_answer`]).
//!
//! An entry is put in when the memory has been mapped and taken out before it is unmapped, so
//! that a mapping which another thread makes at the same place meanwhile stays in.
//!
//! A word that a raw clone(2) named with CLONE_CHILD_CLEARTID is cleared by the kernel when
//! that kernel thread ends, and its waiters are woken there: they have to wait in the kernel.
//!
//! # Synchronization
//! Written in our code on a hub's kernel thread, under the lock that covers it; read on any
//! thread.
#![allow(unsafe_code)]

pub mod ranges;

use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

use ranges::{Full, Ranges};

use crate::arch::{syscall2, syscall4};
use crate::heir;
use crate::raw;

/// Tag of a mapping by mmap(2). Any other is where a System V segment is attached.
const MAPPED: usize = 0;

static SHARED: Ranges = Ranges::new();
/// Not everything that is shared is in `SHARED`.
static INCOMPLETE: AtomicBool = AtomicBool::new(false);
/// Words that the kernel clears, by the address of each.
static CLEARED: Ranges = Ranges::new();

fn check(outcome: Result<(), Full>) {
    if outcome.is_err() {
        lost();
    }
}

/// Whether a word may be in memory that another process maps too.
#[inline]
pub fn is_shared(address: usize) -> bool {
    !SHARED.is_empty() && SHARED.tag_at(address).is_some()
        || INCOMPLETE.load(Ordering::Acquire) && kernels_answer(address)
}

/// Whether the kernel wakes the waiters of a word when a kernel thread ends.
#[inline]
pub fn is_cleared_by_kernel(address: usize) -> bool {
    !CLEARED.is_empty() && CLEARED.tag_at(address).is_some()
}

/// Whether a word is known to be in a shared mapping.
pub fn is_known(address: usize) -> bool {
    SHARED.tag_at(address).is_some()
}

/// Whether anything is known here.
#[inline]
pub fn any() -> bool {
    !SHARED.is_empty() || !CLEARED.is_empty()
}

/// Whether a word is in a shared mapping, as the kernel tells; if it does not, the word may be in
/// one, which costs a detour and is right.
///
/// mremap(2) of no bytes duplicates a shared mapping, and refuses to do so with a private one
/// (before Linux 4.14 it gives an empty one for that, and the answer is wrong but safe). One of
/// huge pages it knows by the start of such a page alone. A refusal is noted in the kernel's log,
/// once in the life of the machine.
fn kernels_answer(address: usize) -> bool {
    const PAGES: [usize; 2] = [4096, 2 << 20];
    PAGES.into_iter().any(|page| {
        let (at, may_move) = ((address & !(page - 1)) as u64, libc::MREMAP_MAYMOVE as u64);
        // SAFETY: nothing is taken from the mapping that is there; a new one is nobody's.
        unsafe {
            let made = syscall4(libc::SYS_mremap, at, 0, page as u64, may_move);
            if !(-4095..0).contains(&made) {
                syscall2(libc::SYS_munmap, made as u64, page as u64);
                return true;
            }
            // Nothing is mapped at that start of a huge page.
            let absent = page != PAGES[0] && made == raw::err(libc::EFAULT);
            made != raw::err(libc::EINVAL) && !absent
        }
    })
}

/// What is shared can't be told any more.
pub fn lost() {
    INCOMPLETE.store(true, Ordering::Release);
}

/// Whether any of the range is known here.
pub fn concerns(range: Range<usize>) -> bool {
    SHARED.intersects(range.clone()) || CLEARED.intersects(range)
}

/// A range has been mapped shared.
pub fn mapped(range: Range<usize>) {
    check(SHARED.insert(range, MAPPED));
}

/// The System V segment of `len` bytes has been attached at `addr`.
pub fn attached(addr: usize, len: usize) {
    check(SHARED.insert(addr..addr + len, addr));
}

/// The System V segment at `addr` is about to be detached: what is known of it.
pub fn detaching(addr: usize) {
    if SHARED.tag_at(addr) == Some(addr) {
        SHARED.remove_tag(addr);
    }
}

/// A range is about to be unmapped, or is mapped private now.
pub fn unmapped(range: Range<usize>) {
    check(SHARED.remove(range.clone()));
    check(CLEARED.remove(range));
}

/// The kernel is going to clear the word at `address`, and to wake those who wait for it.
pub fn cleared_by_kernel(address: usize) {
    if address != 0 {
        check(CLEARED.insert(address..address.saturating_add(4), MAPPED));
    }
}

/// At the start of the hub: the shared mappings that are there.
pub fn begin() {
    SHARED.clear();
    CLEARED.clear();
    let maps = std::fs::read_to_string("/proc/self/maps");
    // Something else may be mounted there.
    let unknown = maps.as_ref().is_ok_and(String::is_empty) || maps.is_err();
    INCOMPLETE.store(unknown, Ordering::Release);
    if unknown {
        heir::memory_is_shared();
    }
    for line in maps.unwrap_or_default().lines() {
        let Some(mapping) = Mapping::parse(line) else {
            continue;
        };
        match mapping.segment {
            Some(at) => check(SHARED.insert(mapping.range, at)),
            None => mapped(mapping.range),
        }
        if mapping.writable {
            heir::memory_is_shared();
        }
    }
}

/// A shared mapping, of a line of `/proc/self/maps` (proc_pid_maps(5)).
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    range: Range<usize>,
    writable: bool,
    /// Where the System V segment that it is of was attached.
    segment: Option<usize>,
}

impl Mapping {
    /// `None` for a private mapping, and for what is no line of the file.
    fn parse(line: &str) -> Option<Mapping> {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        let access = words.next()?;
        if !access.ends_with('s') || start >= end {
            return None;
        }
        let offset = usize::from_str_radix(words.next()?, 16).ok()?;
        let is_segment = words.nth(2).is_some_and(|path| path.starts_with("/SYSV"));
        Some(Mapping {
            range: start..end,
            writable: access.contains('w'),
            segment: is_segment.then(|| start.wrapping_sub(offset)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_mappings_are_told_from_private_ones() {
        let parse = Mapping::parse;
        assert_eq!(
            parse("7f0000000000-7f0000001000 rw-p 00000000 00:00 0 "),
            None
        );
        assert_eq!(parse(""), None);
        assert_eq!(parse("x-y rw-s 0"), None);
        let file = "7f0000000000-7f0000002000 r--s 00001000 08:01 77    /tmp/a file";
        assert_eq!(
            parse(file),
            Some(Mapping {
                range: 0x7f00_0000_0000..0x7f00_0000_2000,
                writable: false,
                segment: None,
            })
        );
        let segment = "7f0000003000-7f0000004000 rw-s 00001000 00:01 32769 /SYSV00000000 (deleted)";
        let segment = parse(segment).unwrap();
        assert_eq!(segment.segment, Some(0x7f00_0000_2000));
        assert!(segment.writable);
    }

    #[test]
    fn the_kernel_tells_shared_mappings_from_private_ones() {
        let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
        let (read, write) = (libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE);
        for (access, flags, fd, shared) in [
            (write, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, false),
            (write, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, true),
            (write, libc::MAP_PRIVATE, fd, false),
            (read, libc::MAP_SHARED, fd, true),
        ] {
            // SAFETY: a new mapping of this test.
            let at = unsafe { libc::mmap(core::ptr::null_mut(), 8192, access, flags, fd, 0) };
            assert_ne!(at, libc::MAP_FAILED);
            assert_eq!(
                kernels_answer(at as usize + 4100),
                shared,
                "{flags:#x} {fd}"
            );
            // SAFETY: as above.
            unsafe { libc::munmap(at, 8192) };
            assert!(kernels_answer(at as usize));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_is_too_strange(line in ".*") {
            let _ = Mapping::parse(&line);
        }
    }
}
