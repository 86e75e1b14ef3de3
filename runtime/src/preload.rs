//! What `LD_PRELOAD` says to a program that the library cannot be loaded into.
//!
//! The dynamic linker of 32-bit programs, or of another processor's, writes a line to standard
//! error about each object of `LD_PRELOAD` that is for other programs. So a program of that
//! kind that is started from here is given an environment in which `LD_PRELOAD` does not name this
//! library. What it starts in turn is not given it back: nothing of ours is there to do so. A
//! name with a `$` stays as it is: for `$LIB` and the like (ld.so(8)) each dynamic linker has a
//! value of its own.
//!
//! The environment is copied, for it is the program's own, and other threads may read it. The
//! caller may be a child of vfork on its parent's memory, and on a stack of a few KiB: so the copy
//! lies in memory of its own ([`exec_memory`](crate::exec_memory)).
//!
//! # Filters
//! Whether a program is of that kind is read from its file. A process that has bound itself to a
//! filter of system calls may be killed for that; so nothing is looked at any more once
//! one has been installed outside of a hub. One that a child of vfork installs binds that child,
//! and leaves its parent, whose memory says so too, as it is. What
//! [`sandbox`](crate::sandbox) knows of filters keeps guests from such calls.
//!
//! # Synchronization
//! `NAME` is written at load. `FILTERS` is counted up before the kernel is asked for a filter, and
//! down again where it refuses. `PARENT` is written by a child of vfork, whose memory is its
//! parent's, after the kernel has taken its filter; all such children have one parent. It is
//! cleared when a guest goes on that made one, and stays where a foreign thread did: its children
//! are then given the environment as it is.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::OnceLock;

use crate::arch::{self, syscall0};
use crate::exec_memory::ExecMemory;
use crate::frame::Frame;
use crate::program_file;
use crate::raw;

const PRELOAD: &[u8] = b"LD_PRELOAD=";

/// The file name of the library.
static NAME: OnceLock<Box<[u8]>> = OnceLock::new();

/// Filters that the process may be bound to, and that are not known.
static FILTERS: AtomicU32 = AtomicU32::new(0);

/// Not zero: a child of vfork of this process is bound to a filter, and its children, but the
/// process itself is not.
static PARENT: AtomicI32 = AtomicI32::new(0);

/// A guest that has made a child of vfork goes on, so that this child has its own memory, or has
/// ended; or the process is a child that was forked by a guest. It is not bound to what others of
/// its memory were.
pub fn forget_children() {
    PARENT.store(0, Ordering::Relaxed);
}

/// Start-up: what the library's file is called.
pub fn init(name: &[u8]) {
    NAME.get_or_init(|| name.into());
}

/// The call of a thread that is no guest: makes it, if it asks for a filter, and notes what comes
/// of it. False: it is the kernel's. `parent` is the process whose child the thread is, on its
/// memory, if it is one.
///
/// # Safety
/// The thread's present call.
pub unsafe fn filter(frame: &mut Frame, parent: Option<i32>) -> bool {
    let asks = match frame.rax as i64 {
        libc::SYS_prctl => frame.rdi == libc::PR_SET_SECCOMP as u64,
        libc::SYS_seccomp => matches!(
            frame.rdi as u32,
            libc::SECCOMP_SET_MODE_STRICT | libc::SECCOMP_SET_MODE_FILTER
        ),
        _ => false,
    };
    if asks {
        // SAFETY: the caller's contract.
        unsafe { install(frame, parent) };
    }
    asks
}

/// Makes a call that asks for a filter. Apart, so that others have a small frame.
///
/// # Safety
/// As [`filter`].
#[cold]
#[inline(never)]
unsafe fn install(frame: &mut Frame, parent: Option<i32>) {
    let a = frame.args();
    let listens =
        frame.rax as i64 == libc::SYS_seccomp && a[1] & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0;
    if parent.is_none() {
        // Before it binds others, who may look at any time.
        FILTERS.fetch_add(1, Ordering::SeqCst);
    }
    // SAFETY: the program's own call.
    let ret = unsafe { arch::syscall_unasked(frame.rax, a) };
    // It may also be the thread that has other filters.
    let installed = ret == 0 || ret > 0 && listens;
    match parent {
        Some(parent) if installed => PARENT.store(parent, Ordering::SeqCst),
        None if !installed => {
            FILTERS.fetch_sub(1, Ordering::SeqCst);
        }
        _ => {}
    }
    frame.rax = ret as u64;
}

/// Whether the process may be bound to a filter that is not known.
fn may_be_bound() -> bool {
    if FILTERS.load(Ordering::SeqCst) != 0 {
        return true;
    }
    let parent = PARENT.load(Ordering::SeqCst);
    // SAFETY: no arguments.
    parent != 0 && unsafe { syscall0(libc::SYS_getpid) } != i64::from(parent)
}

