//! The guest programs that set the machine's clock, by the names `program::loop`.
//!
//! They must run alone, and one after another: so they have a driver to themselves. Each sets
//! the clock by a few seconds for a moment and puts it right again; if one ends before that,
//! it is done here.
#![allow(unsafe_code)]

use gevent_tests::guest::{Built, Guest};
use gevent_tests::library;
use gevent_tests::mode::{self, EventLoop, Mode};
use gevent_tests::oracle::{self, Demands};
use gevent_tests::run::{self, Outcome};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

/// A clock in nanoseconds.
fn clock(id: libc::clockid_t) -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes to `time`.
    assert_eq!(unsafe { libc::clock_gettime(id, &mut time) }, 0);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// From CLOCK_MONOTONIC to CLOCK_REALTIME, in nanoseconds.
fn distance() -> i64 {
    let monotonic = clock(libc::CLOCK_MONOTONIC);
    clock(libc::CLOCK_REALTIME) - monotonic
}

/// Puts the clock right when it goes.
struct Right(i64);

impl Drop for Right {
    fn drop(&mut self) {
        // What a run leaves behind is a step; less is the work of a time server.
        const STEP: i64 = 300_000_000;
        if (distance() - self.0).abs() < STEP {
            return;
        }
        let now = clock(libc::CLOCK_MONOTONIC) + self.0;
        let time = libc::timespec {
            tv_sec: now / 1_000_000_000,
            tv_nsec: now % 1_000_000_000,
        };
        // SAFETY: a time of ours.
        if unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &time) } != 0 {
            eprintln!(
                "the clock is wrong and cannot be set: {}",
                std::io::Error::last_os_error()
            );
        }
    }
}

fn run(guest: &Guest, built: &Built, mode: &Mode) -> Result<Outcome, String> {
    let mut command = built.command();
    mode.apply(&mut command);
    let _right = Right(distance());
    run::run(&mut command, guest.directives.limit, false)
        .map_err(|error| format!("cannot run it: {error}"))
}

/// A guest program with its one bare run.
struct Subject {
    guest: Guest,
    bare: OnceLock<Result<(Built, Outcome), String>>,
}

impl Subject {
    fn bare(&self) -> Result<&(Built, Outcome), String> {
        let bare = self.bare.get_or_init(|| {
            let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clock");
            let built = self.guest.build(&directory);
            let built = built.map_err(|error| error.to_string())?;
            let outcome = run(&self.guest, &built, &Mode::Bare)?;
            oracle::check_bare(&outcome, Demands::default())?;
            Ok((built, outcome))
        });
        bare.as_ref().map_err(Clone::clone)
    }

    fn check_preloaded(&self, event_loop: EventLoop, hubs: usize) -> Result<(), String> {
        let mode = Mode::Preloaded {
            library: library::find()?,
            event_loop,
            hubs,
        };
        let (built, bare) = self.bare()?;
        let preloaded = run(&self.guest, built, &mode)?;
        oracle::compare(bare, &preloaded, Demands::default())
    }
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/clock");
    let guests = match Guest::discover(&sources) {
        Ok(guests) => guests,
        Err(error) => {
            eprintln!("cannot list {}: {error}", sources.display());
            return ExitCode::FAILURE;
        }
    };
    let mut trials = Vec::new();
    for guest in guests {
        let name = guest.name.clone();
        let subject = Arc::new(Subject {
            guest,
            bare: OnceLock::new(),
        });
        let bare = Arc::clone(&subject);
        trials.push(Trial::test(format!("{name}::bare"), move || {
            bare.bare().map(|_| ()).map_err(Failed::from)
        }));
        for (event_loop, hubs) in [1, 2]
            .into_iter()
            .filter(|&hubs| mode::hubs().is_none_or(|only| only == hubs))
            .flat_map(|hubs| EventLoop::ALL.map(|event_loop| (event_loop, hubs)))
        {
            let subject = Arc::clone(&subject);
            let mut name = format!("{name}::{}", event_loop.name());
            if hubs > 1 {
                name += &format!("_{hubs}_hubs");
            }
            let check = move || {
                subject
                    .check_preloaded(event_loop, hubs)
                    .map_err(Failed::from)
            };
            trials.push(Trial::test(name, check).with_ignored_flag(!event_loop.available()));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
