//! Programs of a system that nobody wrote for us: its Python, its database, its web server.

use gevent_tests::mode::Mode;
use gevent_tests::root::Root;
use gevent_tests::run::{self, Outcome};
use gevent_tests::scenarios::mariadb::mariadb;
use gevent_tests::scenarios::nginx::nginx;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// For a script.
const LIMIT: Duration = Duration::from_secs(120);

/// One program.
pub struct Program {
    /// The second part of its tests' names.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(&Root, &Mode) -> Result<Outcome, String>,
}

/// All of them, that which takes longest first.
pub const PROGRAMS: &[Program] = &[
    Program {
        name: "mariadb",
        run: |root, mode| mariadb(root, mode, &Mode::Bare),
    },
    Program {
        name: "nginx",
        run: |root, mode| nginx(root, mode, &Mode::Bare),
    },
    Program {
        name: "python_thread_pool",
        run: |root, mode| python(root, mode, "thread_pool.py"),
    },
    Program {
        name: "python_threading_server",
        run: |root, mode| python(root, mode, "threading_server.py"),
    },
    Program {
        name: "python_queues",
        run: |root, mode| python(root, mode, "queues.py"),
    },
    Program {
        name: "python_subprocess_threads",
        run: |root, mode| python(root, mode, "subprocess_threads.py"),
    },
];

fn python(root: &Root, mode: &Mode, script: &str) -> Result<Outcome, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("real")
        .join(script);
    let mut python = Command::new("/usr/bin/python3");
    python
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONHASHSEED", "0")
        .arg(script);
    mode.apply(&mut python);
    root.enter(&mut python);
    let mut outcome =
        run::run(&mut python, LIMIT, false).map_err(|error| format!("python: {error}"))?;
    outcome.stderr = without_ids(&outcome.stderr);
    Ok(outcome)
}

/// The text without the ids of processes, which newer Pythons name in a warning about fork.
fn without_ids(text: &str) -> String {
    let mut parts = text.split("(pid=");
    let mut rest = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        rest += "(pid=";
        rest += part.trim_start_matches(|digit: char| digit.is_ascii_digit());
    }
    rest
}
