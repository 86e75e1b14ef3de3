//! Writes code: the only file that does.
//!
//! Stubs are written while their pages are writable and not executable, and
//! then made executable and not writable.
//!
//! Text is written through `/proc/self/mem`: the kernel copies the page and
//! leaves its protection and its mapping alone, so there is no moment at which
//! code of libc can't run, nothing to put back, and no extra mapping. Where that
//! file is closed to us (no `/proc`, a kernel built to forbid it, a process that
//! may not be dumped) the text is made writable too for the time of the stores,
//! with signals blocked, by code that calls nothing. It stays executable: where a
//! policy forbids pages that are both, it may as well forbid making them executable again.
//!
//! Synchronization: the caller makes sure that no other thread runs in a window.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ops::Range;
use std::ptr;

use gevent_runtime::arch;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::kernel;
use crate::maps::Mapping;

/// Size of a page in bytes.
pub const PAGE: u64 = 4096;
/// How far a stub may be from its window: 2 GiB less what both are long.
const REACH: u64 = (1 << 31) - (64 << 20);
/// Lowest address worth asking for; `vm.mmap_min_addr` is usually this.
const LOWEST: u64 = 0x1_0000;
const HIGHEST: u64 = 0x7fff_ffff_f000;

/// Pages for stubs.
#[derive(Debug)]
pub struct Region {
    addr: u64,
    len: u64,
}

impl Region {
    /// Maps `len` bytes, readable and writable, within reach of every address
    /// of `low..high`.
    ///
    /// # Errors
    /// `ENOMEM` if there is no free place, or the kernel's reason.
    pub fn near(low: u64, high: u64, len: u64, mappings: &[Mapping]) -> Result<Self, Errno> {
        let len = len.next_multiple_of(PAGE);
        for addr in places(low, high, len, mappings) {
            match kernel::map_anonymous(addr, len) {
                Ok(at) if at as u64 == addr => return Ok(Self { addr, len }),
                // A kernel before 4.17 takes the address as a mere hint.
                Ok(at) => {
                    // SAFETY: it has just been mapped, and nobody knows it.
                    let _ = unsafe { kernel::munmap(at, len) };
                }
                Err(Errno::EXIST | Errno::PERM | Errno::NOMEM) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::NOMEM)
    }

    /// First address.
    pub fn addr(&self) -> u64 {
        self.addr
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes: never.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes `bytes` at the region's begin, makes it executable, and gives the
    /// pages after `bytes` back.
    ///
    /// # Errors
    /// The kernel's reason; a policy may forbid executable memory.
    pub fn seal(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let used = (bytes.len() as u64).next_multiple_of(PAGE);
        if used == 0 || used > self.len {
            return Err(Errno::INVAL);
        }
        let start: *mut c_void = ptr::with_exposed_provenance_mut(self.addr as usize);
        // SAFETY: the pages are this region's, writable until sealed, and no
        // jump leads to them yet.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), start.cast(), bytes.len());
            if used < self.len {
                kernel::munmap(start.byte_add(used as usize), self.len - used)?;
                self.len = used;
            }
            kernel::mprotect(start, used, libc::PROT_READ | libc::PROT_EXEC)
        }
    }

    /// Unmaps it.
    ///
    /// # Safety
    /// No jump leads to it, and no thread is in it or will return to it.
    pub unsafe fn free(self) {
        let start = ptr::with_exposed_provenance_mut(self.addr as usize);
        // SAFETY: the caller's contract; the pages are this region's.
        let _ = unsafe { kernel::munmap(start, self.len) };
    }
}

/// How far below the top of a gap the second try is: the kernel puts new mappings
/// at the top, also those made since the list of mappings was read.
const ASIDE: u64 = 16 << 20;

/// The least distance of a place from text where a list of mappings may lack some; what lies in
/// between doubles with each try.
const STEP: u64 = 64 << 10;

/// Addresses to try for `len` bytes within reach of `low..high`, best first: close
/// below, then high above, then ever farther below, where `mappings` shows nothing but need not be
/// whole. The gap below the initial thread's stack is left out:
/// the stack grows into it, and stops a megabyte above any mapping.
fn places(low: u64, high: u64, len: u64, mappings: &[Mapping]) -> Vec<u64> {
    let reach_low = high.saturating_sub(REACH).max(LOWEST);
    let reach_high = low.saturating_add(REACH).min(HIGHEST);
    let mut below = Vec::new();
    let mut above = Vec::new();
    let mut free = LOWEST;
    let ends = mappings
        .iter()
        .map(|m| (m.start, m.end, m.path.as_os_str() == "[stack]"));
    for (start, end, grows_down) in ends.chain([(HIGHEST, HIGHEST, false)]) {
        let (from, to) = (free.max(reach_low), start.min(reach_high));
        free = free.max(end);
        if grows_down {
            continue;
        }
        for top in [to.saturating_sub(ASIDE), to] {
            let Some(place) = top.checked_sub(len).map(|p| p & !(PAGE - 1)) else {
                continue;
            };
            if place >= from && place < low {
                below.push(place);
            } else if place >= from {
                above.push(place);
            }
        }
    }
    below.reverse();
    below.extend(above);
    let steps = (0..).map(|n| STEP << n).take_while(|&step| step < REACH);
    below.extend(steps.filter_map(|step| {
        let place = low.checked_sub(len + step)? & !(PAGE - 1);
        let free = mappings
            .iter()
            .all(|m| place + len <= m.start || m.end <= place);
        (place >= reach_low && free).then_some(place)
    }));
    below
}

/// New bytes for a place in text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Run-time address.
    pub addr: u64,
    /// What must be there.
    pub old: Vec<u8>,
    /// What is written; as long as `old`.
    pub new: Vec<u8>,
}

