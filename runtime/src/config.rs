//! What the user asks for: the `GEVENT_SHIM_*` environment, read once.
//!
//! | variable | takes | default |
//! |---|---|---|
//! | `GEVENT_SHIM_DISABLE` | `1`, `yes`, `true` or `0`, `no`, `false` | `0` |
//! | `GEVENT_SHIM_PATCH` | a comma list of `all`, `none`, groups, `-group` | `all` |
//! | `GEVENT_SHIM_LOOP` | `auto`, `io_uring`, `epoll` | `auto` |
//! | `GEVENT_SHIM_STACK_SIZE` | bytes, or with `K`, `M`, `G` | libc's own |
//! | `GEVENT_SHIM_PREEMPT` | milliseconds from 1 to 10000, or `0` for never | `10` |
//! | `GEVENT_SHIM_EVENTS` | `1`, or levels by target | silent |
//! | `GEVENT_SHIM_EVENTS_FILE` | a path, `%p` is the process id | standard error |
//!
//! An empty value counts as unset. Words may be in any case and have blanks
//! around them. Everything that can't be meant is an error rather than
//! ignored: a value outside the table, a variable of that prefix that is not
//! in it, a file for events that were not asked for. On an error the caller
//! prints its one line and leaves the program as it is. When
//! `GEVENT_SHIM_DISABLE` is on, nothing else is looked at.

mod error;

#[cfg(test)]
mod tests;

pub use error::ConfigError;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;
use std::time::Duration;

use patch_events::{Filter, InvalidFilter, InvalidPath, PathTemplate, Target};

use crate::group::GroupSet;

const PREFIX: &str = "GEVENT_SHIM_";
const DISABLE: &str = "GEVENT_SHIM_DISABLE";
const PATCH: &str = "GEVENT_SHIM_PATCH";
const LOOP: &str = "GEVENT_SHIM_LOOP";
const STACK_SIZE: &str = "GEVENT_SHIM_STACK_SIZE";
const PREEMPT: &str = "GEVENT_SHIM_PREEMPT";
const EVENTS: &str = patch_events::FILTER_VARIABLE;
const EVENTS_FILE: &str = patch_events::FILE_VARIABLE;

/// Every variable there is; the index is where [`Values`] keeps its value.
const VARIABLES: [&str; 7] = [
    DISABLE,
    PATCH,
    LOOP,
    STACK_SIZE,
    PREEMPT,
    EVENTS,
    EVENTS_FILE,
];

/// Smallest stack in bytes: glibc's `PTHREAD_STACK_MIN` on this target.
pub const STACK_MIN: usize = 16 << 10;
/// Largest stack in bytes. Far above use, far below the 2^47 of the address
/// space, so that a slip in the suffix is seen here and not as EAGAIN from
/// every `pthread_create`.
pub const STACK_MAX: usize = 1 << 40;
/// Stack sizes are whole pages of this many bytes.
const PAGE: usize = 4096;

/// Which reactor waits for the program's I/O.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LoopKind {
    /// The best one the kernel offers.
    #[default]
    Auto,
    /// io_uring, or an error where the kernel has or allows none.
    IoUring,
    /// epoll.
    Epoll,
}

impl LoopKind {
    const ALL: [LoopKind; 3] = [LoopKind::Auto, LoopKind::IoUring, LoopKind::Epoll];

    /// The name in `GEVENT_SHIM_LOOP`.
    pub const fn name(self) -> &'static str {
        match self {
            LoopKind::Auto => "auto",
            LoopKind::IoUring => "io_uring",
            LoopKind::Epoll => "epoll",
        }
    }
}

/// Which events are told, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsConfig {
    /// The events asked for; none is silence.
    pub filter: Option<Filter>,
    /// Where they go.
    pub target: Target,
}

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Leave the program alone.
    pub disable: bool,
    /// What is made cooperative.
    pub groups: GroupSet,
    /// Which reactor.
    pub loop_kind: LoopKind,
    /// Bytes of a thread's stack when its attributes don't set a size: whole
    /// pages, [`STACK_MIN`] to [`STACK_MAX`]. `None` leaves libc's default.
    pub stack_size: Option<usize>,
    /// How long a guest may keep the processor while others wait for it; `None`
    /// for as long as it likes. 1 ms to 10 s.
    pub preempt: Option<Duration>,
    /// Which events are told.
    pub events: EventsConfig,
}

impl Config {
    /// The configuration of an empty environment.
    pub const DEFAULT: Config = Config {
        disable: false,
        groups: GroupSet::ALL,
        loop_kind: LoopKind::Auto,
        stack_size: None,
        preempt: Some(Duration::from_millis(10)),
        events: EventsConfig {
            filter: None,
            target: Target::Stderr,
        },
    };
}

impl Default for Config {
    fn default() -> Self {
        Config::DEFAULT
    }
}

static CONFIG: OnceLock<Config> = OnceLock::new();
static DEFAULT: Config = Config::DEFAULT;

/// Reads the environment of this process. The first success stands: later
/// calls return it. Host mode only.
///
/// # Errors
/// The first variable that can't be meant.
pub fn init() -> Result<&'static Config, ConfigError> {
    if let Some(config) = CONFIG.get() {
        return Ok(config);
    }
    let config = parse(std::env::vars_os())?;
    Ok(CONFIG.get_or_init(|| config))
}

/// The configuration [`init`] read; before that, or when it failed,
/// [`Config::DEFAULT`]. One load: may be used anywhere.
pub fn get() -> &'static Config {
    CONFIG.get().unwrap_or(&DEFAULT)
}

