//! What the calls of all guests waited for, in total: `GEVENT_SHIM_SUMMARY`.
//!
//! # Synchronization
//! Written on the hub's kernel thread alone, but for `BLOCKED`, which is the monitor's;
//! read there when the process ends, also in a signal handler, where a total may lack the
//! call that was just being added.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use patch_events::stderr;

use super::{TOTALS, on, set};
use crate::config;
use crate::hub::{Hub, hub};
use crate::raw::{self, NS_PER_S};
use crate::syscalls::{self, LIMIT};

/// Of the calls of one number.
struct Total {
    /// How many have waited.
    calls: AtomicU64,
    /// How long together, in nanoseconds.
    waited: AtomicU64,
    /// The longest of them.
    longest: AtomicU64,
}

static OF_CALL: [Total; LIMIT] = [const {
    Total {
        calls: AtomicU64::new(0),
        waited: AtomicU64::new(0),
        longest: AtomicU64::new(0),
    }
}; LIMIT];

/// When the hub started; 0 before.
static BEGUN: AtomicU64 = AtomicU64::new(0);
/// How long the hub has slept since, in nanoseconds.
static SLEPT: AtomicU64 = AtomicU64::new(0);
/// How often a guest kept the others from running for too long.
static BLOCKED: AtomicU64 = AtomicU64::new(0);
static PRINTED: AtomicBool = AtomicBool::new(false);

/// Calls that are listed.
const LISTED: usize = 10;

/// A summary is wanted. Start-up.
pub fn keep() {
    set(TOTALS, TOTALS);
}

/// Whether totals are kept.
#[inline]
pub fn are_kept() -> bool {
    on(TOTALS)
}

/// The hub starts, in a program or in its forked child.
pub fn begin() {
    for total in &OF_CALL {
        for number in [&total.calls, &total.waited, &total.longest] {
            number.store(0, Relaxed);
        }
    }
    SLEPT.store(0, Relaxed);
    BLOCKED.store(0, Relaxed);
    PRINTED.store(false, Relaxed);
    BEGUN.store(raw::now(), Relaxed);
}

/// In a forked child, which has no hub yet.
pub fn reset_after_fork() {
    BEGUN.store(0, Relaxed);
}

fn add(to: &AtomicU64, number: u64) {
    to.store(to.load(Relaxed).wrapping_add(number), Relaxed);
}

/// A call of number `nr` has waited that long.
pub fn waited(nr: u64, ns: u64) {
    if let Some(total) = OF_CALL.get(nr as usize) {
        add(&total.calls, 1);
        add(&total.waited, ns);
        total
            .longest
            .store(total.longest.load(Relaxed).max(ns), Relaxed);
    }
}

/// The hub has slept since then.
pub fn slept(since: u64) {
    add(&SLEPT, raw::now().saturating_sub(since));
}

/// A guest kept the others from running.
pub fn blocked() {
    add(&BLOCKED, 1);
}

/// Prints the summary to standard error, once, if there was a hub. Any mode, also in a
/// signal handler: allocates nothing.
pub fn print() {
    if !are_kept() || BEGUN.load(Relaxed) == 0 || PRINTED.swap(true, Relaxed) {
        return;
    }
    let mut text = Text {
        bytes: [0; 4096],
        len: 0,
    };
    // What does not fit is left out.
    let _ = write(&mut text, hub());
    stderr::write(&text.bytes[..text.len], stderr::PATIENCE);
}

