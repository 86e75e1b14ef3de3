//! Every `GEVENT_SHIM_*` variable, each declared once.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use patch_events::{InvalidFilter, InvalidPath, PathTemplate, Target};

use crate::selection::Selection;

use super::{Config, ConfigError, HUBS_MAX, LoopKind, PAGE, STACK_MAX, STACK_MIN};

/// What a setting takes that is on or off.
pub const SWITCH: &str = "1, yes or true, or 0, no or false";

/// One variable of the environment.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name, which begins with [`PREFIX`](super::PREFIX).
    pub name: &'static str,
    /// The values it takes, in words that fit behind "expected". Plain ASCII.
    pub takes: &'static str,
    /// What counts when it is unset or empty, in words or as a value.
    pub default: &'static str,
    /// What it does, in sentences; Markdown's backticks may be in it.
    pub meaning: &'static str,
    /// Settings without all of which this one has no effect; none for a setting that
    /// always has one.
    pub needs: &'static [&'static str],
    reads: Reads,
}

/// How the value of a setting gets into a configuration. `None`: it can't be meant.
#[derive(Debug, Clone, Copy)]
enum Reads {
    /// UTF-8, without the blanks around it.
    Word(fn(&str, &mut Config) -> Option<()>),
    /// As it is.
    Path(fn(&OsStr, &mut Config) -> Option<()>),
}

impl Setting {
    /// Puts what `value` means into `config`.
    ///
    /// # Errors
    /// The line that names the setting, the value and what would be taken.
    pub fn read(&self, value: &OsStr, config: &mut Config) -> Result<(), ConfigError> {
        let read = match self.reads {
            Reads::Word(read) => value.to_str().and_then(|text| read(text.trim(), config)),
            Reads::Path(read) => read(value, config),
        };
        read.ok_or_else(|| ConfigError::value(self, value, self.hint(value)))
    }

    /// The known name that a value may have been meant to have.
    fn hint(&self, value: &OsStr) -> Option<&'static str> {
        if self.name != PATCH {
            return None;
        }
        let unknown = value.to_str()?.parse::<Selection>().err()?;
        Some(unknown.nearest())
    }
}

