//! What the user asks for: the `GEVENT_SHIM_*` environment, read once.
//!
//! Each variable is declared once, in [`settings`]: what it takes, what counts when
//! it is unset, what it means and how it is read. The table of
//! [`SETTINGS`], the messages, the README's section and
//! `gevent-shim config` come from there.
//!
//! An empty value counts as unset. Words may be in any case and have blanks
//! around them. Everything that can't be meant is an error rather than
//! ignored: a value outside what its setting takes, a variable of that prefix that
//! is no setting, a setting without the one it needs. On an error the caller
//! prints its one line and leaves the program as it is. When
//! `GEVENT_SHIM_DISABLE` is on, nothing else is looked at.

mod error;
pub mod settings;

#[cfg(test)]
mod tests;

pub use error::ConfigError;
pub use settings::{SETTINGS, Setting};

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use patch_events::{Filter, Format, PathTemplate, Target};

use crate::group::{Group, GroupSet};
use crate::selection::Selection;

/// What the name of every setting begins with.
pub const PREFIX: &str = "GEVENT_SHIM_";

/// Smallest stack in bytes: glibc's `PTHREAD_STACK_MIN` on this target.
pub const STACK_MIN: usize = 16 << 10;
/// Largest stack in bytes. Far above use, far below the 2^47 of the address
/// space, so that a slip in the suffix is seen here and not as EAGAIN from
/// every `pthread_create`.
pub const STACK_MAX: usize = 1 << 40;
/// Most kernel threads that run guests.
pub const HUBS_MAX: usize = crate::hub::processor::MAX;
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
    /// Every kind.
    pub const ALL: [LoopKind; 3] = [LoopKind::Auto, LoopKind::IoUring, LoopKind::Epoll];

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
    /// How they are written.
    pub format: Format,
    /// Where they go.
    pub target: Target,
}

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Leave the program alone.
    pub disable: bool,
    /// What is made cooperative.
    pub selection: Selection,
    /// File names of the programs that are patched; empty for all.
    pub only: Vec<OsString>,
    /// File names of programs that are left alone.
    pub skip: Vec<OsString>,
    /// Whether programs that this one starts load the library too.
    pub children: bool,
    /// Which reactor.
    pub loop_kind: LoopKind,
    /// How many kernel threads run guests: 1 to [`HUBS_MAX`].
    pub hubs: usize,
    /// Bytes of a thread's stack when its attributes don't set a size: whole
    /// pages, [`STACK_MIN`] to [`STACK_MAX`]. `None` leaves libc's default.
    pub stack_size: Option<usize>,
    /// How long a guest may keep the processor while others wait for it; `None`
    /// for as long as it likes. 1 ms to 10 s.
    pub preempt: Option<Duration>,
    /// Most kernel threads that carry out calls which nothing else can: 1 to 10,000.
    pub pool: usize,
    /// Most threads of the program; `None` for as many as it would have without us.
    pub max_threads: Option<usize>,
    /// The seed from which guests are scheduled at random; `None` for in turn.
    pub chaos: Option<u64>,
    /// Whether calls are caught that no patched site makes.
    pub catch: bool,
    /// The guests of a blocked kernel thread go on on another one.
    pub rescue: bool,
    /// How long a thread may keep the others from running before that is told; `None`
    /// for as long as it likes. 1 ms to an hour.
    pub max_blocking_time: Option<Duration>,
    /// Resident bytes of the process above which that is told.
    pub max_memory: Option<u64>,
    /// Which events are told.
    pub events: EventsConfig,
    /// Libraries that are told of events and may object.
    pub plugins: Vec<PathBuf>,
    /// Where a control socket is made.
    pub control: Option<PathTemplate>,
    /// Whether a summary is printed at the end.
    pub summary: bool,
    /// The signal that makes a dump.
    pub dump_signal: Option<i32>,
}

impl Config {
    /// The configuration of an empty environment.
    pub const DEFAULT: Config = Config {
        disable: false,
        selection: Selection::ALL,
        only: Vec::new(),
        skip: Vec::new(),
        children: true,
        loop_kind: LoopKind::Auto,
        hubs: 1,
        stack_size: None,
        preempt: Some(Duration::from_millis(10)),
        pool: 256,
        max_threads: None,
        chaos: None,
        catch: false,
        rescue: false,
        max_blocking_time: Some(Duration::from_millis(100)),
        max_memory: None,
        events: EventsConfig {
            filter: None,
            format: Format::Text,
            target: Target::Stderr,
        },
        plugins: Vec::new(),
        control: None,
        summary: false,
        dump_signal: None,
    };
}

