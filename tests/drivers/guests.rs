//! One test of every guest program, event loop and number of hubs, by the names
//! `program::loop` and `program::loop_2_hubs`.
//!
//! Several parts of names may be given, where `libtest_mimic` alone takes one; an
//! option's value must be joined to it by `=`.
//!
//! `GEVENT_TESTS_REPEAT=N` runs each program N times preloaded, and each has to do what the
//! one bare run did. With `GEVENT_TESTS_CHAOS=SEED` the first is scheduled from that seed,
//! the second from the next.

use gevent_tests::guest::Guest;
use gevent_tests::mode::{self, EventLoop, catching_available};
use gevent_tests::root::Root;
use gevent_tests::subject::{Repetition, Subject};
use gevent_tests::trials::Choice;
use libtest_mimic::{Failed, Trial};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// How many hubs a program is run with.
const HUBS: [usize; 2] = [1, 2];

/// Guest programs that Cargo builds: name and executable.
const BUILT_BY_CARGO: [(&str, &str); 2] = [
    ("rust_parking_lot", env!("CARGO_BIN_EXE_rust_parking_lot")),
    ("rust_rayon", env!("CARGO_BIN_EXE_rust_rayon")),
];

/// The number in a variable of the tests' own.
fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{name}={value:?}: not a number")))
}

fn main() -> ExitCode {
    let choice = Choice::from_args();
    let repetition = Repetition {
        times: setting("GEVENT_TESTS_REPEAT").unwrap_or(1),
        seed: setting("GEVENT_TESTS_CHAOS"),
    };
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
    let by_cargo = BUILT_BY_CARGO
        .iter()
        .map(|(name, executable)| Guest::built_by_cargo(&sources, name, executable));
    let guests = Guest::discover(&sources)
        .and_then(|guests| Ok((guests, by_cargo.collect::<std::io::Result<Vec<_>>>()?)));
    let guests = match guests {
        Ok((guests, by_cargo)) => guests.into_iter().chain(by_cargo),
        Err(error) => {
            eprintln!("cannot list {}: {error}", sources.display());
            return ExitCode::FAILURE;
        }
    };
    let mut trials = Vec::new();
    for guest in guests {
        let subject = Arc::new(Subject::new(guest, Root::machine(), built.clone()));
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
                        .check_preloaded(event_loop, hubs, repetition)
                        .map_err(Failed::from)
                })
                .with_ignored_flag(!event_loop.available() || !can_catch),
            );
        }
    }
    choice.retain(&mut trials);
    libtest_mimic::run(&choice.arguments, trials).exit_code()
}
