//! What the guests of a running process do: `ps` and `dump`.

mod backtrace;
mod process;

use std::fmt::Write;

use gevent_runtime::control::snapshot::STACK_MAX;
use gevent_runtime::control::wire::Snapshot;

use crate::{Ending, Failure, print};
use backtrace::Symbols;
use process::Process;

/// Bytes of each guest's stack that are looked at.
pub const STACK: usize = 16 << 10;

/// Lists the processes that the library is in.
///
/// # Errors
/// When `/proc` or standard output fail.
pub fn processes() -> Ending {
    let mut text = format!("{:>8} {:>7} {:<9} PROGRAM\n", "PID", "GUESTS", "REACTOR");
    let mut notes = String::new();
    for process in process::all().map_err(Failure::new)? {
        let (guests, reactor) = match process.snapshot(0) {
            Ok(snapshot) => (snapshot.guests.len().to_string(), snapshot.hub.reactor),
            Err(why) => {
                // A String takes every write.
                let _ = writeln!(notes, "{:>8} {why}", process.pid);
                ("?".to_owned(), "?".to_owned())
            }
        };
        let _ = writeln!(
            text,
            "{:>8} {guests:>7} {reactor:<9} {}",
            process.pid, process.command
        );
    }
    if !notes.is_empty() {
        text += &format!("\nNot asked:\n{notes}");
    }
    print(&text)?;
    Ok(0)
}

/// Shows the guests of a process, a line each.
///
/// # Errors
/// The line that says why it can't be asked.
pub fn guests(pid: i32) -> Ending {
    let process = Process::find(pid).map_err(Failure::new)?;
    let snapshot = process.snapshot(0).map_err(Failure::new)?;
    let mut text = headline(&process, &snapshot);
    for guest in snapshot.guests.iter().rev() {
        text += &guest.line(snapshot.hub.now, |fd| process.descriptor(fd));
        text.push('\n');
    }
    print(&text)?;
    Ok(0)
}

/// Shows the guests of a process with their stacks.
///
/// # Errors
/// As [`guests`].
pub fn dump(pid: i32, stack: usize) -> Ending {
    if stack > STACK_MAX {
        return Err(Failure::with_status(
            format_args!("--stack: expected up to {STACK_MAX} bytes"),
            2,
        ));
    }
    let process = Process::find(pid).map_err(Failure::new)?;
    let snapshot = process.snapshot(stack).map_err(Failure::new)?;
    let mut symbols = Symbols::of(pid);
    let mut text = headline(&process, &snapshot);
    for guest in snapshot.guests.iter().rev() {
        let _ = write!(
            text,
            "\n{}\n",
            guest.line(snapshot.hub.now, |fd| process.descriptor(fd))
        );
        let bytes = snapshot.stacks.get(guest.stack.clone()).unwrap_or_default();
        for (number, frame) in symbols.frames(guest, bytes).iter().enumerate() {
            for (depth, name) in frame.iter().enumerate() {
                let number = match depth {
                    0 => format!("#{number}"),
                    // Inlined into the one before.
                    _ => String::new(),
                };
                let _ = writeln!(text, "    {number:<4}{name}");
            }
        }
    }
    print(&text)?;
    Ok(0)
}

/// Has a process tell other events from now on.
///
/// # Errors
/// As [`guests`]; for a filter that can't be meant too.
pub fn events(pid: i32, filter: &str) -> Ending {
    if filter.parse::<patch_events::Filter>().is_err() {
        let expected = patch_events::InvalidFilter::EXPECTED;
        return Err(Failure::with_status(
            format_args!("\"{}\": expected {expected}", filter.escape_default()),
            2,
        ));
    }
    let process = Process::find(pid).map_err(Failure::new)?;
    process
        .request(&format!("events {filter}"))
        .map_err(Failure::new)?;
    Ok(0)
}

fn headline(process: &Process, snapshot: &Snapshot) -> String {
    let hub = &snapshot.hub;
    let count = |what| {
        snapshot
            .guests
            .iter()
            .filter(|guest| guest.what.word() == what)
            .count()
    };
    format!(
        "{} {}: {} guests ({} wait, {} can run), {} switches, {}\n",
        hub.pid,
        process.command,
        snapshot.guests.len(),
        count("waits"),
        count("runnable") + count("preempted"),
        hub.switches,
        hub.reactor
    )
}
