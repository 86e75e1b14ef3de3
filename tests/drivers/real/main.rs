//! Programs nobody wrote for us, bare and preloaded, by the names `real_program::mode`.
//!
//! A scenario starts what it needs in the mode it is given, and tells what came out as one
//! [`Outcome`] of text that does not depend on timing. Bare is run once and is the oracle.

mod browser;
mod daemons;
mod databases;
mod debugger;
mod office;
mod python;
mod redis;
mod runtimes;
mod tools;
mod web;
mod web_servers;

use gevent_tests::library;
use gevent_tests::mode::{EventLoop, Mode};
use gevent_tests::oracle::{self, Demands};
use gevent_tests::run::{End, Outcome};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

/// One scenario.
pub struct Scenario {
    /// Its name, which starts with `real_`.
    pub name: &'static str,
    /// How it ends bare.
    pub end: End,
    /// Runs it.
    pub run: fn(&Mode) -> Result<Outcome, String>,
}

/// A file beside the drivers that scenarios use.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("real")
        .join(name)
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let families = [
        python::SCENARIOS,
        redis::SCENARIOS,
        web::SCENARIOS,
        tools::SCENARIOS,
        debugger::SCENARIOS,
        runtimes::SCENARIOS,
        daemons::SCENARIOS,
        web_servers::SCENARIOS,
        databases::SCENARIOS,
        browser::SCENARIOS,
        office::SCENARIOS,
    ];
    let mut trials = Vec::new();
    for scenario in families.into_iter().flatten() {
        let bare: Arc<OnceLock<Result<Outcome, String>>> = Arc::default();
        let demands = Demands {
            end: scenario.end,
            ..Demands::default()
        };
        let oracle_of = move |bare: &OnceLock<Result<Outcome, String>>| {
            bare.get_or_init(|| {
                let outcome = (scenario.run)(&Mode::Bare)?;
                oracle::check_bare(&outcome, demands)?;
                Ok(outcome)
            })
            .clone()
        };
        let shared = Arc::clone(&bare);
        trials.push(Trial::test(format!("{}::bare", scenario.name), move || {
            oracle_of(&shared).map(|_| ()).map_err(Failed::from)
        }));
        for event_loop in EventLoop::ALL {
            let shared = Arc::clone(&bare);
            let name = format!("{}::{}", scenario.name, event_loop.name());
            let check = move || -> Result<(), String> {
                let mode = Mode::Preloaded {
                    library: library::find()?,
                    event_loop,
                    hubs: gevent_tests::mode::hubs().unwrap_or(1),
                };
                let expected = oracle_of(&shared)?;
                oracle::compare(&expected, &(scenario.run)(&mode)?, demands)
            };
            trials.push(
                Trial::test(name, move || check().map_err(Failed::from))
                    .with_ignored_flag(!event_loop.available()),
            );
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