/// The execve(2) or execveat(2) of a thread that is no guest: makes it, if it needs another
/// environment. False: it is the kernel's as it is.
///
/// # Safety
/// The thread's present call.
pub unsafe fn exec(frame: &mut Frame) -> bool {
    if !matches!(frame.rax as i64, libc::SYS_execve | libc::SYS_execveat) {
        return false;
    }
    if !is_needed(frame) {
        return false;
    }
    let nr = frame.rax;
    // SAFETY: the program's own call, with an environment that is for the program.
    let ret = changed(frame, |a| unsafe { arch::syscall_unasked(nr, a) });
    frame.rax = ret as u64;
    true
}

/// Runs `exec`, which makes the call in `frame` with the arguments that it is given: those of the
/// frame, or others that name another environment. Guest mode.
pub fn with_arguments(frame: &Frame, exec: impl FnOnce([u64; 6]) -> i64) -> i64 {
    if is_needed(frame) {
        changed(frame, exec)
    } else {
        exec(frame.args())
    }
}

/// Whether the program is to be given another environment. Most are not: up to here the
/// caller's stack, which may be a small one, has few bytes of ours.
#[cold]
#[inline(never)]
fn is_needed(frame: &Frame) -> bool {
    let environment = match frame.rax as i64 {
        libc::SYS_execve => frame.rdx,
        _ => frame.r10,
    };
    !may_be_bound() && names_library(environment).is_some() && program_file::is_foreign(frame)
}

/// `None`: an environment does not name the library, or may not be looked at.
#[inline(never)]
fn names_library(environment: u64) -> Option<()> {
    let name = NAME.get()?;
    let mut memory = Memory::default();
    let mut at = environment;
    loop {
        let entry = memory.word(at)?;
        if entry == 0 {
            return None;
        }
        if memory.starts_with(entry, PRELOAD) && has_own(&mut memory, entry, name) {
            return Some(());
        }
        at = at.checked_add(8)?;
    }
}

/// Whether the library is in the list of an entry, which is one of `LD_PRELOAD`.
#[inline(always)] // one frame is smaller than three
fn has_own(memory: &mut Memory, entry: u64, name: &[u8]) -> bool {
    let mut found = false;
    let list = entry + PRELOAD.len() as u64;
    let read = items(memory, list, |memory, item, len| {
        found |= is_own(memory, item, len, name);
        Some(())
    });
    found && read.is_some()
}

/// What a changed environment takes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    /// Entries, with the end.
    entries: usize,
    /// Bytes of the entries that are written anew.
    text: usize,
}

/// The size of an environment. `None`: it reaches to a bad address.
fn measure(environment: u64) -> Option<Size> {
    let mut memory = Memory::default();
    let (mut count, mut text) = (0, 0);
    while let Some(entry) = memory.word(entry(environment, count)?)
        && entry != 0
    {
        count += 1;
        if memory.starts_with(entry, PRELOAD) {
            let list = entry + PRELOAD.len() as u64;
            let len = items(&mut memory, list, |_, _, _| Some(()))?;
            text += PRELOAD.len() + len as usize + 1;
        }
    }
    let entries = count + 1;
    Some(Size { entries, text })
}

fn entry(environment: u64, index: usize) -> Option<u64> {
    environment.checked_add(8 * index as u64)
}

/// Whether a byte stands between two objects of a list (ld.so(8)).
fn is_between(byte: u8) -> bool {
    matches!(byte, b':' | b' ')
}

/// Tells `each` address and length of the objects of a list in the program's memory. The list's
/// length; `None`: it reaches to a bad address, or `each` ended it.
#[inline(always)] // as above
fn items(
    memory: &mut Memory,
    list: u64,
    mut each: impl FnMut(&mut Memory, u64, u64) -> Option<()>,
) -> Option<u64> {
    let (mut at, mut begin) = (list, list);
    loop {
        let byte = memory.byte(at)?;
        if byte == 0 || is_between(byte) {
            if at > begin {
                each(memory, begin, at - begin)?;
            }
            begin = at + 1;
        }
        if byte == 0 {
            return Some(at - list);
        }
        at += 1;
    }
}

/// Whether an object of a list is the library, whoever reads the list.
fn is_own(memory: &mut Memory, item: u64, len: u64, name: &[u8]) -> bool {
    let end = item + len;
    let mut last = item;
    for at in item..end {
        match memory.byte(at) {
            None | Some(b'$') => return false,
            Some(b'/') => last = at + 1,
            Some(_) => {}
        }
    }
    end - last == name.len() as u64 && memory.starts_with(last, name)
}

