//! Python's threads, servers, executors and processes, and Ctrl-C.

use crate::{Scenario, fixture};
use gevent_tests::mode::Mode;
use gevent_tests::run::{self, End, Outcome};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(120);

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "real_python_thread_pool",
        end: End::Exit(0),
        run: |mode| script(mode, "thread_pool.py"),
    },
    Scenario {
        name: "real_python_threading_server",
        end: End::Exit(0),
        run: |mode| script(mode, "threading_server.py"),
    },
    Scenario {
        name: "real_python_subprocess_threads",
        end: End::Exit(0),
        run: |mode| script(mode, "subprocess_threads.py"),
    },
    Scenario {
        name: "real_python_queues",
        end: End::Exit(0),
        run: |mode| script(mode, "queues.py"),
    },
    Scenario {
        name: "real_python_sqlite",
        end: End::Exit(0),
        run: |mode| script(mode, "sqlite_threads.py"),
    },
    Scenario {
        name: "real_python_https",
        end: End::Exit(0),
        run: |mode| script(mode, "https_threads.py"),
    },
    Scenario {
        name: "real_python_processes",
        end: End::Exit(0),
        run: |mode| script(mode, "processes.py"),
    },
    Scenario {
        name: "real_python_interrupt_join",
        end: End::Exit(0),
        run: |mode| interrupted(mode, "interrupt_join.py"),
    },
    Scenario {
        name: "real_python_interrupt_sleep",
        end: End::Exit(0),
        run: |mode| interrupted(mode, "interrupt_sleep.py"),
    },
    Scenario {
        name: "real_python_interrupt_uncaught",
        end: End::Signal(libc::SIGINT),
        run: |mode| interrupted(mode, "interrupt_uncaught.py"),
    },
];

/// The system's own Python, which is what users run; any other when there is none.
pub fn python() -> Command {
    let system = Path::new("/usr/bin/python3");
    let mut command = Command::new(if system.exists() {
        system
    } else {
        Path::new("python3")
    });
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONHASHSEED", "0");
    command
}

fn script(mode: &Mode, name: &str) -> Result<Outcome, String> {
    let mut command = python();
    command.arg(fixture(name));
    mode.apply(&mut command);
    run::run(&mut command, LIMIT, false).map_err(|error| format!("cannot run {name}: {error}"))
}

/// Runs a script that says `ready`, sends it SIGINT a moment later, and waits for its end.
fn interrupted(mode: &Mode, name: &str) -> Result<Outcome, String> {
    signalled(mode, python().arg(fixture(name)), libc::SIGINT)
        .map_err(|error| format!("cannot run {name}: {error}"))
}

/// Runs a program that says `ready`, sends it `signal` a moment later, and waits for its end.
pub fn signalled(mode: &Mode, command: &mut Command, signal: i32) -> std::io::Result<Outcome> {
    command.stdin(Stdio::null()).stderr(Stdio::null());
    mode.apply(command);
    let deadline = Instant::now() + LIMIT;
    let (mut group, output) = run::start_with_output(command, LIMIT)?;
    let mut output = BufReader::new(output);
    let mut stdout = String::new();
    while output.read_line(&mut stdout)? != 0 && !stdout.ends_with("ready\n") {}
    // Nothing announces the blocking call itself; before it, the signal has the same result.
    std::thread::sleep(Duration::from_millis(300));
    group.signal(signal)?;
    let status = group.wait_until(deadline)?;
    drop(group);
    output.read_to_string(&mut stdout)?;
    Ok(Outcome {
        end: status.map_or(End::TimeLimit, End::from),
        stdout,
        // A traceback's text depends on where in the library the signal found the thread.
        stderr: String::new(),
        held: None,
        at_time_limit: None,
    })
}
