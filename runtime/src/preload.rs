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
//! caller may be a child of vfork on its parent's memory, so the copy lies on the stack; an
//! environment of [`MOST`] entries or more is given as it is.
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
use crate::frame::Frame;
use crate::program_file;
use crate::raw;

const PRELOAD: &[u8] = b"LD_PRELOAD=";

/// Entries of the largest environment that is changed, with its end.
const MOST: usize = 1024;

/// Bytes of all that is written anew.
const TEXT: usize = 1024;

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
    let a = frame.args();
    let asks = match frame.rax as i64 {
        libc::SYS_prctl => a[0] == libc::PR_SET_SECCOMP as u64,
        libc::SYS_seccomp => matches!(
            a[0] as u32,
            libc::SECCOMP_SET_MODE_STRICT | libc::SECCOMP_SET_MODE_FILTER
        ),
        _ => false,
    };
    if !asks {
        return false;
    }
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
    true
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
    let nr = frame.rax;
    if !matches!(nr as i64, libc::SYS_execve | libc::SYS_execveat) {
        return false;
    }
    let a = frame.args();
    let make = |changed: [u64; 6]| {
        // SAFETY: the program's own call, with an environment of ours.
        (changed != a).then(|| unsafe { arch::syscall_unasked(nr, changed) })
    };
    match with_arguments(nr, a, make) {
        Some(ret) => frame.rax = ret as u64,
        None => return false,
    }
    true
}

/// Runs `exec`, which makes the call `nr` with the arguments that it is given: `a`, or others
/// that name another environment. Any mode, and a child of vfork.
pub fn with_arguments<R>(nr: u64, a: [u64; 6], exec: impl FnOnce([u64; 6]) -> R) -> R {
    let place = match nr as i64 {
        libc::SYS_execve => 2,
        _ => 3,
    };
    match length(a[place]).filter(|_| is_needed(nr, &a)) {
        Some(0..64) => changed::<64, R>(a, place, exec),
        Some(64..256) => changed::<256, R>(a, place, exec),
        Some(256..MOST) => changed::<MOST, R>(a, place, exec),
        _ => exec(a),
    }
}

#[cold]
#[inline(never)]
fn is_needed(nr: u64, a: &[u64; 6]) -> bool {
    program_file::is_foreign(nr, a)
}

/// How many entries the environment has, if it names the library and may be looked at.
fn length(environment: u64) -> Option<usize> {
    let name = NAME.get()?;
    if may_be_bound() {
        return None;
    }
    let mut memory = Memory::default();
    let (mut count, mut named) = (0, false);
    while let Some(entry) = memory.word(entry(environment, count)?)
        && entry != 0
    {
        count += 1;
        if memory.starts_with(entry, PRELOAD) {
            let mut value = [0; TEXT];
            let list = memory.text(entry + PRELOAD.len() as u64, &mut value);
            named |= list.is_some_and(|list| list.split(is_between).any(|item| is(item, name)));
        }
    }
    named.then_some(count)
}

fn entry(environment: u64, index: usize) -> Option<u64> {
    environment.checked_add(8 * index as u64)
}

/// Whether a byte stands between two objects of a list (ld.so(8)).
fn is_between(byte: &u8) -> bool {
    matches!(byte, b':' | b' ')
}

/// Whether an object of a list is the library, whoever reads the list.
fn is(item: &[u8], name: &[u8]) -> bool {
    item.rsplit(|&byte| byte == b'/').next() == Some(name) && !item.contains(&b'$')
}

/// Runs `exec` with the environment without the library.
#[inline(never)]
fn changed<const N: usize, R>(
    mut a: [u64; 6],
    place: usize,
    exec: impl FnOnce([u64; 6]) -> R,
) -> R {
    let mut entries = [0u64; N];
    let mut text = [0u8; TEXT];
    if rewrite(a[place], &mut entries, &mut text).is_some() {
        a[place] = entries.as_ptr() as u64;
    }
    exec(a)
}

/// Copies an environment without the library. `None`: there is no room, or it has changed.
fn rewrite(environment: u64, into: &mut [u64], mut text: &mut [u8]) -> Option<()> {
    let name = NAME.get()?;
    let mut memory = Memory::default();
    let mut kept = 0;
    for i in 0.. {
        let old = memory.word(entry(environment, i)?)?;
        let new = if old != 0 && memory.starts_with(old, PRELOAD) {
            let mut value = [0; TEXT];
            let list = memory.text(old + PRELOAD.len() as u64, &mut value)?;
            let (written, rest) =
                core::mem::take(&mut text).split_at_mut_checked(list.len() + PRELOAD.len() + 1)?;
            text = rest;
            written.fill(0);
            without(list, name, written).then_some(written.as_ptr() as u64)
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

/// Writes the entry with a list without an object. False: nothing is left of it, but there was
/// something.
fn without(list: &[u8], name: &[u8], into: &mut [u8]) -> bool {
    let mut written = 0;
    let mut put = |bytes: &[u8]| {
        into[written..written + bytes.len()].copy_from_slice(bytes);
        written += bytes.len();
    };
    put(PRELOAD);
    let mut any = false;
    let others = list.split(is_between).filter(|item| !is(item, name));
    for item in others.filter(|item| !item.is_empty()) {
        if any {
            put(b":");
        }
        put(item);
        any = true;
    }
    any || list.is_empty()
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

    /// The string at an address. `None`: it is longer than `into`, or reaches to a bad address.
    fn text<'a>(&mut self, at: u64, into: &'a mut [u8; TEXT]) -> Option<&'a [u8]> {
        for (i, to) in into.iter_mut().enumerate() {
            match self.byte(at.checked_add(i as u64)?)? {
                0 => return Some(&into[..i]),
                byte => *to = byte,
            }
        }
        None
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
        let count = length(environment)?;
        assert_eq!(count, entries.len());
        changed::<64, _>([0, 0, environment, 0, 0, 0], 2, |a| {
            assert_ne!(a[2], environment);
            let mut at = a[2] as *const *const core::ffi::c_char;
            let mut all = Vec::new();
            // SAFETY: what `changed` made: an array of strings that ends with null.
            unsafe {
                while !(*at).is_null() {
                    all.push(CStr::from_ptr(*at).to_bytes().to_vec());
                    at = at.add(1);
                }
            }
            Some(all)
        })
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
        assert_eq!(length(0), None);
        assert_eq!(length(8), None);
        let bad = [8u64, 0];
        assert_eq!(length(bad.as_ptr() as u64), None);
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
    fn what_does_not_fit_stays() {
        init(b"libgevent_shim.so");
        let own = c"LD_PRELOAD=libgevent_shim.so";
        let mut many = vec![c"A=1".as_ptr() as u64; 64];
        many[0] = own.as_ptr() as u64;
        many.push(0);
        let a = [0, 0, many.as_ptr() as u64, 0, 0, 0];
        // One entry less leaves room for the end.
        assert!(changed::<64, _>(a, 2, |changed| changed != a));
        many[0] = c"A=1".as_ptr() as u64;
        many.insert(0, own.as_ptr() as u64);
        let a = [0, 0, many.as_ptr() as u64, 0, 0, 0];
        assert!(changed::<64, _>(a, 2, |changed| changed == a));
        let long = format!("LD_PRELOAD={}:libgevent_shim.so\0", "x".repeat(TEXT));
        let long = [long.as_ptr() as u64, 0];
        assert_eq!(length(long.as_ptr() as u64), None);
    }
}
