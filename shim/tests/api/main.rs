//! The interface for programs that know of the hub. Each test runs in a process of its
//! own, in each mode: on kernel threads, patched by itself, preloaded, and preloaded with
//! two hubs.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};

mod bad_input;
mod basics;
mod fork;
mod hubs;
mod kills;
mod late;
mod many;
mod objects;
mod patching;
mod queues;
mod servers;

/// Names a test to the process that runs it.
const TEST: &str = "API_TEST";
/// Set if that process patches itself.
const PATCH: &str = "API_PATCH";
/// Says how many hubs the library runs.
const HUBS: &str = "GEVENT_SHIM_HUBS";
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
    TwoHubs,
}

/// Whether greenlets are guests in this process.
pub fn on_hub() -> bool {
    gevent_shim::get_hub().is_running()
}

const MODES: [(Mode, &str); 4] = [
    (Mode::Bare, "bare"),
    (Mode::Patched, "patched"),
    (Mode::Preloaded, "preloaded"),
    (Mode::TwoHubs, "preloaded_2_hubs"),
];

/// The tests and the modes in which they run: those of patching do it themselves.
fn all() -> impl Iterator<Item = (Test, &'static [(Mode, &'static str)])> {
    let files: [(&[Test], &'static [_]); 11] = [
        (basics::TESTS, &MODES),
        (many::TESTS, &MODES),
        (kills::TESTS, &MODES),
        (hubs::TESTS, &MODES),
        (objects::TESTS, &MODES),
        (queues::TESTS, &MODES),
        (servers::TESTS, &MODES),
        (bad_input::TESTS, &MODES),
        (fork::TESTS, &MODES),
        (patching::TESTS, &MODES[..1]),
        (late::TESTS, &MODES[..1]),
    ];
    let files = files.into_iter();
    files.flat_map(|(tests, modes)| tests.iter().map(move |&test| (test, modes)))
}

/// The guide's table of what gevent documents names a test in each row, which there is.
fn every_row_of_the_guide_has_a_test() -> Result<(), Failed> {
    let guide = include_str!("../../src/guide.rs");
    let (_, table) = guide.split_once("| gevent says |").ok_or("no table")?;
    let rows: Vec<_> = table
        .lines()
        .skip(2)
        .map_while(|line| line.strip_prefix("//! |"))
        .collect();
    if rows.len() < 30 {
        return Err(format!("{} rows", rows.len()).into());
    }
    for row in rows {
        let tests = row.trim_end_matches('|').rsplit('|').next().unwrap_or("");
        let mut names = tests.split(',').map(|name| name.trim().trim_matches('`'));
        if let Some(name) = names.find(|name| !all().any(|((known, _), _)| known == *name)) {
            return Err(format!("there is no test {name:?}: {row}").into());
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    if let Ok(wanted) = std::env::var(TEST) {
        if std::env::var_os(PATCH).is_some() {
            gevent_shim::monkey::patch_all().expect("the program can be patched");
            assert!(on_hub());
        }
        let ((_, test), _) = all()
            .find(|((name, _), _)| *name == wanted)
            .expect("a test");
        test();
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    let mut trials = vec![Trial::test(
        "every_row_of_the_guide_has_a_test",
        every_row_of_the_guide_has_a_test,
    )];
    for ((name, _), modes) in all() {
        for &(mode, word) in modes {
            let library = std::env::var_os("GEVENT_SHIM_LIB");
            let preloaded = matches!(mode, Mode::Preloaded | Mode::TwoHubs);
            let ignored = preloaded && library.is_none();
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
    command.process_group(0);
    match mode {
        Mode::Bare => {}
        Mode::Patched => drop(command.env(PATCH, "1")),
        Mode::Preloaded | Mode::TwoHubs => {
            if mode == Mode::TwoHubs {
                command.env(HUBS, "2");
            }
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
                // Its forked children too, or they keep the pipes open.
                // SAFETY: the group of the child, which has not been waited for.
                #[allow(unsafe_code)]
                unsafe {
                    libc::kill(-(child.id() as i32), libc::SIGKILL);
                }
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