/// Runs `exec` with the environment without the library.
#[cold]
#[inline(never)]
fn changed(frame: &Frame, exec: impl FnOnce([u64; 6]) -> i64) -> i64 {
    let mut a = frame.args();
    let place = match frame.rax as i64 {
        libc::SYS_execve => 2,
        _ => 3,
    };
    let copy = measure(a[place]).and_then(|size| copy(a[place], size));
    if let Some(copy) = &copy {
        a[place] = copy.address();
    }
    // Where the call succeeds nothing comes after it.
    exec(a)
}

/// A copy of an environment without the library. `None`: there is no memory, or it has changed.
fn copy(environment: u64, size: Size) -> Option<ExecMemory> {
    let words = size.entries.checked_mul(8)?;
    let copy = ExecMemory::new(words.checked_add(size.text)?)?;
    let at = copy.address();
    // SAFETY: the two parts of new memory, which nobody else has.
    let (entries, text) = unsafe {
        (
            core::slice::from_raw_parts_mut(at as *mut u64, size.entries),
            core::slice::from_raw_parts_mut((at as *mut u8).add(words), size.text),
        )
    };
    rewrite(environment, entries, text)?;
    Some(copy)
}

/// Writes an environment without the library. `None`: there is no room, for it has changed.
fn rewrite(environment: u64, into: &mut [u64], text: &mut [u8]) -> Option<()> {
    let name = NAME.get()?;
    let mut memory = Memory::default();
    let (mut kept, mut used) = (0, 0);
    for i in 0.. {
        let old = memory.word(entry(environment, i)?)?;
        let new = if old != 0 && memory.starts_with(old, PRELOAD) {
            let into = text.get_mut(used..)?;
            let list = old + PRELOAD.len() as u64;
            let address = into.as_ptr() as u64;
            without(&mut memory, list, name, into)?.map(|len| {
                used += len;
                address
            })
        } else {
            Some(old)
        };
        if let Some(new) = new {
            *into.get_mut(kept)? = new;
            kept += 1;
        }
        if old == 0 {
            break;
        }
    }
    Some(())
}

/// Writes the entry with a list without an object, and a zero byte. How many bytes that are;
/// `None` in their place: nothing is left of it, but there was something.
fn without(memory: &mut Memory, list: u64, name: &[u8], into: &mut [u8]) -> Option<Option<usize>> {
    into.get_mut(..PRELOAD.len())?.copy_from_slice(PRELOAD);
    let mut written = PRELOAD.len();
    let len = items(memory, list, |memory, item, len| {
        if is_own(memory, item, len, name) {
            return Some(());
        }
        if written > PRELOAD.len() {
            *into.get_mut(written)? = b':';
            written += 1;
        }
        for at in item..item + len {
            *into.get_mut(written)? = memory.byte(at)?;
            written += 1;
        }
        Some(())
    })?;
    *into.get_mut(written)? = 0;
    let is_left = written > PRELOAD.len() || len == 0;
    Some(is_left.then_some(written + 1))
}

/// The program's memory. The kernel is asked for each page whether it can be read, since nothing
/// else tells where there is no hub.
#[derive(Default)]
struct Memory {
    /// The last pages that can be read, of words and of bytes.
    pages: [u64; 2],
}

impl Memory {
    fn can_read(&mut self, which: usize, at: u64) -> bool {
        let page = at / 4096 + 1;
        if self.pages[which] != page && !raw::is_readable(at & !7) {
            return false;
        }
        self.pages[which] = page;
        true
    }

    fn word(&mut self, at: u64) -> Option<u64> {
        if !self.can_read(0, at) || !self.can_read(0, at.checked_add(7)?) {
            return None;
        }
        // SAFETY: it can be read.
        Some(unsafe { (at as *const u64).read_unaligned() })
    }

    fn byte(&mut self, at: u64) -> Option<u8> {
        // SAFETY: it can be read.
        self.can_read(1, at)
            .then(|| unsafe { (at as *const u8).read() })
    }

