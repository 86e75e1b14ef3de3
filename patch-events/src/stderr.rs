//! The standard error that the process began with.
//!
//! The program may close number 2 and open a file that gets it: nothing of ours may be written
//! there. So every write is to a copy of the descriptor that was compared with what number 2 was
//! at the start. No copy is kept, but of a regular file: whoever reads from a pipe or a terminal
//! is to see its end when the program has closed it, and closing a copy of a regular file would
//! let go of the program's record locks on it.
//!
//! Nobody may be reading. A write waits a limited time for room, once: until there is room
//! again, what finds none is left out at once. The flags of the description are the program's
//! too, and are left as they are.
//!
//! # Synchronization
//! `START` is written once, `KEPT` at start-up. `STALLED` is a hint.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use rustix::net::{SendFlags, send};
use rustix::thread::{NanosleepRelativeResult, Timespec, nanosleep};

use crate::event::now;
use crate::numbers::Room;
use crate::sink::fits;

/// What number 2 was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    kind: FileType,
}

impl Identity {
    fn of(fd: impl AsFd) -> Option<Identity> {
        let stat = fstat(fd).ok()?;
        Some(Identity {
            device: stat.st_dev,
            inode: stat.st_ino,
            kind: FileType::from_raw_mode(stat.st_mode),
        })
    }
}

/// What number 2 was at the start; `None` if it was closed.
static START: OnceLock<Option<Identity>> = OnceLock::new();

/// A copy of it, if it was a regular file and is written to later; else -1.
static KEPT: AtomicI32 = AtomicI32::new(-1);

/// Who reads did not when something was to be written last.
static STALLED: AtomicBool = AtomicBool::new(false);

/// Bytes that a pipe takes as a whole or not at all (PIPE_BUF).
const WHOLE: usize = 4096;

/// Bytes that are written at once to a terminal with room: few, as it does not say how much.
const FEW: usize = 256;

/// Nanoseconds between two tries where the kernel says that there is room, and then that there
/// is none.
const NAP: i64 = 1_000_000;

/// How long who reads is waited for, in nanoseconds.
pub const PATIENCE: u64 = 100_000_000;

fn start() -> Option<Identity> {
    *START.get_or_init(|| Identity::of(io::stderr()))
}

/// What number 2 is now is where all is written. Start-up.
pub fn note() {
    let _: Option<Identity> = start();
}

/// Something will be written later. Start-up.
pub fn keep() {
    if start().is_some_and(|start| start.kind == FileType::RegularFile)
        && KEPT.load(Ordering::Relaxed) < 0
        && let Some(copy) = copy()
    {
        KEPT.store(copy.into_raw_fd(), Ordering::Relaxed);
    }
}

/// A copy of number 2 out of the program's way.
fn copy() -> Option<OwnedFd> {
    let room = Room::make_in_handler();
    rustix::io::fcntl_dupfd_cloexec(io::stderr(), room.lowest()).ok()
}

/// Writes lines to the standard error that the process began with, if it is there. How many
/// bytes were written: fewer, where nobody reads for `patience` nanoseconds, or not for a while.
/// Any mode, also in a signal handler. With a regular file it may wait for the disk.
///
/// Of a terminal nobody can tell how much it takes, and only another description of it does not
/// wait, which is opened for the time of the write and takes the lowest number meanwhile. So
/// this is for where no other thread opens anything, or for once.
pub fn write(bytes: &[u8], patience: u64) -> usize {
    let number = io::stderr();
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let of_device = start().is_some_and(|start| start.kind == FileType::CharacterDevice);
    if of_device
        && Identity::of(&number) == start()
        && let Ok(opened) = rustix::fs::open("/proc/self/fd/2", flags, Mode::empty())
        && Identity::of(&opened) == start()
    {
        let until = now().saturating_add(patience);
        let mut done = 0;
        while done < bytes.len() {
            match to_reader(
                opened.as_fd(),
                FileType::CharacterDevice,
                &bytes[done..],
                until,
            ) {
                0 => break,
                written => done += written,
            }
        }
        return done;
    }
    write_often(bytes, patience)
}

/// As [`write()`], for who writes again and again. A write to a terminal that is stopped may wait
/// for it: for a thread of ours.
pub fn write_often(bytes: &[u8], patience: u64) -> usize {
    let Some(start) = start() else {
        return 0;
    };
    if start.kind == FileType::RegularFile {
        let kept = KEPT.load(Ordering::Relaxed);
        // SAFETY: a number that is compared with what it was before it is used; nothing is
        // closed.
        let kept = (kept >= 0).then(|| unsafe { BorrowedFd::borrow_raw(kept) });
        let number = io::stderr();
        let fd = kept.unwrap_or(number.as_fd());
        return if Identity::of(fd) == Some(start) {
            to_file(fd, bytes)
        } else {
            0
        };
    }
    let copy = copy();
    let number = io::stderr();
    // Without a free number, the descriptor itself.
    let fd = copy.as_ref().map_or(number.as_fd(), |copy| copy.as_fd());
    if Identity::of(fd) != Some(start) {
        return 0;
    }
    let most = if start.kind == FileType::CharacterDevice {
        FEW
    } else {
        WHOLE
    };
    let until = now().saturating_add(patience);
    let mut done = 0;
    while done < bytes.len() {
        let some = lines(&bytes[done..], most);
        let written = to_reader(fd, start.kind, some, until);
        done += written;
        if written < some.len() {
            break;
        }
    }
    done
}

