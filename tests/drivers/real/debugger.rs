//! gdb's backtrace from inside a blocking call reaches `main`, and those of parked guests are
//! shown, of a live process and of a core.

use crate::{Scenario, fixture};
use gevent_tests::compile;
use gevent_tests::mode::Mode;
use gevent_tests::run::{self, End, Outcome};
use gevent_tests::serving::told;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "real_gdb_backtrace",
        end: End::Exit(0),
        run: backtrace,
    },
    Scenario {
        name: "real_gdb_guests",
        end: End::Exit(0),
        run: parked,
    },
    Scenario {
        name: "real_gdb_all_parked",
        end: End::Exit(0),
        run: all_parked,
    },
    Scenario {
        name: "real_gdb_core",
        end: End::Exit(0),
        run: core,
    },
    Scenario {
        name: "real_gdb_core_of_a_thread",
        end: End::Exit(0),
        run: core_of_a_thread,
    },
];

/// gdb, told to source the project's script.
fn gdb() -> Command {
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-ex", "set startup-with-shell off"]);
    gdb.args(["-ex", "set debuginfod enabled off"]);
    gdb.args(["-ex", "handle SIG32 nostop noprint pass"]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/gdb-guests.py");
    gdb.arg("-ex").arg(format!("source {}", script.display()));
    gdb
}

/// Has the program that gdb runs, and not gdb, run in this mode.
fn give_mode(gdb: &mut Command, mode: &Mode) {
    let mut environment = Command::new("env");
    mode.apply(&mut environment);
    for (name, value) in environment.get_envs() {
        if let Some(value) = value {
            gdb.arg("-ex").arg(format!(
                "set environment {} {}",
                name.display(),
                value.display()
            ));
        }
    }
    Mode::Bare.apply(gdb);
}

/// The command that shows what every thread of the program is in.
fn all_backtraces(mode: &Mode) -> &'static str {
    if mode.is_preloaded() {
        "guest apply all bt"
    } else {
        "thread apply all bt"
    }
}

/// Which of the program's functions the backtraces name.
fn functions_of(outcome: &Outcome) -> Result<Outcome, String> {
    for function in ["main (", "waits_for_semaphore (", "reads_pipe ("] {
        let named = |line: &str| line.starts_with('#') && line.contains(function);
        if !outcome.stdout.lines().any(named) {
            return Err(format!(
                "no backtrace names {function:?}\n{}\n{}",
                outcome.stdout, outcome.stderr
            ));
        }
    }
    Ok(told("every thread has a backtrace\n".to_owned()))
}

fn parked_program(directory: &Path) -> Result<PathBuf, String> {
    let program = directory.join("program");
    compile::build(&fixture("parked_guests.c"), &[], &program)
        .map_err(|error| error.to_string())?;
    Ok(program)
}

/// The backtraces of parked threads of a live process.
fn parked(mode: &Mode) -> Result<Outcome, String> {
    functions_of(&live(mode, "run")?)
}

/// The same where no thread runs: the one that gdb stops is in the hub.
fn all_parked(mode: &Mode) -> Result<Outcome, String> {
    let outcome = live(mode, "run outside")?;
    // The hub's own frames are no guest's.
    match outcome.stdout.split_once("Guest ") {
        Some((_, guests)) if guests.contains(" turn ()") => Err(outcome.stdout),
        _ => functions_of(&outcome),
    }
}

/// What gdb prints about the threads of a program that it has started with `run`.
fn live(mode: &Mode, run: &str) -> Result<Outcome, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let program = parked_program(directory.path())?;
    let mut gdb = gdb();
    give_mode(&mut gdb, mode);
    gdb.args(["-ex", run, "-ex", all_backtraces(mode), "-ex", "kill"])
        .arg(&program);
    run::run(&mut gdb, Duration::from_secs(120), false).map_err(|error| format!("gdb: {error}"))
}

/// What gdb prints for `commands` about the core that `program` leaves in `directory`. `None`
/// where the system gives cores to a program of its own: there is none to look at.
fn look_at_core(
    mode: &Mode,
    directory: &Path,
    program: &Path,
    command: &str,
) -> Result<Option<Outcome>, String> {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern")
        .map_err(|error| error.to_string())?;
    if pattern.trim() != "core" {
        return Ok(None);
    }
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -c unlimited && exec \"$0\""])
        .arg(program)
        .current_dir(directory);
    mode.apply(&mut shell);
    run::run(&mut shell, Duration::from_secs(60), false)
        .map_err(|error| format!("the program: {error}"))?;
    let core = std::fs::read_dir(directory)
        .map_err(|error| error.to_string())?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("core"))
        })
        .ok_or("there is no core")?;
    let mut gdb = gdb();
    Mode::Bare.apply(&mut gdb);
    gdb.args(["-ex", command]).arg(program).arg(&core);
    run::run(&mut gdb, Duration::from_secs(120), false)
        .map(Some)
        .map_err(|error| format!("gdb: {error}"))
}

/// The backtraces of parked threads in a core.
fn core(mode: &Mode) -> Result<Outcome, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let program = parked_program(directory.path())?;
    match look_at_core(mode, directory.path(), &program, all_backtraces(mode))? {
        Some(outcome) => functions_of(&outcome),
        None => Ok(told("every thread has a backtrace\n".to_owned())),
    }
}

/// The place where a thread died, in its core: what gdb shows without being told anything.
fn core_of_a_thread(mode: &Mode) -> Result<Outcome, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let program = directory.path().join("program");
    compile::build(&fixture("crashes_in_thread.c"), &[], &program)
        .map_err(|error| error.to_string())?;
    let Some(outcome) = look_at_core(mode, directory.path(), &program, "bt")? else {
        return Ok(told("the place is named\n".to_owned()));
    };
    let said = &outcome.stdout;
    let signal = said.contains("terminated with signal SIGSEGV");
    let place = |frame: &str, function: &str| {
        let own = |line: &str| line.starts_with(frame) && line.contains(function);
        said.lines().any(own)
    };
    if signal
        && place("#0 ", "follows_pointer (")
        && place("#1 ", "looks_around (")
        && place("#2 ", "works (")
    {
        Ok(told("the place is named\n".to_owned()))
    } else {
        Err(format!("gdb saw\n{said}\n{}", outcome.stderr))
    }
}

/// The program's own functions in the backtrace, innermost first.
fn backtrace(mode: &Mode) -> Result<Outcome, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let program = directory.path().join("program");
    compile::build(&fixture("stopped_in_handler.c"), &[], &program)
        .map_err(|error| error.to_string())?;
    let mut gdb = gdb();
    gdb.args(["-ex", "handle SIGUSR1 nostop noprint pass"]);
    give_mode(&mut gdb, mode);
    gdb.args(["-ex", "run", "-ex", "bt", "-ex", "kill"])
        .arg(&program);
    let outcome = run::run(&mut gdb, Duration::from_secs(120), false)
        .map_err(|error| format!("gdb: {error}"))?;
    let functions: Vec<&str> = outcome
        .stdout
        .lines()
        .filter(|line| line.starts_with('#'))
        .flat_map(|line| ["handler (", "parked_here (", "main ("].map(|name| (line, name)))
        .filter(|(line, name)| {
            line.contains(&format!(" {name}")) || line.contains(&format!("in {name}"))
        })
        .map(|(_, name)| name.trim_end_matches(" ("))
        .collect();
    if functions == ["handler", "parked_here", "main"] {
        Ok(told("handler, parked_here, main\n".to_owned()))
    } else {
        Err(format!(
            "gdb saw {functions:?}\n{}\n{}",
            outcome.stdout, outcome.stderr
        ))
    }
}
