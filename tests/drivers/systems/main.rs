//! The guest programs, Python, a database and a web server of other systems, with their libc, by the
//! names `suite::program::mode`.
//!
//! debootstrap installs each system once ([`install`]); its programs run in its root directory, with
//! this process's mounts ([`mounts`]). Guest programs are compiled there, too. Where there
//! is no debootstrap, or we are not root, every test is ignored, and says so; with `CI` set, root is
//! told of a failure.
//!
//! A program runs with one pair of event loop and number of hubs a system, another one in each,
//! and [`SLOW`] ones do not. `GEVENT_TESTS_SYSTEMS=all` asks for everything, and for releases of
//! Ubuntu.

mod doctor;
mod install;
mod mounts;
mod programs;

use gevent_tests::guest::Guest;
use gevent_tests::library;
use gevent_tests::mode::{EventLoop, Mode, catching_available};
use gevent_tests::oracle::{self, Demands};
use gevent_tests::root::Root;
use gevent_tests::run::Outcome;
use gevent_tests::serving::is_root;
use gevent_tests::subject::{Repetition, Subject};
use gevent_tests::trials::Choice;
use install::Installed;
use libtest_mimic::{Failed, Trial};
use programs::{PROGRAMS, Program};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, OnceLock};

/// Whose release a system is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Of which every release is tested.
    Debian,
    /// Its libc is built for control-flow enforcement. Only where everything is asked for.
    Ubuntu,
}

/// A release.
pub struct System {
    /// Whose.
    pub origin: Origin,
    /// Its name at the mirror.
    pub suite: &'static str,
    /// Packages with its database and web server.
    pub packages: &'static [&'static str],
    /// Guest programs, by name or ending, that it can't compile or run, and why.
    without: &'static [(&'static str, &'static str)],
}

static SYSTEMS: [System; 5] = [
    System {
        origin: Origin::Debian,
        suite: "bullseye",
        packages: &[
            "mariadb-server-core-10.5",
            "mariadb-client-core-10.5",
            "nginx-light",
        ],
        without: &[
            (
                "rs",
                "rustc links for the libc of the machine, which is newer",
            ),
            ("cpp_std_threads", "no <latch> in its standard library"),
            ("cpp_sync", "no <barrier> in its standard library"),
            ("io_uring_own", "rings of Linux 6.1 are not in its headers"),
            (
                "limit_pool",
                "refuses clone(2), by which this libc makes threads, so bare it fails",
            ),
            ("net_vsock", "an option of Linux 5.14 is not in its headers"),
            (
                "process_fork_locks",
                "bare, a child of a thread can't open an object that another one was opening",
            ),
            ("catch_fork_locks", "as process_fork_locks"),
        ],
    },
    System {
        origin: Origin::Debian,
        suite: "trixie",
        packages: &["mariadb-server-core", "mariadb-client-core", "nginx"],
        without: &[],
    },
    System {
        origin: Origin::Debian,
        suite: "sid",
        packages: &["mariadb-server-core", "mariadb-client-core", "nginx"],
        without: &[
            (
                "limit_address_space",
                "bare, its malloc goes on for minutes where no memory is left",
            ),
            ("limit_address_space_left", "as limit_address_space"),
        ],
    },
    System {
        origin: Origin::Ubuntu,
        suite: "jammy",
        packages: &[
            "mariadb-server-core-10.6",
            "mariadb-client-core-10.6",
            "nginx-light",
        ],
        without: &[(
            "rs",
            "rustc links for the libc of the machine, which is newer",
        )],
    },
    System {
        origin: Origin::Ubuntu,
        suite: "noble",
        packages: &["mariadb-server-core", "mariadb-client-core", "nginx-light"],
        without: &[],
    },
];

/// Pairs of event loop and number of hubs.
const PAIRS: [(EventLoop, usize); 4] = [
    (EventLoop::IoUring, 1),
    (EventLoop::Epoll, 2),
    (EventLoop::IoUring, 2),
    (EventLoop::Epoll, 1),
];