/// The first lines of `bytes`, as many as fit in `most` bytes, or a part of one that does not.
fn lines(bytes: &[u8], most: usize) -> &[u8] {
    if bytes.len() <= most {
        return bytes;
    }
    let end = bytes[..most].iter().rposition(|byte| *byte == b'\n');
    &bytes[..end.map_or(most, |end| end + 1)]
}

fn to_file(fd: BorrowedFd<'_>, bytes: &[u8]) -> usize {
    let size = fstat(fd).map_or(0, |stat| stat.st_size as u64);
    if fits(size, bytes.len()).is_err() {
        return 0;
    }
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::write(fd, &bytes[done..]) {
            Ok(0) => break,
            Ok(written) => done += written,
            Err(Errno::INTR) => {}
            Err(_) => break,
        }
    }
    done
}

/// Writes a part of `bytes`, or nothing if there is no room before `until`.
fn to_reader(fd: BorrowedFd<'_>, kind: FileType, bytes: &[u8], until: u64) -> usize {
    loop {
        if !has_room(fd, until) {
            return 0;
        }
        let written = match kind {
            FileType::Socket => send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            FileType::Fifo => {
                // Somebody else may have written since.
                let parts = [io::IoSlice::new(bytes)];
                match pwritev2(fd, &parts, u64::MAX, ReadWriteFlags::NOWAIT) {
                    Err(Errno::OPNOTSUPP | Errno::NOSYS) => rustix::io::write(fd, bytes),
                    written => written,
                }
            }
            _ => rustix::io::write(fd, bytes),
        };
        match written {
            Ok(written) => {
                STALLED.store(false, Ordering::Relaxed);
                return written;
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if now() < until => {
                let _: NanosleepRelativeResult = nanosleep(&Timespec {
                    tv_sec: 0,
                    tv_nsec: NAP,
                });
            }
            Err(error) => {
                STALLED.store(error == Errno::AGAIN, Ordering::Relaxed);
                return 0;
            }
        }
    }
}

/// Waits until there is room, and somebody who reads.
fn has_room(fd: BorrowedFd<'_>, until: u64) -> bool {
    loop {
        let rest = if STALLED.load(Ordering::Relaxed) {
            0
        } else {
            until.saturating_sub(now())
        };
        let rest = Timespec {
            tv_sec: (rest / 1_000_000_000) as i64,
            tv_nsec: (rest % 1_000_000_000) as i64,
        };
        let mut asked = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
        match poll(&mut asked, Some(&rest)) {
            Ok(0) => {
                STALLED.store(true, Ordering::Relaxed);
                return false;
            }
            Ok(_) => {
                // Written to what nobody can read any more, it would be SIGPIPE.
                let found = asked[0].revents();
                return found.contains(PollFlags::OUT)
                    && !found.intersects(PollFlags::ERR | PollFlags::NVAL);
            }
            Err(Errno::INTR) => {}
            // A filter of system calls refuses to tell.
            Err(_) => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_are_written_at_once() {
        assert_eq!(lines(b"one\ntwo\n", 100), b"one\ntwo\n");
        assert_eq!(lines(b"one\ntwo\n", 6), b"one\n");
        assert_eq!(lines(b"one\ntwo\n", 4), b"one\n");
        assert_eq!(lines(b"one\ntwo\n", 2), b"on");
    }

    #[test]
    fn a_full_pipe_takes_nothing_and_stops_nobody() {
        let (reader, writer) = io::pipe().unwrap();
        let begin = now();
        let line = [b'x'; WHOLE];
        let mut written = 0;
        loop {
            let some = to_reader(writer.as_fd(), FileType::Fifo, &line, begin + NAP as u64);
            written += some;
            if some == 0 {
                break;
            }
        }
        assert!(written >= WHOLE);
        assert!(now() - begin < 2_000_000_000);
        assert_eq!(
            to_reader(writer.as_fd(), FileType::Fifo, &line, u64::MAX),
            0,
            "stalled: it is not waited again"
        );
        drop(reader);
        assert_eq!(to_reader(writer.as_fd(), FileType::Fifo, b"x", 0), 0);
        STALLED.store(false, Ordering::Relaxed);
    }
}
