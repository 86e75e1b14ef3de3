//! Look-ups of names, bare and preloaded, against servers of our own: `scenario::mode`.
//!
//! Each run has a network and the files that decide about names to itself. Where the kernel lets us
//! make no namespaces, every test is ignored and says so.
#![allow(unsafe_code)]

mod namespace;
mod nscd;
mod scenarios;
mod server;

use gevent_tests::compile;
use gevent_tests::guest::Guest;
use gevent_tests::library;
use gevent_tests::mode::{EventLoop, Mode};
use gevent_tests::oracle::{self, Demands};
use gevent_tests::run::{self, Outcome};
use libtest_mimic::{Arguments, Failed, Trial};
use scenarios::{SCENARIOS, Scenario};
use std::net::UdpSocket;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// One run of a scenario.
pub struct Run {
    /// What came out.
    pub outcome: Outcome,
    /// From the program's start to its end.
    pub took: Duration,
    /// The events that were told.
    pub events: String,
}

/// Runs `scenario`, with what else is to be in the environment.
fn run(scenario: &'static Scenario, mode: &Mode, settings: &[(&str, &str)]) -> Result<Run, String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/names");
    let guests = Guest::discover(&sources).map_err(|error| error.to_string())?;
    let guest = guests
        .iter()
        .find(|guest| guest.name == scenario.program)
        .ok_or_else(|| format!("no program {}", scenario.program))?;
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("names");
    let built = guest.build(&directory).map_err(|error| error.to_string())?;
    let mut command = built.command();
    command.args(scenario.arguments);
    mode.apply(&mut command);
    for variable in ["LOCALDOMAIN", "RES_OPTIONS", "HOSTALIASES"] {
        command.env_remove(variable);
    }
    if let Some(module) = scenario.module {
        let source = sources.join("modules").join(module).with_extension("c");
        let output = directory.join(format!("libnss_{module}.so.2"));
        compile::build(&source, &["-shared".into(), "-fPIC".into()], &output)
            .map_err(|error| error.to_string())?;
        command.env("LD_LIBRARY_PATH", &directory);
    }
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let events = scratch.path().join("events");
    if mode.is_preloaded() {
        command.env("GEVENT_SHIM_EVENTS", "1");
        command.env("GEVENT_SHIM_EVENTS_FILE", &events);
        command.envs(settings.iter().copied());
    }
    // A namespace is a thread's own, and its children's.
    let ran = std::thread::scope(|scope| {
        let run = || -> std::io::Result<(Outcome, Duration)> {
            let _files = namespace::enter(&scenario.files)?;
            server::start(scenario.servers)?;
            let silent = scenario.silent.iter();
            let _silent = silent
                .map(|&address| UdpSocket::bind((address, 53)))
                .collect::<std::io::Result<Vec<_>>>()?;
            if scenario.has_nscd {
                nscd::start()?;
            }
            let begin = Instant::now();
            let outcome = run::run(&mut command, guest.directives.limit, false)?;
            Ok((outcome, begin.elapsed()))
        };
        scope.spawn(run).join()
    });
    let (outcome, took) = ran
        .map_err(|_| "the run panicked".to_owned())?
        .map_err(|error| format!("cannot run it: {error}"))?;
    let events = std::fs::read_to_string(events).unwrap_or_default();
    Ok(Run {
        outcome,
        took,
        events,
    })
}

/// A scenario with its one bare run.
struct Subject {
    scenario: &'static Scenario,
    bare: OnceLock<Result<Outcome, String>>,
}

impl Subject {
    fn bare(&self) -> Result<&Outcome, String> {
        let bare = self.bare.get_or_init(|| {
            let run = run(self.scenario, &Mode::Bare, &[])?;
            oracle::check_bare(&run.outcome, Demands::default())?;
            let said = &run.outcome.stdout;
            if !said.lines().any(|line| line == self.scenario.says) {
                let says = self.scenario.says;
                return Err(format!("bare, it does not say {says:?}:\n{said}"));
            }
            Ok(run.outcome)
        });
        bare.as_ref().map_err(Clone::clone)
    }

    fn check_preloaded(&self, event_loop: EventLoop) -> Result<(), String> {
        let mode = Mode::Preloaded {
            library: library::find()?,
            event_loop,
            hubs: gevent_tests::mode::hubs().unwrap_or(1),
        };
        let bare = self.bare()?;
        for case in self.scenario.cases {
            let run = run(self.scenario, &mode, case.settings)?;
            let told = |what: String| format!("with {:?}: {what}", case.settings);
            oracle::compare(bare, &run.outcome, Demands::default()).map_err(told)?;
            (case.check)(&run).map_err(told)?;
        }
        Ok(())
    }
}

/// Why this system lets us make no namespace, if it doesn't.
fn forbidden() -> Option<String> {
    if let Err(error) = namespace::become_root_of_own() {
        return Some(error.to_string());
    }
    let attempt = std::thread::spawn(|| namespace::enter(&SCENARIOS[0].files).map(drop));
    match attempt.join() {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the attempt panicked".to_owned()),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let forbidden = forbidden();
    if let Some(why) = &forbidden {
        eprintln!("names: every test is ignored, as no namespace can be made: {why}");
    }
    let mut trials = Vec::new();
    let mut add =
        |name: String, available: bool, body: Box<dyn FnOnce() -> Result<(), String> + Send>| {
            let trial = Trial::test(name, move || body().map_err(Failed::from));
            let trial = trial.with_ignored_flag(forbidden.is_some() || !available);
            trials.push(match &forbidden {
                Some(_) => trial.with_kind("no namespaces"),
                None => trial,
            });
        };
    for scenario in SCENARIOS {
        let subject = Arc::new(Subject {
            scenario,
            bare: OnceLock::new(),
        });
        let name = scenario.name;
        let bare = Arc::clone(&subject);
        let body = move || bare.bare().map(|_| ());
        add(format!("{name}::bare"), true, Box::new(body));
        for event_loop in EventLoop::ALL {
            let subject = Arc::clone(&subject);
            add(
                format!("{name}::{}", event_loop.name()),
                event_loop.available(),
                Box::new(move || subject.check_preloaded(event_loop)),
            );
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