/// Declares settings: for each a constant with its name, and its row of [`SETTINGS`].
macro_rules! settings {
    ($(
        $(#[doc = $meaning:literal])+
        $constant:ident = $name:literal
            takes $takes:expr,
            if unset $default:literal,
            $(needs $needs:ident $(or $other:ident)?,)?
            reads $kind:ident $reads:expr;
    )*) => {
        $(
            $(#[doc = $meaning])+
            pub const $constant: &str = $name;
        )*

        /// Every setting, in the order in which they are read.
        ///
        /// | variable | if unset | meaning |
        /// |---|---|---|
        $(#[doc = concat!("| `", $name, "` | ", $default, " |", $($meaning),+, " |")])*
        pub static SETTINGS: [Setting; [$($name),*].len()] = [$(Setting {
            name: $name,
            takes: $takes,
            default: $default,
            meaning: concat!($($meaning),+).trim_ascii(),
            needs: &[$($needs $(, $other)?)?],
            reads: Reads::$kind($reads),
        }),*];
    };
}

settings! {
    /// At `1` the program runs as if the library weren't there, and no other variable is
    /// read.
    DISABLE = "GEVENT_SHIM_DISABLE"
        takes SWITCH,
        if unset "0",
        reads Word |text, config| {
            config.disable = switch(text)?;
            Some(())
        };

    /// What is made cooperative; `-group` leaves a group out, as in `all,-file`, and
    /// `-connect` a single system call.
    PATCH = "GEVENT_SHIM_PATCH"
        takes "a comma list of all, none, a group or a system call, or -group or -call; the \
               groups are socket, dns, time, select, thread, os, subprocess, signal, queue, \
               file, sys",
        if unset "all",
        reads Word |text, config| {
            config.selection = text.parse().ok()?;
            Some(())
        };

    /// The programs that are patched, by the file name of the executable or script; others
    /// run as they are.
    ONLY = "GEVENT_SHIM_ONLY"
        takes "a comma list of file names",
        if unset "all programs",
        reads Path |list, config| {
            config.only = file_names(list)?;
            Some(())
        };

    /// The programs that are left alone, in the same way.
    SKIP = "GEVENT_SHIM_SKIP"
        takes "a comma list of file names",
        if unset "no program",
        reads Path |list, config| {
            config.skip = file_names(list)?;
            Some(())
        };

    /// At `0` the programs that this one starts run as they are: the library takes itself
    /// out of their `LD_PRELOAD`.
    CHILDREN = "GEVENT_SHIM_CHILDREN"
        takes "1, yes or true, or 0, no or false",
        if unset "1",
        reads Word |text, config| {
            config.children = switch(text)?;
            Some(())
        };

    /// How the hub waits for the kernel; `auto` is the best the kernel has.
    LOOP = "GEVENT_SHIM_LOOP"
        takes "one of auto, io_uring, epoll",
        if unset "auto",
        reads Word |text, config| {
            config.loop_kind = LoopKind::ALL
                .into_iter()
                .find(|kind| kind.name().eq_ignore_ascii_case(text))?;
            Some(())
        };

    /// How many kernel threads run the program's threads; `auto` is as many as there are
    /// processors. The threads' own code then runs in parallel, and their calls still cost
    /// little; with one they never run at the same time.
    HUBS = "GEVENT_SHIM_HUBS"
        takes "a number from 1 to 32, or auto",
        if unset "1",
        reads Word |text, config| {
            config.hubs = if text.eq_ignore_ascii_case("auto") {
                let processors = std::thread::available_parallelism().map_or(1, usize::from);
                processors.min(HUBS_MAX)
            } else {
                let hubs = usize::try_from(decimal(text)?).ok()?;
                Some(hubs).filter(|hubs| (1..=HUBS_MAX).contains(hubs))?
            };
            Some(())
        };

    /// The stack of a thread whose attributes set no size.
    STACK_SIZE = "GEVENT_SHIM_STACK_SIZE"
        takes "bytes, or a number with K, M or G, from 16K to 1024G",
        if unset "libc's default",
        reads Word |text, config| {
            config.stack_size = Some(stack_size(text)?);
            Some(())
        };

    /// How long a thread may keep the processor while others could run.
    PREEMPT = "GEVENT_SHIM_PREEMPT"
        takes "milliseconds from 1 to 10000, or 0 for never",
        if unset "10",
        reads Word |text, config| {
            config.preempt = match decimal(text)? {
                0 => None,
                ms @ 1..=10_000 => Some(Duration::from_millis(ms)),
                _ => return None,
            };
            Some(())
        };

    /// Most kernel threads that wait, each for one thread of the program, where the kernel
    /// has no other way: for locks of files, System V and POSIX queues, slow file systems.
    POOL = "GEVENT_SHIM_POOL"
        takes "a number from 1 to 10000",
        if unset "256",
        reads Word |text, config| {
            let threads = usize::try_from(decimal(text)?).ok()?;
            config.pool = Some(threads).filter(|threads| (1..=10_000).contains(threads))?;
            Some(())
        };

    /// Most threads of the program, the initial one among them: making one more fails with
    /// `EAGAIN`. If unset, it fails at `RLIMIT_NPROC` (but for root) and the `pids.max` of control
    /// groups; the kernel's own `threads-max` and `pid_max` do not count.
    MAX_THREADS = "GEVENT_SHIM_MAX_THREADS"
        takes "a number from 1 to 4194304",
        if unset "as many as the process is allowed",
        reads Word |text, config| {
            let threads = usize::try_from(decimal(text)?).ok()?;
            config.max_threads =
                Some(Some(threads).filter(|threads| (1..=1 << 22).contains(threads))?);
            Some(())
        };

    /// A seed: the thread that runs next is chosen at random, and threads give way at random before
    /// and after their calls. For tests: what the program prints must not depend on it.
    CHAOS = "GEVENT_SHIM_CHAOS"
        takes "a number",
        if unset "threads run in turn",
        reads Word |text, config| {
            config.chaos = Some(decimal(text)?);
            Some(())
        };

    /// At `1`, system calls are caught too that are made by code which could not be patched: made at
    /// run time, or refused. Such a call costs a signal, and every other call more than without.
    CATCH = "GEVENT_SHIM_CATCH"
        takes "1, yes or true, or 0, no or false",
        if unset "0",
        reads Word |text, config| {
            config.catch = switch(text)?;
            Some(())
        };

    /// At `1`, the threads beside one that is blocked in the kernel where the library does not see
    /// it go on, on a further kernel thread, after some 30 ms. An experiment: what a thread has
    /// from the kernel (a tracer, a session keyring, a filter installed meanwhile) may be another's
    /// then. Not with `GEVENT_SHIM_PREEMPT=0`.
    RESCUE = "GEVENT_SHIM_RESCUE"
        takes "1, yes or true, or 0, no or false",
        if unset "0",
        reads Word |text, config| {
            config.rescue = switch(text)?;
            Some(())
        };

    /// The events to report.
    EVENTS = "GEVENT_SHIM_EVENTS"
        takes InvalidFilter::EXPECTED,
        if unset "silent",
        reads Word |text, config| {
            let filter: patch_events::Filter = text.parse().ok()?;
            config.events.filter = Some(filter).filter(|filter| !filter.is_silent());
            Some(())
        };

    /// How long a thread may keep the others from running before an event tells so, with
    /// what the thread does and where.
    MAX_BLOCKING_TIME = "GEVENT_SHIM_MAX_BLOCKING_TIME"
        takes "seconds from 0.001 to 3600, or 0 for never",
        if unset "0.1",
        needs EVENTS or PLUGINS,
        reads Word |text, config| {
            config.max_blocking_time = match seconds(text)? {
                Duration::ZERO => None,
                time if (MIN_BLOCKING..=MAX_BLOCKING).contains(&time) => Some(time),
                _ => return None,
            };
            Some(())
        };

    /// How much memory may be resident before an event tells so, and another one when it
    /// is less again.
    MAX_MEMORY = "GEVENT_SHIM_MAX_MEMORY"
        takes "bytes, or a number with K, M or G",
        if unset "no limit",
        needs EVENTS or PLUGINS,
        reads Word |text, config| {
            config.max_memory = Some(bytes(text).filter(|bytes| *bytes > 0)?);
            Some(())
        };

    /// How the events are written: for a person, as one JSON object a line, or as a
    /// timeline for Perfetto and `chrome://tracing`.
    EVENTS_FORMAT = "GEVENT_SHIM_EVENTS_FORMAT"
        takes "one of text, json, chrome",
        if unset "text",
        needs EVENTS,
        reads Word |text, config| {
            config.events.format = text.parse().ok()?;
            Some(())
        };

    /// Where the events go: a file that is made, or appended to.
    EVENTS_FILE = "GEVENT_SHIM_EVENTS_FILE"
        takes InvalidPath::EXPECTED,
        if unset "standard error",
        needs EVENTS,
        reads Path |path, config| {
            config.events.target = Target::File(PathTemplate::new(path).ok()?);
            Some(())
        };

    /// Libraries that are told of events and may object to patching; see the header
    /// `gevent_plugin.h`. If one of them is of no use, the program runs as it is.
    PLUGINS = "GEVENT_SHIM_PLUGINS"
        takes "a list of paths with a slash in each, and commas or colons between them",
        if unset "no plugin",
        reads Path |list, config| {
            config.plugins = paths(list)?;
            Some(())
        };

    /// A Unix socket that is made when the first thread starts, for this user alone: by it
    /// `gevent-shim ps` and `dump` ask what the threads do.
    CONTROL = "GEVENT_SHIM_CONTROL"
        takes InvalidPath::EXPECTED,
        if unset "no socket",
        reads Path |path, config| {
            config.control = Some(PathTemplate::new(path).ok()?);
            Some(())
        };

    /// At the end of a program that had threads, what they waited for and what that saved
    /// is printed to standard error.
    SUMMARY = "GEVENT_SHIM_SUMMARY"
        takes SWITCH,
        if unset "0",
        reads Word |text, config| {
            config.summary = switch(text)?;
            Some(())
        };

    /// From the first thread on this signal is the library's, and prints what every thread
    /// waits for to standard error.
    DUMP_SIGNAL = "GEVENT_SHIM_DUMP_SIGNAL"
        takes "one of HUP, QUIT, USR1, USR2, PWR, WINCH",
        if unset "none",
        reads Word |text, config| {
            let number = DUMP_SIGNALS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
            config.dump_signal = Some(number?.1);
            Some(())
        };
}

/// Signals that end or do nothing to a program that has no handler for them.
const DUMP_SIGNALS: [(&str, i32); 6] = [
    ("HUP", libc::SIGHUP),
    ("QUIT", libc::SIGQUIT),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("PWR", libc::SIGPWR),
    ("WINCH", libc::SIGWINCH),
];

/// 1, yes, true; 0, no, false; in any case.
fn switch(text: &str) -> Option<bool> {
    let is = |words: [&str; 3]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is(["1", "yes", "true"]) {
        Some(true)
    } else if is(["0", "no", "false"]) {
        Some(false)
    } else {
        None
    }
}

/// Names without a directory, with commas between them.
fn file_names(list: &OsStr) -> Option<Vec<OsString>> {
    let names = list.as_bytes().split(|byte| *byte == b',');
    names
        .map(|name| name.trim_ascii())
        .map(|name| (!name.is_empty() && !name.contains(&b'/')).then(|| OsStr::from_bytes(name)))
        .map(|name| name.map(OsStr::to_owned))
        .collect()
}

/// Paths with commas or colons between them. What has no slash the dynamic linker would
/// look for elsewhere (dlopen(3)).
fn paths(list: &OsStr) -> Option<Vec<PathBuf>> {
    let paths = list.as_bytes().split(|byte| b",:".contains(byte));
    paths
        .map(|path| {
            path.contains(&b'/')
                .then(|| PathBuf::from(OsStr::from_bytes(path)))
        })
        .collect()
}

/// Digits alone: `u64::from_str` takes a plus sign.
fn decimal(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

const MIN_BLOCKING: Duration = Duration::from_millis(1);
const MAX_BLOCKING: Duration = Duration::from_secs(3600);

/// Digits, and digits after a point.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    decimal(whole)?;
    decimal(fraction)?;
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

fn stack_size(text: &str) -> Option<usize> {
    let bytes = usize::try_from(bytes(text)?).ok()?;
    (STACK_MIN..=STACK_MAX)
        .contains(&bytes)
        .then(|| bytes.next_multiple_of(PAGE))
}

/// Digits, and K, M or G.
fn bytes(text: &str) -> Option<u64> {
    let (digits, unit) = match text.as_bytes().last()?.to_ascii_uppercase() {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    decimal(digits)?.checked_mul(unit)
}