/// Why text was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The bytes are not those that the plan was made for.
    #[error("its bytes at {0:#x} are not those of the plan")]
    Changed(u64),
    /// The kernel allows neither way to write.
    #[error("its text can't be written: {0}")]
    Denied(Errno),
}

/// Carries out all of `edits`, which lie in `text`, or none. `text` is part of
/// one readable and executable mapping.
///
/// # Errors
/// [`WriteError`]; nothing is changed then.
///
/// Allocates nothing and takes no lock, so that threads may stand still meanwhile.
///
/// # Safety
/// No other thread runs in a window of `edits`, or is to return into the middle
/// of one. What is written must be the plan of that text.
pub unsafe fn write(text: Range<u64>, edits: &[Edit]) -> Result<(), WriteError> {
    for edit in edits {
        // SAFETY: the text is readable.
        if !unsafe { holds(edit.addr, &edit.old) } {
            return Err(WriteError::Changed(edit.addr));
        }
    }
    let opened = kernel::open(
        "/proc/self/mem",
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let through_file = opened.and_then(|mem| write_through(&mem, edits));
    // SAFETY: the caller's contract.
    through_file
        .or_else(|_| unsafe { write_in_place(text, edits) })
        .map_err(WriteError::Denied)
}

/// Whether that is what the text has now.
///
/// # Safety
/// It must be mapped and readable.
unsafe fn holds(addr: u64, bytes: &[u8]) -> bool {
    let start: *const u8 = ptr::with_exposed_provenance(addr as usize);
    bytes.iter().enumerate().all(|(i, &byte)| {
        // SAFETY: the caller's contract. Volatile: it changes behind Rust's back.
        unsafe { start.add(i).read_volatile() == byte }
    })
}

fn write_through(mem: &OwnedFd, edits: &[Edit]) -> Result<(), Errno> {
    for (i, edit) in edits.iter().enumerate() {
        let written = kernel::pwrite(mem, &edit.new, edit.addr);
        if written != Ok(edit.new.len()) {
            // What could be written can be written back.
            for edit in &edits[..=i] {
                let _ = kernel::pwrite(mem, &edit.old, edit.addr);
            }
            return Err(written.err().unwrap_or(Errno::IO));
        }
    }
    Ok(())
}

/// # Safety
/// As [`write()`], and no other thread may run at all if the text is libc's.
#[inline(never)]
unsafe fn write_in_place(text: Range<u64>, edits: &[Edit]) -> Result<(), Errno> {
    let blocked = u64::MAX;
    let mut mask = 0u64;
    // SAFETY: both masks are eight bytes. A handler could call into the text.
    unsafe {
        arch::syscall4(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK as u64,
            &raw const blocked as u64,
            &raw mut mask as u64,
            8,
        );
    }
    let start = text.start & !(PAGE - 1);
    let len = text.end.next_multiple_of(PAGE) - start;
    // SAFETY: until the second mprotect only code of this object runs: the loop
    // and the system calls are inline.
    let status = unsafe {
        let rwx = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as u64;
        let rx = (libc::PROT_READ | libc::PROT_EXEC) as u64;
        let mut status = arch::syscall3(libc::SYS_mprotect, start, len, rwx);
        if status == 0 {
            for edit in edits {
                let place: *mut u8 = ptr::with_exposed_provenance_mut(edit.addr as usize);
                let mut i = 0;
                while i < edit.new.len() {
                    place.add(i).write_volatile(*edit.new.as_ptr().add(i));
                    i += 1;
                }
            }
            status = arch::syscall3(libc::SYS_mprotect, start, len, rx);
        }
        status
    };
    // SAFETY: `mask` is what the first call stored.
    unsafe {
        arch::syscall4(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK as u64,
            &raw const mask as u64,
            0,
            8,
        );
    }
    match status {
        0 => Ok(()),
        error => Err(Errno::from_raw_os_error(-error as i32)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of `ret`, executable and not writable.
    fn text() -> (u64, Range<u64>) {
        let here = text as *const () as u64;
        let mappings = crate::maps::read().unwrap();
        let mut region = Region::near(here, here, 2 * PAGE, &mappings).unwrap();
        region.seal(&[0xc3; 2 * PAGE as usize]).unwrap();
        (region.addr(), region.addr()..region.addr() + region.len())
    }

    fn permissions(addr: u64) -> (bool, bool, bool) {
        let mappings = crate::maps::read().unwrap();
        let found = mappings.iter().find(|m| (m.start..m.end).contains(&addr));
        found.map(|m| (m.read, m.write, m.exec)).unwrap()
    }

    fn edits(addr: u64) -> Vec<Edit> {
        // The second crosses into the next page.
        [addr + 16, addr + PAGE - 3]
            .map(|addr| Edit {
                addr,
                old: vec![0xc3; 6],
                new: vec![1, 2, 3, 4, 5, 6],
            })
            .to_vec()
    }

    fn is_written(addr: u64) -> bool {
        edits(addr).iter().all(|e| {
            // SAFETY: the test's own region, which stays mapped.
            unsafe { holds(e.addr, &e.new) }
        })
    }

    fn is_untouched(addr: u64) -> bool {
        // SAFETY: the test's own region, which stays mapped.
        unsafe { holds(addr, &[0xc3; 2 * PAGE as usize]) }
    }

    #[test]
    fn both_ways_write_and_keep_the_protection() {
        let (addr, range) = text();
        let mem = kernel::open("/proc/self/mem", OFlags::RDWR, Mode::empty()).unwrap();
        write_through(&mem, &edits(addr)).unwrap();
        assert!(is_written(addr));
        assert_eq!(permissions(addr), (true, false, true));
        let (addr, range_in_place) = text();
        assert_ne!(range, range_in_place);
        // SAFETY: nobody runs in the test's region.
        unsafe { write_in_place(range_in_place, &edits(addr)) }.unwrap();
        assert!(is_written(addr));
        assert_eq!(permissions(addr), (true, false, true));
        assert_eq!(permissions(addr + PAGE), (true, false, true));
    }

    #[test]
    fn other_bytes_are_left_alone() {
        let (addr, range) = text();
        let mut edits = edits(addr);
        edits[1].old[5] = 0x90;
        let changed = WriteError::Changed(edits[1].addr);
        // SAFETY: nobody runs in the test's region.
        assert_eq!(unsafe { write(range, &edits) }, Err(changed));
        assert!(is_untouched(addr));
    }

    #[test]
    fn a_failed_write_is_taken_back() {
        let (addr, _) = text();
        let mem = kernel::open("/proc/self/mem", OFlags::RDWR, Mode::empty()).unwrap();
        let mut edits = edits(addr);
        // Nothing is mapped at the first page of the address space.
        edits[1].addr = 0;
        assert!(write_through(&mem, &edits).is_err());
        assert!(is_untouched(addr));
    }

    #[test]
    fn places_are_in_reach_and_free() {
        let map = |start, end| Mapping {
            start,
            end,
            read: true,
            write: false,
            exec: true,
            offset: 0,
            file: (0, 0),
            path: Default::default(),
        };
        let mappings = [map(0x40_0000, 0x50_0000), map(0x60_0000, 0x61_0000)];
        let found = places(0x40_0000, 0x50_0000, 0x2000, &mappings);
        assert_eq!(found[0], 0x3f_e000);
        for place in found {
            assert!(
                mappings
                    .iter()
                    .all(|m| place + 0x2000 <= m.start || m.end <= place)
            );
            assert!(place.abs_diff(0x40_0000) < 1 << 31);
        }
        // A stack needs the room below it.
        let mut stack = map(0x70_0000, 0x71_0000);
        stack.path = "[stack]".into();
        let with_stack = [mappings[0].clone(), mappings[1].clone(), stack];
        let found = places(0x40_0000, 0x50_0000, 0x2000, &with_stack);
        assert!(!found.iter().any(|p| (0x61_0000..0x70_0000).contains(p)));
        // Nothing is in reach of an object that fills the space around it.
        let full = [map(0x1_0000, 0x2_0000_0000)];
        assert!(places(0x1_0000_0000, 0x1_0000_1000, PAGE, &full).is_empty());
    }
}
