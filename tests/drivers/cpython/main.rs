//! CPython's own test-suite, bare and preloaded, by the names `cpython_module::mode`.
//!
//! A module is run bare once; what then fails preloaded that did not fail bare is an error, and so
//! is a case that did not run or was skipped. The modules of the full set are ignored unless asked
//! for (`scripts/cpython-suite`). `TEST_PYTHON` names another Python than the system's.

mod modules;
mod report;

use gevent_tests::library;
use gevent_tests::mode::{EventLoop, Mode};
use gevent_tests::run::{self, End, Outcome};
use libtest_mimic::{Arguments, Failed, Trial};
use modules::{MODULES, Module, Set};
use report::Report;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// For one module in one mode; the longest takes three minutes on an idle machine.
const LIMIT: Duration = Duration::from_secs(1200);

/// Environment variable that names the Python whose tests are run.
const VARIABLE: &str = "TEST_PYTHON";

/// What `python3 -m test` returns when all passed, and when some failed.
const ENDS: [End; 2] = [End::Exit(0), End::Exit(2)];

/// A Python that has its test-suite.
fn python() -> Result<PathBuf, String> {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let candidates = match named {
        Some(path) => vec![path],
        None => vec!["/usr/bin/python3".into(), "python3".into()],
    };
    let has_tests = |python: &PathBuf| {
        Command::new(python)
            .args(["-c", "import test.test_socket"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let tried = format!("{candidates:?}");
    candidates.into_iter().find(has_tests).ok_or_else(|| {
        format!(
            "none of {tried} has CPython's test-suite: scripts/setup installs it, or name another \
             Python in {VARIABLE}"
        )
    })
}

/// Modules that use a name of the whole machine: the host's, or an abstract socket's.
const ONE_AT_A_TIME: &[&str] = &["test_socket"];

/// Held by who runs one of these.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs a module.
fn run(module: &Module, mode: &Mode) -> Result<Outcome, String> {
    let alone = ONE_AT_A_TIME.contains(&module.name);
    let _alone = alone.then(|| ALONE.lock().unwrap_or_else(PoisonError::into_inner));
    let temporary = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut command = Command::new(python()?);
    if module.beside_a_thread {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("real/cpython_tests.py");
        command.arg(script);
    } else {
        command.args(["-m", "test"]);
    }
    // Sockets to this machine count as network too.
    command.args(["-v", "-u", "network", "--tempdir"]);
    command.arg(temporary.path());
    for (case, _) in module.left_out {
        command.args(["-i", case]);
    }
    command.arg(module.name);
    mode.apply(&mut command);
    run::run(&mut command, LIMIT, false)
        .map_err(|error| format!("cannot run {}: {error}", module.name))
}

/// Last lines of what a run wrote.
fn tail(outcome: &Outcome) -> String {
    let all: Vec<&str> = outcome
        .stdout
        .lines()
        .chain(outcome.stderr.lines())
        .collect();
    let from = all.len().saturating_sub(60);
    format!(
        "{}\n{}",
        all[from..].join("\n"),
        outcome.at_time_limit.as_deref().unwrap_or_default()
    )
}

fn report_of(outcome: &Outcome) -> Report {
    Report::read(&format!("{}\n{}", outcome.stdout, outcome.stderr))
}

/// Runs a module bare: the oracle.
fn bare(module: &Module) -> Result<Report, String> {
    let outcome = run(module, &Mode::Bare)?;
    let report = report_of(&outcome);
    if !ENDS.contains(&outcome.end) || report.ran <= report.skipped {
        return Err(format!(
            "{} is no oracle: bare, {} after {} cases\n{}",
            module.name,
            outcome.end,
            report.ran,
            tail(&outcome)
        ));
    }
    Ok(report)
}

fn check(module: &Module, bare: &Report, event_loop: EventLoop) -> Result<(), String> {
    let mode = Mode::Preloaded {
        library: library::find()?,
        event_loop,
        hubs: gevent_tests::mode::hubs().unwrap_or(1),
    };
    let outcome = run(module, &mode)?;
    let mut worse = bare.worse(&report_of(&outcome));
    if !ENDS.contains(&outcome.end) {
        worse.push(format!("preloaded: {}", outcome.end));
    }
    if worse.is_empty() {
        return Ok(());
    }
    Err(format!("{}\n{}", worse.join("\n"), tail(&outcome)))
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = vec![Trial::test("cpython_report_is_read", || {
        report::check_reading().map_err(Failed::from)
    })];
    for module in MODULES {
        let oracle: Arc<OnceLock<Result<Report, String>>> = Arc::default();
        let ignored = module.set == Set::Full;
        let shared = Arc::clone(&oracle);
        trials.push(
            Trial::test(format!("cpython_{}::bare", module.name), move || {
                let report = shared.get_or_init(|| bare(module)).clone();
                report.map(|_| ()).map_err(Failed::from)
            })
            .with_ignored_flag(ignored),
        );
        for event_loop in EventLoop::ALL {
            let available = event_loop.available();
            // Asking for the full set does not make the kernel give a loop.
            if !available && (arguments.include_ignored || arguments.ignored) {
                continue;
            }
            let shared = Arc::clone(&oracle);
            let name = format!("cpython_{}::{}", module.name, event_loop.name());
            trials.push(
                Trial::test(name, move || {
                    let oracle = shared.get_or_init(|| bare(module)).clone()?;
                    check(module, &oracle, event_loop).map_err(Failed::from)
                })
                .with_ignored_flag(ignored || !available),
            );
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
