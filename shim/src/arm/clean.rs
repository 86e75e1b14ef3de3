//! Gives back the pages of text that were only looked at.
//!
//! A fork copies the page table of every mapping with a page that was written, and so all of
//! libc's text once one of its sites is patched: each of its pages that is mapped costs the
//! program's forks some time. Few are, before the search for sites reads them all.
#![allow(unsafe_code)]

use std::ops::Range;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, madvise};

use crate::patch::PAGE;

/// Bits of a word of `/proc/pid/pagemap`: the page is in memory; it is in swap; it is the
/// file's and not the process's own.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_FILE: u64 = 1 << 61;

/// Words read at once.
const BATCH: usize = 512;

/// Unmaps the pages of `text`, a private mapping of a file, that are still as in the file; they
/// are mapped again when they are used. Best effort: what cannot be known stays.
pub(super) fn give_back(text: &Range<u64>) {
    // Without the list nothing is given back, and forks take longer.
    let _: Result<(), Errno> = try_give_back(text);
}

fn try_give_back(text: &Range<u64>) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let list = rustix::fs::open("/proc/self/pagemap", flags, Mode::empty())?;
    let (mut page, end) = (text.start.div_ceil(PAGE), text.end / PAGE);
    while page < end {
        let mut words = [0; BATCH * 8];
        let count = BATCH.min((end - page) as usize);
        let read = rustix::io::pread(&list, &mut words[..count * 8], page * 8)?;
        let words: Vec<u64> = words[..read / 8 * 8]
            .chunks_exact(8)
            .map(|word| {
                word.iter()
                    .rev()
                    .fold(0, |all, byte| all << 8 | u64::from(*byte))
            })
            .collect();
        if words.is_empty() {
            break;
        }
        for clean in runs(&words) {
            let at = (page + clean.start as u64) * PAGE;
            // SAFETY: pages of a file's private mapping that hold what the file does: they
            // come back with the same bytes.
            unsafe {
                madvise(
                    at as *mut _,
                    clean.len() * PAGE as usize,
                    Advice::LinuxDontNeed,
                )?;
            }
        }
        page += words.len() as u64;
    }
    Ok(())
}

/// The stretches of pages that are the file's.
fn runs(words: &[u64]) -> Vec<Range<usize>> {
    let is_clean =
        |word: &u64| word & (PRESENT | OF_FILE) == PRESENT | OF_FILE && word & SWAPPED == 0;
    let mut found: Vec<Range<usize>> = Vec::new();
    for (at, _) in words.iter().enumerate().filter(|(_, word)| is_clean(word)) {
        match found.last_mut() {
            Some(last) if last.end == at => last.end += 1,
            _ => found.push(at..at + 1),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_the_process_are_no_part_of_a_run() {
        let (file, own, absent) = (PRESENT | OF_FILE, PRESENT, 0);
        assert_eq!(runs(&[file, file, own, file, absent]), [0..2, 3..4]);
        assert_eq!(runs(&[own, SWAPPED | OF_FILE]), []);
    }

    #[test]
    fn a_written_page_keeps_what_was_written() {
        let path = std::env::current_exe().unwrap();
        let file = std::fs::File::open(path).unwrap();
        let len = 4 * PAGE as usize;
        let prot = rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE;
        // SAFETY: a new private mapping of this test.
        let at = unsafe {
            let flags = rustix::mm::MapFlags::PRIVATE;
            rustix::mm::mmap(std::ptr::null_mut(), len, prot, flags, &file, 0).unwrap()
        };
        let at = at.cast::<u8>();
        // SAFETY: within the mapping.
        let first = unsafe { at.read_volatile() };
        // SAFETY: as above.
        unsafe { at.add(PAGE as usize).write_volatile(7) };
        give_back(&(at as u64..at as u64 + len as u64));
        // SAFETY: as above.
        unsafe {
            assert_eq!(at.read_volatile(), first);
            assert_eq!(at.add(PAGE as usize).read_volatile(), 7);
        }
    }
}
