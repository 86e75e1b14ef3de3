//! What goes over the control socket, for both of its ends.
//!
//! A request is one line. The answer's first line is `ok`, or `error` and why; to
//! `events FILTER` that is all. That of `dump N` goes on with a line for the hub and one for each guest, fields separated by
//! blanks, and after a line with their length up to N bytes of each guest's stack.

use std::ffi::CStr;
use std::fmt::Write as _;
use std::io::{self, BufRead, Read, Write};
use std::ops::Range;

/// The name of the thread that listens, by which it is found among a process's.
pub const LISTENER: &CStr = c"gevent-control";

/// Longest line of a request, in bytes.
pub const LINE_MAX: u64 = 4096;

/// What a guest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum What {
    /// It can run, and others do.
    #[default]
    Runnable,
    /// It runs, on another processor than the one that answers.
    Running,
    /// As before, and it was interrupted in its own code.
    Preempted,
    /// It is parked in a call.
    Waits,
}

impl What {
    const ALL: [(What, &'static str); 4] = [
        (What::Runnable, "runnable"),
        (What::Running, "running"),
        (What::Preempted, "preempted"),
        (What::Waits, "waits"),
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(what, _)| *what == self)
            .map_or("", |(_, word)| word)
    }

    fn of(word: &str) -> Option<What> {
        let found = Self::ALL.iter().find(|(_, other)| *other == word);
        found.map(|(what, _)| *what)
    }
}

/// What is known of a hub.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HubState {
    /// The process.
    pub pid: i32,
    /// When this was so: CLOCK_MONOTONIC in nanoseconds.
    pub now: u64,
    /// How often it has switched to a guest.
    pub switches: u64,
    /// With what it waits for the kernel.
    pub reactor: String,
}

/// What is known of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuestState {
    /// Its thread id.
    pub tid: i32,
    /// What it does.
    pub what: What,
    /// When it parked last: CLOCK_MONOTONIC in nanoseconds, or 0 for never.
    pub since: u64,
    /// The system call it is in, if it waits.
    pub nr: u64,
    /// The call's arguments.
    pub args: [u64; 6],
    /// Instruction pointer: behind the call if it is in one.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer register.
    pub fp: u64,
    /// Name, ended by a NUL byte.
    pub name: [u8; 16],
    /// Where in [`Snapshot::stacks`] the bytes from `sp` on are.
    pub stack: Range<usize>,
}

/// The hub and its guests at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// The hub.
    pub hub: HubState,
    /// Its guests, newest first.
    pub guests: Vec<GuestState>,
    /// Parts of their stacks, in their order.
    pub stacks: Vec<u8>,
}

impl Snapshot {
    /// Writes the answer.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        let HubState {
            pid,
            now,
            switches,
            reactor,
        } = &self.hub;
        let mut text = format!("ok\nhub {pid} {now} {switches} {reactor}\n");
        for guest in &self.guests {
            let GuestState {
                tid,
                since,
                nr,
                args,
                ip,
                sp,
                fp,
                ..
            } = guest;
            let word = guest.what.word();
            let stack = guest.stack.len();
            // A String takes every write.
            let _ = write!(
                text,
                "guest {tid} {word} {since} {nr} {ip:x} {sp:x} {fp:x} {stack}"
            );
            for number in args {
                let _ = write!(text, " {number:x}");
            }
            text.push(' ');
            for byte in guest.name {
                let _ = write!(text, "{byte:02x}");
            }
            text.push('\n');
        }
        let _ = writeln!(text, "stacks {}", self.stacks.len());
        out.write_all(text.as_bytes())?;
        out.write_all(&self.stacks)
    }

    /// Reads the answer.
    ///
    /// # Errors
    /// Those of `from`, and `InvalidData` for what is no such answer.
    pub fn read(mut from: impl BufRead) -> io::Result<Snapshot> {
        accept(&mut from)?;
        let mut snapshot = Snapshot::default();
        loop {
            let line = line(&mut from)?;
            let mut words = line.split(' ');
            match words.next() {
                Some("hub") => snapshot.hub = hub(words).ok_or_else(malformed)?,
                Some("guest") => {
                    let from = snapshot.guests.last().map_or(0, |guest| guest.stack.end);
                    snapshot
                        .guests
                        .push(guest(words, from).ok_or_else(malformed)?);
                }
                Some("stacks") => {
                    let len = words.next().and_then(|word| word.parse().ok());
                    let len: u64 = len.ok_or_else(malformed)?;
                    from.take(len).read_to_end(&mut snapshot.stacks)?;
                    let end = snapshot.guests.last().map_or(0, |guest| guest.stack.end);
                    if snapshot.stacks.len() != end || end as u64 != len {
                        return Err(malformed());
                    }
                    return Ok(snapshot);
                }
                _ => return Err(malformed()),
            }
        }
    }
}