/// The configuration of an environment. Of several variables of one name the
/// first counts, as with `getenv`. Never panics, whatever the bytes.
///
/// # Errors
/// As [`init`]. Values are looked at in the order of the module's table, then
/// the names in the order of the environment.
pub fn parse<N, V>(environment: impl IntoIterator<Item = (N, V)>) -> Result<Config, ConfigError>
where
    N: AsRef<OsStr>,
    V: AsRef<OsStr>,
{
    let values = Values::collect(environment);
    let mut config = Config::DEFAULT;
    if let Some(on) = values.word(DISABLE, parse_switch, || ONE_OF_SWITCH.to_owned())? {
        config.disable = on;
    }
    if config.disable {
        return Ok(config);
    }
    if let Some(groups) = values.word(PATCH, |text| text.parse().ok(), expected_groups)? {
        config.groups = groups;
    }
    if let Some(kind) = values.word(LOOP, parse_loop, expected_loops)? {
        config.loop_kind = kind;
    }
    config.stack_size = values.word(STACK_SIZE, parse_stack_size, || EXPECTED_STACK.to_owned())?;
    if let Some(quantum) = values.word(PREEMPT, parse_preempt, || EXPECTED_PREEMPT.to_owned())? {
        config.preempt = quantum;
    }
    config.events = events(&values)?;
    match values.unknown {
        Some(name) => Err(ConfigError::unknown(&name, nearest(&name))),
        None => Ok(config),
    }
}

fn events(values: &Values) -> Result<EventsConfig, ConfigError> {
    let expected = || InvalidFilter::EXPECTED.to_owned();
    let filter = values.word(EVENTS, |text| text.parse::<Filter>().ok(), expected)?;
    let target = match values.get(EVENTS_FILE) {
        None => Target::Stderr,
        Some(path) if filter.is_none() => {
            let why = format!("has no effect unless {EVENTS} is set");
            return Err(ConfigError::useless(EVENTS_FILE, path, why));
        }
        Some(path) => Target::File(PathTemplate::new(path).map_err(|InvalidPath| {
            ConfigError::value(EVENTS_FILE, path, InvalidPath::EXPECTED.to_owned())
        })?),
    };
    Ok(EventsConfig {
        filter: filter.filter(|filter| !filter.is_silent()),
        target,
    })
}

/// The variables of our prefix.
#[derive(Default)]
struct Values {
    known: [Option<OsString>; VARIABLES.len()],
    /// The first name that is in no table.
    unknown: Option<OsString>,
}

impl Values {
    fn collect<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        environment: impl IntoIterator<Item = (N, V)>,
    ) -> Values {
        let mut values = Values::default();
        for (name, value) in environment {
            let name = name.as_ref();
            if !name.as_bytes().starts_with(PREFIX.as_bytes()) {
                continue;
            }
            match VARIABLES.iter().position(|known| name == *known) {
                Some(i) => {
                    values.known[i].get_or_insert_with(|| value.as_ref().to_owned());
                }
                None => {
                    values.unknown.get_or_insert_with(|| name.to_owned());
                }
            }
        }
        values
    }

    /// The value of a variable of the table, unless empty.
    fn get(&self, name: &str) -> Option<&OsStr> {
        let i = VARIABLES.iter().position(|known| *known == name)?;
        self.known[i].as_deref().filter(|value| !value.is_empty())
    }

    /// The value of a variable as `read` understands it.
    fn word<T>(
        &self,
        name: &'static str,
        read: impl Fn(&str) -> Option<T>,
        expected: impl Fn() -> String,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.to_str().and_then(|text| read(text.trim())) {
            Some(meaning) => Ok(Some(meaning)),
            None => Err(ConfigError::value(name, value, expected())),
        }
    }
}

const ONE_OF_SWITCH: &str = "1, yes or true, or 0, no or false";
const EXPECTED_PREEMPT: &str = "milliseconds from 1 to 10000, or 0 for never";
const EXPECTED_STACK: &str = "bytes, or a number with K, M or G, from 16K to 1024G";

fn expected_groups() -> String {
    let names = crate::group::Group::ALL.iter().map(|group| group.name());
    let names = names.collect::<Vec<_>>().join(", ");
    format!("a comma list of all, none, a group or -group; the groups are {names}")
}

fn expected_loops() -> String {
    format!("one of {}", LoopKind::ALL.map(LoopKind::name).join(", "))
}

fn parse_switch(text: &str) -> Option<bool> {
    let is = |words: [&str; 3]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is(["1", "yes", "true"]) {
        Some(true)
    } else if is(["0", "no", "false"]) {
        Some(false)
    } else {
        None
    }
}

fn parse_loop(text: &str) -> Option<LoopKind> {
    LoopKind::ALL
        .into_iter()
        .find(|kind| kind.name().eq_ignore_ascii_case(text))
}

fn parse_preempt(text: &str) -> Option<Option<Duration>> {
    // `u64::from_str` takes a plus sign.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match text.parse::<u64>().ok()? {
        0 => Some(None),
        ms @ 1..=10_000 => Some(Some(Duration::from_millis(ms))),
        _ => None,
    }
}

fn parse_stack_size(text: &str) -> Option<usize> {
    let (digits, unit) = match text.as_bytes().last()?.to_ascii_uppercase() {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    // `usize::from_str` takes a plus sign.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let bytes = digits.parse::<usize>().ok()?.checked_mul(unit)?;
    (STACK_MIN..=STACK_MAX)
        .contains(&bytes)
        .then(|| bytes.next_multiple_of(PAGE))
}

/// The variable of the table whose name is nearest to `name`.
fn nearest(name: &OsStr) -> &'static str {
    // The distance takes time in proportion to the name, which may be long.
    let start = &name.as_bytes()[..name.len().min(64)];
    let start = String::from_utf8_lossy(start);
    VARIABLES
        .into_iter()
        .min_by_key(|known| strsim::levenshtein(known, &start))
        .unwrap_or(PATCH)
}
