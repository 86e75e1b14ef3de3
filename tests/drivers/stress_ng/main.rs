//! The stressors of stress-ng, bare and preloaded, by the names `stress_ng_family::mode`: each
//! verifies what it did, and its exit status is to be as bare.
//!
//! Those that make threads run alone, with both event loops and with one hub and with two. The
//! others, which the library lets be until they make one, run a family at a time.

mod stressors;

use gevent_tests::library;
use gevent_tests::mode::{self, EventLoop, Mode};
use gevent_tests::run::{self, End, Outcome};
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use stressors::{FAMILIES, THREADED};

/// For one run, which takes a second or two on an idle machine.
const LIMIT: Duration = Duration::from_secs(120);

/// How long a stressor runs.
const BRIEF: &str = "1s";

/// How long one runs that ended for want of resources: on a busy machine that brief time may be
/// over before its first thread is made.
const LONG: &str = "10s";
const NO_RESOURCE: End = End::Exit(3);

/// Processes of each stressor.
const INSTANCES: &str = "2";

/// How many hubs those with threads are run with.
const HUBS: [usize; 2] = [1, 2];

/// Stressors that run at once.
struct Subject {
    stressors: &'static [&'static str],
    bare: OnceLock<Result<End, String>>,
    /// Held while they run: some use ports of their own choice.
    running: Mutex<()>,
}

impl Subject {
    fn new(stressors: &'static [&'static str]) -> Arc<Self> {
        Arc::new(Self {
            stressors,
            bare: OnceLock::new(),
            running: Mutex::new(()),
        })
    }

    fn run(&self, mode: &Mode, duration: &str) -> Result<Outcome, String> {
        let _running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut command = Command::new("stress-ng");
        command.args(["--timeout", duration, "--verify", "--temp-path"]);
        command.arg(directory.path());
        // Little memory: what is looked for does not depend on it.
        command.args(["--vm-bytes", "16m", "--mmap-bytes", "16m"]);
        for stressor in self.stressors {
            command.args([&format!("--{stressor}"), INSTANCES]);
        }
        command.current_dir(directory.path());
        mode.apply(&mut command);
        run::run(&mut command, LIMIT, false)
            .map_err(|error| format!("cannot run stress-ng, which scripts/setup installs: {error}"))
    }

    fn bare(&self) -> Result<End, String> {
        let bare = self.bare.get_or_init(|| {
            let outcome = self.run(&Mode::Bare, BRIEF)?;
            match outcome.end {
                End::Exit(0) => Ok(outcome.end),
                end => Err(format!("bare, {end}\n{}", said(&outcome))),
            }
        });
        bare.clone()
    }

    fn check_preloaded(&self, event_loop: EventLoop, hubs: usize) -> Result<(), String> {
        let mode = Mode::Preloaded {
            library: library::find()?,
            event_loop,
            hubs,
        };
        let bare = self.bare()?;
        let mut outcome = self.run(&mode, BRIEF)?;
        if outcome.end == NO_RESOURCE {
            outcome = self.run(&mode, LONG)?;
        }
        if outcome.end == bare {
            return Ok(());
        }
        let end = outcome.end;
        Err(format!(
            "bare, {bare}; preloaded, {end}\n{}",
            said(&outcome)
        ))
    }
}

fn said(outcome: &Outcome) -> String {
    let at_time_limit = outcome.at_time_limit.as_deref().unwrap_or_default();
    format!("{}{}{at_time_limit}", outcome.stdout, outcome.stderr)
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    let threaded = THREADED
        .iter()
        .map(|stressor| (*stressor, std::slice::from_ref(stressor), &HUBS[..]));
    let families = FAMILIES
        .iter()
        .map(|&(family, stressors)| (family, stressors, &HUBS[..1]));
    for (name, stressors, hubs) in threaded.chain(families) {
        let subject = Subject::new(stressors);
        let name = name.replace('-', "_");
        let bare = Arc::clone(&subject);
        trials.push(Trial::test(format!("stress_ng_{name}::bare"), move || {
            bare.bare().map(|_| ()).map_err(Failed::from)
        }));
        let wanted = |hubs: &usize| mode::hubs().is_none_or(|only| only == *hubs);
        for hubs in hubs.iter().copied().filter(wanted) {
            for event_loop in EventLoop::ALL {
                let subject = Arc::clone(&subject);
                let mut name = format!("stress_ng_{name}::{}", event_loop.name());
                if hubs > 1 {
                    name += &format!("_{hubs}_hubs");
                }
                let trial = Trial::test(name, move || {
                    let checked = subject.check_preloaded(event_loop, hubs);
                    checked.map_err(Failed::from)
                });
                trials.push(trial.with_ignored_flag(!event_loop.available()));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