fn write(text: &mut impl Write, hub: &Hub) -> fmt::Result {
    let pid = hub.pid.get();
    let begun = BEGUN.load(Relaxed);
    let lasted = Seconds(raw::now().saturating_sub(begun));
    let sum = |wanted: fn(i64) -> bool| -> u64 {
        let numbered = OF_CALL.iter().enumerate();
        numbered
            .filter(|(nr, _)| wanted(*nr as i64))
            .map(|(_, total)| total.waited.load(Relaxed))
            .sum()
    };
    // A wait in futex is for another guest, which may itself be counted.
    let waited = sum(|nr| nr != libc::SYS_futex);
    let slept = SLEPT.load(Relaxed);
    let saved = Seconds(waited.saturating_sub(slept));
    let (waited, slept) = (Seconds(waited), Seconds(slept));
    let (created, peak) = hub.census();
    let limit = config::get().max_blocking_time.unwrap_or_default();
    writeln!(
        text,
        "gevent-shim[{pid}] summary of {lasted} since the first thread"
    )?;
    writeln!(text, "  guests    {created} made, at most {peak} at once")?;
    writeln!(text, "  switches  {}", hub.switches())?;
    writeln!(
        text,
        "  blocked   {} times a guest kept the others waiting for over {limit:?}",
        BLOCKED.load(Relaxed)
    )?;
    writeln!(
        text,
        "  saved     {saved}: waits of {waited} one after another, outside of futex, took {slept} of idling"
    )?;
    writeln!(
        text,
        "  {:<20} {:>9} {:>14} {:>14}",
        "call", "waits", "total", "longest"
    )?;
    let mut listed = [usize::MAX; LISTED];
    for place in 0..LISTED {
        let longest = OF_CALL
            .iter()
            .enumerate()
            .filter(|(nr, total)| !listed.contains(nr) && total.calls.load(Relaxed) != 0)
            .max_by_key(|(_, total)| total.waited.load(Relaxed));
        let Some((nr, total)) = longest else {
            break;
        };
        listed[place] = nr;
        let name = syscalls::lookup(nr as u64).map_or("unknown", |row| row.name);
        let [total_time, longest] =
            [&total.waited, &total.longest].map(|number| Seconds(number.load(Relaxed)));
        let calls = total.calls.load(Relaxed);
        writeln!(
            text,
            "  {name:<20} {calls:>9} {total_time:>14} {longest:>14}"
        )?;
    }
    Ok(())
}

/// Nanoseconds, shown as seconds with three digits.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Text {
            bytes: [0; 32],
            len: 0,
        };
        let ms = self.0 / 1_000_000;
        write!(text, "{}.{:03} s", self.0 / NS_PER_S, ms % 1000)?;
        f.pad(core::str::from_utf8(&text.bytes[..text.len]).unwrap_or_default())
    }
}

/// Text of a bounded length.
struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..self.len + part.len());
        room.ok_or(fmt::Error)?.copy_from_slice(part.as_bytes());
        self.len += part.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_padded() {
        assert_eq!(format!("{:>9}|", Seconds(1_234_567_890)), "  1.234 s|");
        assert_eq!(Seconds(u64::MAX).to_string(), "18446744073.709 s");
    }

    #[test]
    fn text_ends_where_its_room_does() {
        let mut text = Text {
            bytes: [0; 4],
            len: 0,
        };
        assert!(text.write_str("abc").is_ok());
        assert!(text.write_str("de").is_err());
        assert_eq!(text.len, 3);
    }

    #[test]
    fn the_longest_in_total_come_first() {
        begin();
        for (nr, ns) in [(0, 1), (0, 4), (45, 3_000_000_000), (202, 9), (9999, 1)] {
            waited(nr, ns);
        }
        let mut text = Text {
            bytes: [0; 4096],
            len: 0,
        };
        write(&mut text, hub()).unwrap();
        let text = core::str::from_utf8(&text.bytes[..text.len]).unwrap();
        let calls: Vec<_> = text.lines().skip(6).collect();
        assert_eq!(calls.len(), 3, "{text}");
        assert!(calls[0].starts_with("  recvfrom") && calls[0].ends_with("3.000 s        3.000 s"));
        assert!(calls[1].starts_with("  futex"));
        assert!(
            calls[2].starts_with("  read                         2 "),
            "{text}"
        );
        assert!(text.contains("  saved     3.000 s: "), "{text}");
    }
}