impl Default for Config {
    fn default() -> Self {
        Config::DEFAULT
    }
}

impl Config {
    /// Whether a program that goes by these file names is to be patched.
    pub fn chooses(&self, names: &[&OsStr]) -> bool {
        let is_in = |list: &[OsString]| list.iter().any(|name| names.contains(&name.as_os_str()));
        (self.only.is_empty() || is_in(&self.only)) && !is_in(&self.skip)
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

/// As [`init`], for a program that asks by itself for `groups` and what they need: they
/// are on as far as the environment does not leave them out.
///
/// # Errors
/// As [`init`].
pub fn init_for(groups: GroupSet) -> Result<&'static Config, ConfigError> {
    if let Some(config) = CONFIG.get() {
        return Ok(config);
    }
    let mut config = parse(std::env::vars_os())?;
    MAY_SELECT.get_or_init(|| config.selection);
    let groups = groups.with(Group::Thread);
    for &group in Group::ALL.iter().filter(|group| !groups.contains(**group)) {
        config.selection.set_group(group, false);
    }
    Ok(CONFIG.get_or_init(|| config))
}

/// What the environment lets a program ask for that asks by itself, now or later.
static MAY_SELECT: OnceLock<Selection> = OnceLock::new();

/// See [`init_for`]: what it may turn on, and what may be added afterwards.
pub fn may_select() -> &'static Selection {
    MAY_SELECT.get().unwrap_or(&Selection::ALL)
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
/// As [`init`]. Values are looked at in the order of [`SETTINGS`], then the names
/// in the order of the environment.
pub fn parse<N, V>(environment: impl IntoIterator<Item = (N, V)>) -> Result<Config, ConfigError>
where
    N: AsRef<OsStr>,
    V: AsRef<OsStr>,
{
    let (config, errors) = check(environment);
    match errors.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(config),
    }
}

/// As [`parse`], with everything that is wrong, and a configuration of what is not.
pub fn check<N, V>(environment: impl IntoIterator<Item = (N, V)>) -> (Config, Vec<ConfigError>)
where
    N: AsRef<OsStr>,
    V: AsRef<OsStr>,
{
    let values = Values::collect(environment);
    let mut config = Config::DEFAULT;
    let mut errors = Vec::new();
    for (setting, value) in SETTINGS.iter().zip(&values.known) {
        if let Some(value) = value {
            let read = match setting.needs {
                [] => setting.read(value, &mut config),
                needed if needed.iter().any(|name| values.has(name)) => {
                    setting.read(value, &mut config)
                }
                needed => Err(ConfigError::useless(setting.name, value, needed)),
            };
            errors.extend(read.err());
        }
        if config.disable {
            return (config, errors);
        }
    }
    let unknown = values.unknown.iter();
    errors.extend(unknown.map(|name| ConfigError::unknown(name, nearest(name))));
    (config, errors)
}

/// The variables of our prefix.
#[derive(Default)]
struct Values {
    /// The value of each of [`SETTINGS`], unless empty.
    known: [Option<OsString>; SETTINGS.len()],
    /// The names that are in no table.
    unknown: Vec<OsString>,
}

impl Values {
    fn collect<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        environment: impl IntoIterator<Item = (N, V)>,
    ) -> Values {
        let mut values = Values::default();
        let mut seen = [false; SETTINGS.len()];
        for (name, value) in environment {
            let (name, value) = (name.as_ref(), value.as_ref());
            if !name.as_bytes().starts_with(PREFIX.as_bytes()) {
                continue;
            }
            match SETTINGS.iter().position(|setting| name == setting.name) {
                Some(i) if !seen[i] => {
                    seen[i] = true;
                    values.known[i] = (!value.is_empty()).then(|| value.to_owned());
                }
                Some(_) => {}
                None => values.unknown.push(name.to_owned()),
            }
        }
        values
    }

    fn has(&self, name: &str) -> bool {
        SETTINGS
            .iter()
            .zip(&self.known)
            .any(|(setting, value)| setting.name == name && value.is_some())
    }
}

/// The setting whose name is nearest to `name`.
fn nearest(name: &OsStr) -> &'static str {
    // The distance takes time in proportion to the name, which may be long.
    let start = &name.as_bytes()[..name.len().min(64)];
    let start = String::from_utf8_lossy(start);
    SETTINGS
        .iter()
        .map(|setting| setting.name)
        .min_by_key(|known| strsim::levenshtein(known, &start))
        .unwrap_or(PREFIX)
}
