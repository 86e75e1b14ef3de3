//! The interface for programs that know of the hub. Each test runs in a process of its
//! own, in each mode: on kernel threads, patched by itself, and preloaded.

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};

mod basics;
mod kills;
mod many;
mod objects;
mod queues;
mod servers;

/// Names a test to the process that runs it.
const TEST: &str = "API_TEST";
/// Set if that process patches itself.
const PATCH: &str = "API_PATCH";
/// How long a test may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A test and its name.
pub type Test = (&'static str, fn());

/// Lists functions as tests.
#[macro_export]
macro_rules! tests {
    ($($name:ident)*) => {
        /// The tests of this file.
        pub const TESTS: &[$crate::Test] = &[$((stringify!($name), $name)),*];
    };
}

/// How a test runs.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Bare,
    Patched,
    Preloaded,
}

/// Whether greenlets are guests in this process.
pub fn on_hub() -> bool {
    gevent_shim::get_hub().is_running()
}

fn all() -> impl Iterator<Item = Test> {
    let files = [
        basics::TESTS,
        many::TESTS,
        kills::TESTS,
        objects::TESTS,
        queues::TESTS,
        servers::TESTS,
    ];
    files.into_iter().flatten().copied()
}

fn main() -> ExitCode {
    if let Ok(wanted) = std::env::var(TEST) {
        if std::env::var_os(PATCH).is_some() {
            gevent_shim::monkey::patch_all().expect("the program can be patched");
            assert!(on_hub());
        }
        let (_, test) = all().find(|(name, _)| *name == wanted).expect("a test");
        test();
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (name, _) in all() {
        for (mode, word) in [
            (Mode::Bare, "bare"),
            (Mode::Patched, "patched"),
            (Mode::Preloaded, "preloaded"),
        ] {
            let library = std::env::var_os("GEVENT_SHIM_LIB");
            let ignored = mode == Mode::Preloaded && library.is_none();
            let trial = Trial::test(format!("{name}::{word}"), move || {
                run(name, mode).map_err(Into::into)
            });
            trials.push(trial.with_ignored_flag(ignored));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run(name: &str, mode: Mode) -> Result<(), String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(own);
    // It would be a setting that does not exist.
    command.env_remove("GEVENT_SHIM_LIB");
    command.env(TEST, name).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    match mode {
        Mode::Bare => {}
        Mode::Patched => drop(command.env(PATCH, "1")),
        Mode::Preloaded => {
            let library = std::env::var_os("GEVENT_SHIM_LIB").ok_or("no library is named")?;
            command.env("LD_PRELOAD", library);
        }
    }
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let begin = Instant::now();
    let late = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(_) => break false,
            None if begin.elapsed() > LIMIT => {
                child.kill().map_err(|error| error.to_string())?;
                break true;
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    if output.status.success() && !late {
        return Ok(());
    }
    Err(format!(
        "{}{}\n{}",
        if late { "took too long: " } else { "" },
        output.status,
        String::from_utf8_lossy(&output.stderr)
    ))
}
