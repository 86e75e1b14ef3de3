//! Other languages' threads: Java, Ruby, Perl, Erlang, OpenMP, TBB; what they do at
//! SIGTERM; and Valgrind, which watches threads.

use crate::{Scenario, fixture, python};
use gevent_tests::compile;
use gevent_tests::mode::Mode;
use gevent_tests::run::{self, End, Outcome};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "real_java",
        end: End::Exit(0),
        run: |mode| script(mode, &["java", "-Xmx256m"], "Threads.java"),
    },
    Scenario {
        name: "real_java_terminated",
        end: End::Exit(128 + libc::SIGTERM),
        run: java_terminated,
    },
    Scenario {
        name: "real_ruby",
        end: End::Exit(0),
        run: |mode| script(mode, &["ruby"], "threads.rb"),
    },
    Scenario {
        name: "real_perl",
        end: End::Exit(0),
        run: |mode| script(mode, &["perl"], "threads.pl"),
    },
    Scenario {
        // Its compiled code computes on stacks that are the processes' own.
        name: "real_erlang",
        end: End::Exit(0),
        run: |mode| script(mode, &["escript"], "processes.erl"),
    },
    Scenario {
        name: "real_openmp",
        end: End::Exit(0),
        run: |mode| compiled(mode, "openmp.c", &["-fopenmp"]),
    },
    Scenario {
        name: "real_tbb",
        end: End::Exit(0),
        run: |mode| compiled(mode, "tbb.cpp", &["-ltbb"]),
    },
    Scenario {
        // Nothing of ours is an error or a leak.
        name: "real_memcheck",
        end: End::Exit(0),
        run: |mode| valgrind(mode, &["--leak-check=full", "--show-leak-kinds=all"], &[]),
    },
    Scenario {
        name: "real_helgrind",
        end: End::Exit(0),
        run: |mode| valgrind(mode, &["--tool=helgrind"], &[]),
    },
    Scenario {
        // It finds the race as it does bare.
        name: "real_helgrind_race",
        end: End::Exit(66),
        run: |mode| valgrind(mode, &["--tool=helgrind"], &["race"]),
    },
];

fn script(mode: &Mode, interpreter: &[&str], name: &str) -> Result<Outcome, String> {
    let mut command = Command::new(interpreter[0]);
    command.args(&interpreter[1..]).arg(fixture(name));
    mode.apply(&mut command);
    run::run(&mut command, LIMIT, false).map_err(|error| format!("cannot run {name}: {error}"))
}

/// Compiles a program into a directory that lasts as long as the value.
fn build(name: &str, arguments: &[&str]) -> Result<(tempfile::TempDir, PathBuf), String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let program = directory.path().join("program");
    let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
    compile::build(&fixture(name), &arguments, &program).map_err(|error| error.to_string())?;
    Ok((directory, program))
}

fn compiled(mode: &Mode, name: &str, arguments: &[&str]) -> Result<Outcome, String> {
    let (_directory, program) = build(name, arguments)?;
    let mut command = Command::new(program);
    mode.apply(&mut command);
    run::run(&mut command, LIMIT, false).map_err(|error| format!("cannot run {name}: {error}"))
}

fn valgrind(mode: &Mode, options: &[&str], arguments: &[&str]) -> Result<Outcome, String> {
    let (_directory, program) = build("checked.c", &[])?;
    let mut command = Command::new("valgrind");
    // What it reports has addresses in it.
    command.args(["--error-exitcode=66", "--log-file=/dev/null"]);
    command.args(options).arg(program).args(arguments);
    mode.apply(&mut command);
    run::run(&mut command, LIMIT, false).map_err(|error| format!("cannot run valgrind: {error}"))
}

/// Its shutdown hook runs, and says so.
fn java_terminated(mode: &Mode) -> Result<Outcome, String> {
    let mut java = Command::new("java");
    java.arg("-Xmx256m")
        .arg(fixture("Threads.java"))
        .arg("wait");
    python::signalled(mode, &mut java, libc::SIGTERM).map_err(|error| format!("java: {error}"))
}