/// Guest programs that run only when everything is asked for, and why.
const SLOW: &[(&str, &str)] = &[
    (
        "threads_two_hundred_thousand",
        "9 s of computing, about no part of libc that others are not about",
    ),
    (
        "preempt_whole_results",
        "7 s of computing, about the kernel's results",
    ),
    (
        "leak_processes",
        "2 s of computing, about what of our own is left over",
    ),
];

/// Whether everything is asked for.
fn everything() -> bool {
    std::env::var_os("GEVENT_TESTS_SYSTEMS").is_some_and(|asked| asked == "all")
}

/// The system with that place in [`SYSTEMS`] while its tests run.
type Ready = Arc<OnceLock<Result<(Root, Installed), String>>>;

fn root_of(ready: &Ready) -> Result<&Root, String> {
    match ready.get() {
        Some(Ok((root, _))) => Ok(root),
        Some(Err(error)) => Err(error.clone()),
        None => Err("the system was not installed".to_owned()),
    }
}

/// Where the executables for a system are.
fn built(suite: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("systems/built")
        .join(suite)
}

/// Installs a system, and mounts what its programs need.
fn prepare(system: &System) -> Result<(Root, Installed), String> {
    let installed = install::install(system)?;
    let library = library::find()?;
    let launcher = library.with_file_name("gevent-shim");
    let built = built(system.suite);
    std::fs::create_dir_all(&built).map_err(|error| format!("{}: {error}", built.display()))?;
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    mounts::prepare(&installed.directory, &[tests, &built, &library, &launcher])?;
    Ok((Root::at(&installed.directory), installed))
}

/// Why no system can be installed or run here, if none can.
fn impossible() -> Option<String> {
    if !is_root() {
        return Some("only root can install a system".to_owned());
    }
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.arg("--version").stdout(Stdio::null());
    if let Err(error) = debootstrap.status() {
        return Some(format!("debootstrap: {error}"));
    }
    let error = mounts::separate().err()?;
    Some(format!("no mount namespace can be made: {error}"))
}

/// The tests of one system, each added by its name.
struct Tests<'a> {
    choice: &'a Choice,
    system: &'static System,
    index: usize,
    ready: Ready,
    ignored: bool,
    trials: Vec<Trial>,
}

impl Tests<'_> {
    fn add(
        &mut self,
        name: &str,
        available: bool,
        body: impl FnOnce(&Ready) -> Result<(), String> + Send + 'static,
    ) {
        let name = format!("{}::{name}", self.system.suite);
        if !self.choice.has(&name) {
            return;
        }
        let ready = Arc::clone(&self.ready);
        let trial = Trial::test(name, move || body(&ready).map_err(Failed::from));
        self.trials
            .push(trial.with_ignored_flag(self.ignored || !available));
    }

    /// The pairs that the program with this number runs with, and their names.
    fn pairs(&self, number: usize) -> impl Iterator<Item = (EventLoop, usize, String)> + use<> {
        let only = (!everything()).then_some((number + self.index) % PAIRS.len());
        let pairs = PAIRS.iter().enumerate();
        pairs
            .filter(move |(place, _)| only.is_none_or(|only| only == *place))
            .map(|(_, &(event_loop, hubs))| {
                let name = event_loop.name();
                let name = match hubs {
                    1 => name.to_owned(),
                    _ => format!("{name}_{hubs}_hubs"),
                };
                (event_loop, hubs, name)
            })
    }

    fn program(&mut self, number: usize, program: &'static Program) {
        let bare: Arc<OnceLock<Result<Outcome, String>>> = Arc::default();
        let oracle_of = |bare: &OnceLock<Result<Outcome, String>>, root: &Root| {
            bare.get_or_init(|| {
                let outcome = (program.run)(root, &Mode::Bare)?;
                oracle::check_bare(&outcome, Demands::default())?;
                Ok(outcome)
            })
            .clone()
        };
        let shared = Arc::clone(&bare);
        let name = program.name;
        self.add(&format!("{name}::bare"), true, move |ready| {
            oracle_of(&shared, root_of(ready)?).map(drop)
        });
        for (event_loop, hubs, pair) in self.pairs(number) {
            let shared = Arc::clone(&bare);
            let available = event_loop.available();
            self.add(&format!("{name}::{pair}"), available, move |ready| {
                let root = root_of(ready)?;
                let mode = Mode::Preloaded {
                    library: library::find()?,
                    event_loop,
                    hubs,
                };
                let expected = oracle_of(&shared, root)?;
                oracle::compare(&expected, &(program.run)(root, &mode)?, Demands::default())
            });
        }
    }

    fn guest(&mut self, number: usize, guest: &Guest) {
        let ending = guest.source.extension().unwrap_or_default();
        let is_slow = SLOW.iter().any(|(name, _)| *name == guest.name);
        let mut without = self.system.without.iter();
        let is_without = without.any(|(what, _)| ending == *what || guest.name == *what);
        if is_without || (is_slow && !everything()) {
            return;
        }
        let name = guest.name.clone();
        let mut settings = guest.directives.settings.iter();
        let can_catch = !settings.any(|set| set.contains("CATCH")) || catching_available();
        let preloaded_only = guest.directives.preloaded_only;
        let suite = self.system.suite;
        let program = Arc::new(OnTheSystem {
            guest: guest.clone(),
            subject: OnceLock::new(),
        });
        if !preloaded_only {
            let program = Arc::clone(&program);
            self.add(&format!("{name}::bare"), true, move |ready| {
                program.subject(suite, root_of(ready)?).bare().map(drop)
            });
        }
        for (event_loop, hubs, pair) in self.pairs(number) {
            let program = Arc::clone(&program);
            let available = event_loop.available() && can_catch;
            self.add(&format!("{name}::{pair}"), available, move |ready| {
                let subject = program.subject(suite, root_of(ready)?);
                subject.check_preloaded(event_loop, hubs, Repetition::ONCE)
            });
        }
    }
}

