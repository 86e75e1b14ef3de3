//! Other languages' threads: Java, Ruby, Perl, Erlang, OpenMP, TBB; and what they do at SIGTERM.

use crate::{Scenario, fixture, python};
use gevent_tests::compile;
use gevent_tests::mode::Mode;
use gevent_tests::run::{self, End, Outcome};
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
];

fn script(mode: &Mode, interpreter: &[&str], name: &str) -> Result<Outcome, String> {
    let mut command = Command::new(interpreter[0]);
    command.args(&interpreter[1..]).arg(fixture(name));
    mode.apply(&mut command);
    run::run(&mut command, LIMIT, false).map_err(|error| format!("cannot run {name}: {error}"))
}

fn compiled(mode: &Mode, name: &str, arguments: &[&str]) -> Result<Outcome, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let program = directory.path().join("program");
    let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
    compile::build(&fixture(name), &arguments, &program).map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    mode.apply(&mut command);
    run::run(&mut command, LIMIT, false).map_err(|error| format!("cannot run {name}: {error}"))
}

/// Its shutdown hook runs, and says so.
fn java_terminated(mode: &Mode) -> Result<Outcome, String> {
    let mut java = Command::new("java");
    java.arg("-Xmx256m")
        .arg(fixture("Threads.java"))
        .arg("wait");
    python::signalled(mode, &mut java, libc::SIGTERM).map_err(|error| format!("java: {error}"))
}
