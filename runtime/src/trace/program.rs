//! Programs that this one becomes or starts, and beside which no library can be loaded.
//!
//! It is looked at before the call: afterwards there is nobody to look. The caller may be
//! a guest, a forked child without a hub, or a child of vfork on its parent's memory, so
//! nothing here allocates, and what is left of it is a record. A library of ours is
//! expected to be loaded if `LD_PRELOAD` names any and children are not left alone.
//!
//! # Synchronization
//! A place of the table is taken by whoever gets there first, in whichever process. `TOLD`
//! is written once, at start-up.
#![allow(unsafe_code)]

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use patch_events::{WORDS, events};

use super::{PROGRAMS, on, push};
use crate::arch::syscall;
use crate::config;
use crate::executable::Why;
use crate::frame::Frame;
use crate::program_file;
use crate::raw;

/// Bytes of a path that a record holds: the last ones of a longer path.
const SHOWN: usize = (WORDS - 1) * 8;

/// Bytes of a path that is looked at, fewer than PATH_MAX: it lies on the caller's stack.
const PATH: usize = 1024;

/// Programs that were told of, by a hash of their paths. When it is full no more are.
type Table = [AtomicU64; 64];

/// The table, which forked children share: it is mostly they who exec.
static TOLD: AtomicPtr<Table> = AtomicPtr::new(ptr::null_mut());

/// Start-up: makes the table. Without it nothing is told.
pub fn init() {
    let (prot, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
    );
    // SAFETY: a new mapping; zero bytes are a table with free places.
    let memory = unsafe { libc::mmap(ptr::null_mut(), size_of::<Table>(), prot, flags, -1, 0) };
    if memory != libc::MAP_FAILED {
        TOLD.store(memory.cast(), Ordering::Release);
    }
}

/// The program is about to make an execve(2) or execveat(2). Any mode, and a child of
/// vfork.
pub fn about_to_exec(frame: &Frame) {
    if on(PROGRAMS) && config::get().children {
        look(frame);
    }
}

#[cold]
#[inline(never)]
fn look(frame: &Frame) {
    let a = frame.args();
    let (directory, path, environment) = match frame.rax as i64 {
        libc::SYS_execve => (libc::AT_FDCWD as i64 as u64, a[0], a[2]),
        libc::SYS_execveat => (a[0], a[1], a[3]),
        _ => return,
    };
    let mut bytes = [0; PATH];
    let Some(length) = text(path, &mut bytes).map(<[u8]>::len) else {
        return;
    };
    if length == 0 || !has_preload(environment) {
        return;
    }
    let Some(why) = program_file::why_not(directory, bytes.as_ptr() as u64) else {
        return;
    };
    let path = &bytes[..length];
    if !is_first(path) {
        return;
    }
    let shown = &path[path.len().saturating_sub(SHOWN)..];
    let mut words = [0; WORDS];
    words[0] = why as u64 | (shown.len() as u64) << 8 | ((shown.len() < path.len()) as u64) << 16;
    for (word, part) in words[1..].iter_mut().zip(shown.chunks(8)) {
        let mut all = [0; 8];
        all[..part.len()].copy_from_slice(part);
        *word = u64::from_le_bytes(all);
    }
    push(raw::now(), tell, words);
}

fn tell(words: &[u64; WORDS]) {
    let mut bytes: Vec<u8> = words[1..].iter().flat_map(|w| w.to_le_bytes()).collect();
    bytes.truncate(usize::from((words[0] >> 8) as u8));
    let cut = if words[0] >> 16 & 1 == 1 { "..." } else { "" };
    let Some(why) = Why::ALL.get(usize::from(words[0] as u8)) else {
        return;
    };
    events::ProgramNotPatched {
        program: &format!("{cut}{}", String::from_utf8_lossy(&bytes)),
        reason: why.in_words(),
    }
    .emit();
}

/// Whether nobody was told of this path.
fn is_first(path: &[u8]) -> bool {
    // FNV-1a; 0 is a free place.
    let hash = path.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    }) | 1;
    // SAFETY: null or the table, which is never unmapped.
    let Some(table) = (unsafe { TOLD.load(Ordering::Acquire).as_ref() }) else {
        return false;
    };
    for place in table {
        match place.compare_exchange(0, hash, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(there) if there == hash => return false,
            Err(_) => {}
        }
    }
    false
}

/// Reads up to `into`'s length at an address that may be bad. How much there was.
fn read(address: u64, into: &mut [u8]) -> usize {
    // The kernel reads to the end of a page at least, if it can be read.
    let page = 4096 - (address % 4096) as usize;
    let len = into.len().min(page);
    let local = [into.as_mut_ptr() as u64, len as u64];
    let remote = [address, len as u64];
    // SAFETY: no arguments; then the kernel writes at most `len` bytes to `into`.
    let ret = unsafe {
        let pid = syscall(libc::SYS_getpid as u64, [0; 6]) as u64;
        let (local, remote) = (local.as_ptr() as u64, remote.as_ptr() as u64);
        syscall(
            libc::SYS_process_vm_readv as u64,
            [pid, local, 1, remote, 1, 0],
        )
    };
    usize::try_from(ret).unwrap_or(0)
}

/// The string at an address. `None`: it has no end, or a bad address.
fn text(address: u64, into: &mut [u8]) -> Option<&[u8]> {
    let mut filled = 0;
    while filled < into.len() {
        let got = read(address.checked_add(filled as u64)?, &mut into[filled..]);
        if got == 0 {
            return None;
        }
        if let Some(end) = into[filled..filled + got]
            .iter()
            .position(|byte| *byte == 0)
        {
            return Some(&into[..filled + end]);
        }
        filled += got;
    }
    None
}

/// Whether an environment names libraries to be loaded first.
fn has_preload(environment: u64) -> bool {
    const NAME: &[u8] = b"LD_PRELOAD=";
    let mut entry = environment;
    loop {
        let mut pointer = [0; 8];
        if environment == 0 || read(entry, &mut pointer) != 8 {
            return false;
        }
        let at = u64::from_le_bytes(pointer);
        if at == 0 {
            return false;
        }
        let mut start = [0; NAME.len() + 1];
        let mut got = read(at, &mut start);
        if got != 0 && got < start.len() {
            got += read(at + got as u64, &mut start[got..]);
        }
        if got == start.len() && start.starts_with(NAME) {
            return start[NAME.len()] != 0;
        }
        entry += 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_end_at_a_bad_address() {
        let mut into = [0; 64];
        assert_eq!(
            text(c"words".as_ptr() as u64, &mut into),
            Some(&b"words"[..])
        );
        assert_eq!(text(8, &mut into), None);
        assert_eq!(text([b'x'; 64].as_ptr() as u64, &mut into), None);
    }

    #[test]
    fn an_environment_with_something_to_load() {
        let of = |entries: &[&core::ffi::CStr]| {
            let mut pointers: Vec<_> = entries.iter().map(|entry| entry.as_ptr() as u64).collect();
            pointers.push(0);
            has_preload(pointers.as_ptr() as u64)
        };
        assert!(of(&[c"HOME=/", c"LD_PRELOAD=a.so"]));
        assert!(!of(&[c"HOME=/", c"LD_PRELOAD="]));
        assert!(!of(&[c"XLD_PRELOAD=a.so", c"LD_PRELOADS=a.so", c""]));
        assert!(!of(&[]) && !has_preload(0) && !has_preload(8));
    }

    #[test]
    fn each_program_is_told_of_once() {
        assert!(!is_first(b"/a program of a test"));
        init();
        assert!(is_first(b"/a program of a test"));
        assert!(!is_first(b"/a program of a test"));
    }
}
