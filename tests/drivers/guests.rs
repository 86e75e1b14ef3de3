//! One test of every guest program, event loop and number of hubs, by the names
//! `program::loop` and `program::loop_2_hubs`.
//!
//! Several parts of names may be given, where `libtest_mimic` alone takes one; an
//! option's value must be joined to it by `=`.
//!
//! `GEVENT_TESTS_REPEAT=N` runs each program N times preloaded, and each has to do what the
//! one bare run did. With `GEVENT_TESTS_CHAOS=SEED` the first is scheduled from that seed,
//! the second from the next.

use gevent_tests::guest::{Built, Guest};
use gevent_tests::library;
use gevent_tests::mode::{self, EventLoop, Mode, catching_available};
use gevent_tests::oracle::{self, Demands};
use gevent_tests::run::{self, Outcome};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

/// How many hubs a program is run with.
const HUBS: [usize; 2] = [1, 2];

/// Guest programs that Cargo builds: name and executable.
const BUILT_BY_CARGO: [(&str, &str); 2] = [
    ("rust_parking_lot", env!("CARGO_BIN_EXE_rust_parking_lot")),
    ("rust_rayon", env!("CARGO_BIN_EXE_rust_rayon")),
];

/// Reports of a repeated program that are told in full.
const TOLD: usize = 3;

/// The number in a variable of the tests' own.
fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{name}={value:?}: not a number")))
}

/// A guest program with what its tests share: one executable and one bare run.
struct Subject {
    guest: Guest,
    built: OnceLock<Result<Built, String>>,
    bare: OnceLock<Result<Outcome, String>>,
}

impl Subject {
    fn built(&self) -> Result<&Built, String> {
        let built = self.built.get_or_init(|| {
            let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
            self.guest
                .build(&directory)
                .map_err(|error| error.to_string())
        });
        built.as_ref().map_err(Clone::clone)
    }

    fn run(&self, mode: &Mode, seed: Option<u64>) -> Result<Outcome, String> {
        let directives = &self.guest.directives;
        let mut command = self.built()?.command();
        mode.apply(&mut command);
        if let Some(seed) = seed {
            command.env("GEVENT_SHIM_CHAOS", seed.to_string());
        }
        if mode.is_preloaded() {
            let settings = directives.settings.iter();
            command.envs(settings.filter_map(|setting| setting.split_once('=')));
        }
        run::run(&mut command, directives.limit, directives.hold)
            .map_err(|error| format!("cannot run it: {error}"))
    }

    const fn demands(&self, event_loop: Option<EventLoop>, hubs: usize) -> Demands {
        Demands {
            event_loop,
            hubs,
            end: self.guest.directives.end,
            counts_threads: self.guest.directives.hold,
        }
    }

    fn bare(&self) -> Result<&Outcome, String> {
        let bare = self.bare.get_or_init(|| {
            let outcome = self.run(&Mode::Bare, None)?;
            oracle::check_bare(&outcome, self.demands(None, 1))?;
            Ok(outcome)
        });
        bare.as_ref().map_err(Clone::clone)
    }

    /// Runs it preloaded as often as is asked for.
    fn check_preloaded(&self, event_loop: EventLoop, hubs: usize) -> Result<(), String> {
        let mode = Mode::Preloaded {
            library: library::find()?,
            event_loop,
            hubs,
        };
        let demands = self.demands(Some(event_loop), hubs);
        let times = setting("GEVENT_TESTS_REPEAT").unwrap_or(1);
        let seed = setting("GEVENT_TESTS_CHAOS");
        let mut failed = 0;
        let mut reports = String::new();
        for time in 0..times {
            let seed = seed.map(|seed| seed.wrapping_add(time));
            let Err(report) = self.check_once(&mode, demands, seed) else {
                continue;
            };
            failed += 1;
            if failed <= TOLD {
                let number = (times > 1).then(|| format!("run {} of {times}:\n", time + 1));
                let seed = seed.map(|seed| format!("with GEVENT_SHIM_CHAOS={seed}:\n"));
                reports.extend([number.unwrap_or_default(), seed.unwrap_or_default(), report]);
                reports.push('\n');
            }
        }
        match failed {
            0 => Ok(()),
            _ if times > 1 => Err(format!("{reports}{failed} of {times} runs failed")),
            _ => Err(reports),
        }
    }

    fn check_once(&self, mode: &Mode, demands: Demands, seed: Option<u64>) -> Result<(), String> {
        if self.guest.directives.preloaded_only {
            oracle::check_alone(&self.run(mode, seed)?, demands)
        } else {
            oracle::compare(self.bare()?, &self.run(mode, seed)?, demands)
        }
    }
}

fn main() -> ExitCode {
    let (options, parts): (Vec<_>, Vec<_>) =
        std::env::args().partition(|word| word.starts_with('-'));
    // The first of the words is the driver's own name.
    let (driver, parts) = parts.split_at(parts.len().min(1));
    let arguments = Arguments::from_iter(driver.iter().chain(&options));
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
    let built = BUILT_BY_CARGO
        .iter()
        .map(|(name, executable)| Guest::built_by_cargo(&sources, name, executable));
    let guests = Guest::discover(&sources)
        .and_then(|guests| Ok((guests, built.collect::<std::io::Result<Vec<_>>>()?)));
    let guests = match guests {
        Ok((guests, built)) => guests.into_iter().chain(built),
        Err(error) => {
            eprintln!("cannot list {}: {error}", sources.display());
            return ExitCode::FAILURE;
        }
    };
    let mut trials = Vec::new();
    for guest in guests {
        let subject = Arc::new(Subject {
            guest,
            built: OnceLock::new(),
            bare: OnceLock::new(),
        });
        if !subject.guest.directives.preloaded_only {
            let subject = Arc::clone(&subject);
            let name = format!("{}::bare", subject.guest.name);
            trials.push(Trial::test(name, move || {
                subject.bare().map(|_| ()).map_err(Failed::from)
            }));
        }
        let mut settings = subject.guest.directives.settings.iter();
        let can_catch = !settings.any(|set| set.contains("CATCH")) || catching_available();
        for (event_loop, hubs) in HUBS
            .into_iter()
            .filter(|&hubs| mode::hubs().is_none_or(|only| only == hubs))
            .flat_map(|hubs| EventLoop::ALL.map(|event_loop| (event_loop, hubs)))
        {
            let subject = Arc::clone(&subject);
            let mut name = format!("{}::{}", subject.guest.name, event_loop.name());
            if hubs > 1 {
                name += &format!("_{hubs}_hubs");
            }
            trials.push(
                Trial::test(name, move || {
                    subject
                        .check_preloaded(event_loop, hubs)
                        .map_err(Failed::from)
                })
                .with_ignored_flag(!event_loop.available() || !can_catch),
            );
        }
    }
    if !parts.is_empty() {
        trials.retain(|trial| {
            parts.iter().any(|part| match arguments.exact {
                true => trial.name() == part,
                false => trial.name().contains(part.as_str()),
            })
        });
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
