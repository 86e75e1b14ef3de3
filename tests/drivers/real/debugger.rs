//! gdb's backtrace from inside a blocking call reaches `main`.

use crate::{Scenario, fixture, told};
use gevent_tests::compile;
use gevent_tests::mode::Mode;
use gevent_tests::run::{self, End, Outcome};
use std::process::Command;
use std::time::Duration;

pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "real_gdb_backtrace",
    end: End::Exit(0),
    run: backtrace,
}];

/// The program's own functions in the backtrace, innermost first.
fn backtrace(mode: &Mode) -> Result<Outcome, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let program = directory.path().join("program");
    compile::build(&fixture("stopped_in_handler.c"), &[], &program)
        .map_err(|error| error.to_string())?;
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-ex", "set startup-with-shell off"]);
    gdb.args(["-ex", "handle SIGUSR1 nostop noprint pass"]);
    // Only the program runs preloaded, not gdb.
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
    Mode::Bare.apply(&mut gdb);
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