/// Reads the first line of an answer.
///
/// # Errors
/// `Other` with what the answer says, if that is no `ok`; else as [`Snapshot::read`].
pub fn accept(from: &mut impl BufRead) -> io::Result<()> {
    let line = line(from)?;
    match line.split_once(' ') {
        None if line == "ok" => Ok(()),
        Some(("error", why)) => Err(io::Error::other(why.to_owned())),
        _ => Err(malformed()),
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not an answer of gevent-shim")
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.take(LINE_MAX).read_line(&mut line)?;
    match line.pop() {
        Some('\n') => Ok(line),
        _ => Err(malformed()),
    }
}

fn hub<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<HubState> {
    Some(HubState {
        pid: words.next()?.parse().ok()?,
        now: words.next()?.parse().ok()?,
        switches: words.next()?.parse().ok()?,
        reactor: words.next()?.to_owned(),
    })
}

fn guest<'a>(mut words: impl Iterator<Item = &'a str>, from: usize) -> Option<GuestState> {
    let hex = |word: &str| u64::from_str_radix(word, 16).ok();
    let mut guest = GuestState {
        tid: words.next()?.parse().ok()?,
        what: What::of(words.next()?)?,
        since: words.next()?.parse().ok()?,
        nr: words.next()?.parse().ok()?,
        ip: hex(words.next()?)?,
        sp: hex(words.next()?)?,
        fp: hex(words.next()?)?,
        ..GuestState::default()
    };
    let stack: usize = words.next()?.parse().ok()?;
    guest.stack = from..from.checked_add(stack)?;
    for number in &mut guest.args {
        *number = hex(words.next()?)?;
    }
    let name = words.next()?;
    for (i, byte) in guest.name.iter_mut().enumerate() {
        *byte = hex(name.get(2 * i..2 * i + 2)?)? as u8;
    }
    Some(guest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_guest() -> impl Strategy<Value = (GuestState, Vec<u8>)> {
        let what = proptest::sample::select(What::ALL.map(|(what, _)| what).to_vec());
        let numbers = any::<([u64; 6], [u64; 5], i32, [u8; 16])>();
        let stack = proptest::collection::vec(any::<u8>(), 0..50);
        (what, numbers, stack).prop_map(
            |(what, (args, [since, nr, ip, sp, fp], tid, name), stack)| {
                let guest = GuestState {
                    tid,
                    what,
                    since,
                    nr,
                    args,
                    ip,
                    sp,
                    fp,
                    name,
                    stack: 0..stack.len(),
                };
                (guest, stack)
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            guests in proptest::collection::vec(any_guest(), 0..20),
            (pid, now, switches) in any::<(i32, u64, u64)>(),
        ) {
            let reactor = "epoll".to_owned();
            let mut snapshot = Snapshot {
                hub: HubState { pid, now, switches, reactor },
                ..Snapshot::default()
            };
            for (mut guest, stack) in guests {
                let from = snapshot.stacks.len();
                snapshot.stacks.extend(stack);
                guest.stack = from..snapshot.stacks.len();
                snapshot.guests.push(guest);
            }
            let mut bytes = Vec::new();
            snapshot.write(&mut bytes).unwrap();
            prop_assert_eq!(Snapshot::read(&bytes[..]).unwrap(), snapshot);
            // Cut anywhere it is no answer.
            bytes.pop();
            prop_assert!(Snapshot::read(&bytes[..]).is_err());
        }

        #[test]
        fn any_answer_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Snapshot::read(&bytes[..]);
            let started = [b"ok\nguest ", &bytes[..], b"\n"].concat();
            let _ = Snapshot::read(&started[..]);
        }
    }

    #[test]
    fn an_error_is_what_it_says() {
        let error = Snapshot::read(&b"error the hub stands still\n"[..]).unwrap_err();
        assert_eq!(error.to_string(), "the hub stands still");
    }
}