/// A guest program, whose tests' subject is known once the system is there.
struct OnTheSystem {
    guest: Guest,
    subject: OnceLock<Subject>,
}

impl OnTheSystem {
    fn subject(&self, suite: &str, root: &Root) -> &Subject {
        self.subject
            .get_or_init(|| Subject::new(self.guest.clone(), root.clone(), built(suite)))
    }
}

fn main() -> ExitCode {
    let choice = Choice::from_args();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
    let guests = match Guest::discover(&sources) {
        Ok(guests) => guests,
        Err(error) => {
            eprintln!("cannot list {}: {error}", sources.display());
            return ExitCode::FAILURE;
        }
    };
    let listing = choice.arguments.list;
    let impossible = if listing { None } else { impossible() };
    if let Some(why) = &impossible {
        // Only root can enter another system; whatever else is missing can be installed.
        if is_root() && std::env::var_os("CI").is_some_and(|set| !set.is_empty()) {
            eprintln!("systems: {why}");
            return ExitCode::FAILURE;
        }
        eprintln!("systems: EVERY TEST IS IGNORED, NO OTHER GLIBC IS TESTED: {why}");
    }
    let mut trials = Vec::new();
    let mut wanted = Vec::new();
    let chosen = SYSTEMS
        .iter()
        .filter(|system| system.origin == Origin::Debian || everything());
    for (index, system) in chosen.enumerate() {
        let mut tests = Tests {
            choice: &choice,
            system,
            index,
            ready: Arc::default(),
            ignored: impossible.is_some(),
            trials: Vec::new(),
        };
        let suite = system.suite;
        tests.add("doctor", true, move |ready| {
            doctor::check(suite, root_of(ready)?)
        });
        for (number, program) in PROGRAMS.iter().enumerate() {
            tests.program(number, program);
        }
        for (number, guest) in guests.iter().enumerate() {
            tests.guest(number, guest);
        }
        if !tests.trials.is_empty() {
            wanted.push((system, Arc::clone(&tests.ready)));
        }
        trials.append(&mut tests.trials);
    }
    if impossible.is_none() && !listing {
        std::thread::scope(|scope| {
            for (system, ready) in &wanted {
                scope.spawn(|| ready.get_or_init(|| prepare(system)));
            }
        });
    }
    let conclusion = libtest_mimic::run(&choice.arguments, trials);
    doctor::print();
    conclusion.exit_code()
}