    fn starts_with(&mut self, at: u64, bytes: &[u8]) -> bool {
        let mut places = (at..).zip(bytes);
        places.all(|(at, byte)| self.byte(at) == Some(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ffi::CStr;

    /// The environment that a program gets instead of this one.
    fn given(entries: &[&CStr]) -> Option<Vec<Vec<u8>>> {
        init(b"libgevent_shim.so");
        let mut pointers: Vec<_> = entries.iter().map(|entry| entry.as_ptr() as u64).collect();
        pointers.push(0);
        let environment = pointers.as_ptr() as u64;
        names_library(environment)?;
        let size = measure(environment)?;
        assert_eq!(size.entries, entries.len() + 1);
        let copy = copy(environment, size)?;
        let mut at = copy.address() as *const *const core::ffi::c_char;
        let mut all = Vec::new();
        // SAFETY: what `copy` made: an array of strings that ends with null.
        unsafe {
            while !(*at).is_null() {
                all.push(CStr::from_ptr(*at).to_bytes().to_vec());
                at = at.add(1);
            }
        }
        Some(all)
    }

    #[test]
    fn the_library_alone_is_taken_out() {
        let own = c"LD_PRELOAD=/x/libgevent_shim.so";
        assert_eq!(given(&[own]), Some(vec![]));
        assert_eq!(
            given(&[c"A=1", own, c"B=LD_PRELOAD="]),
            Some(vec![b"A=1".to_vec(), b"B=LD_PRELOAD=".to_vec()])
        );
        for (list, rest) in [
            (c"LD_PRELOAD=libgevent_shim.so", None),
            (
                c"LD_PRELOAD=/a.so:/x/libgevent_shim.so",
                Some("LD_PRELOAD=/a.so"),
            ),
            (
                c"LD_PRELOAD=/x/libgevent_shim.so b.so",
                Some("LD_PRELOAD=b.so"),
            ),
            (
                c"LD_PRELOAD=/a.so /x/libgevent_shim.so: b.so",
                Some("LD_PRELOAD=/a.so:b.so"),
            ),
            (
                c"LD_PRELOAD=libgevent_shim.so:/$LIB/libgevent_shim.so",
                Some("LD_PRELOAD=/$LIB/libgevent_shim.so"),
            ),
        ] {
            let rest = rest.map(|rest| rest.as_bytes().to_vec());
            assert_eq!(given(&[list]), Some(rest.into_iter().collect()), "{list:?}");
        }
        assert_eq!(
            given(&[own, c"LD_PRELOAD=", own]),
            Some(vec![b"LD_PRELOAD=".to_vec()])
        );
    }

    #[test]
    fn an_environment_without_it_stays() {
        for list in [
            c"LD_PRELOAD=",
            c"LD_PRELOAD=/a.so",
            c"LD_PRELOAD=/x/xlibgevent_shim.so",
            c"LD_PRELOAD=/x/$LIB/libgevent_shim.so",
            c"XLD_PRELOAD=libgevent_shim.so",
            c"LD_PRELOADS=libgevent_shim.so",
        ] {
            assert_eq!(given(&[c"", list]), None, "{list:?}");
        }
        assert_eq!(given(&[]), None);
        assert_eq!(names_library(0), None);
        assert_eq!(names_library(8), None);
        let bad = [8u64, 0];
        assert_eq!(names_library(bad.as_ptr() as u64), None);
    }

    #[test]
    fn filters_of_children_and_refused_ones_bind_nobody() {
        let bad = [libc::PR_SET_SECCOMP as u64, 99, 0, 0, 0, 0];
        // SAFETY: all zero is a valid one.
        let mut frame: Frame = unsafe { core::mem::zeroed() };
        for parent in [None, Some(1)] {
            frame.rax = libc::SYS_prctl as u64;
            (frame.rdi, frame.rsi) = (bad[0], bad[1]);
            // SAFETY: a call without pointers that changes nothing.
            assert!(unsafe { filter(&mut frame, parent) });
            assert_eq!(frame.rax as i64, raw::err(libc::EINVAL));
            assert!(!may_be_bound());
        }
        frame.rax = libc::SYS_prctl as u64;
        frame.rdi = libc::PR_GET_SECCOMP as u64;
        // SAFETY: as above.
        assert!(!unsafe { filter(&mut frame, None) });
        // What children of vfork of this process have done.
        PARENT.store(std::process::id() as i32, Ordering::SeqCst);
        assert!(!may_be_bound());
        PARENT.store(1, Ordering::SeqCst);
        assert!(may_be_bound());
        forget_children();
        assert!(!may_be_bound());
    }

    #[test]
    fn the_size_of_an_environment_has_no_limit() {
        let own = c"LD_PRELOAD=libgevent_shim.so";
        let mut many = vec![c"A=1"; 5000];
        many.push(own);
        assert_eq!(given(&many), Some(vec![b"A=1".to_vec(); 5000]));
        let long = format!("LD_PRELOAD={}", "x".repeat(100_000));
        let list = std::ffi::CString::new(format!("{long}:libgevent_shim.so")).unwrap();
        assert_eq!(given(&[&list]), Some(vec![long.into_bytes()]));
    }

    #[test]
    fn what_has_grown_meanwhile_stays() {
        init(b"libgevent_shim.so");
        let own = c"LD_PRELOAD=libgevent_shim.so:x".as_ptr() as u64;
        let environment = [c"A=1".as_ptr() as u64, own, 0];
        let at = environment.as_ptr() as u64;
        let size = measure(at).unwrap();
        assert!(copy(at, size).is_some());
        let entries = size.entries - 1;
        assert!(copy(at, Size { entries, ..size }).is_none());
        let text = "LD_PRELOAD=x".len();
        assert!(copy(at, Size { text, ..size }).is_none());
        let text = text + 1;
        assert!(copy(at, Size { text, ..size }).is_some());
    }
}
