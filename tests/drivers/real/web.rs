//! curl against Python's own web server, both in the same mode.

use crate::Scenario;
use crate::python::python;
use gevent_tests::mode::Mode;
use gevent_tests::run::{self, End, Outcome};
use gevent_tests::server::Server;
use gevent_tests::serving::told;
use std::fmt::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "real_curl_one_file",
        end: End::Exit(0),
        run: |mode| session(mode, &["127.0.0.1/large"]),
    },
    Scenario {
        // A name makes curl resolve in a thread.
        name: "real_curl_by_name",
        end: End::Exit(0),
        run: |mode| session(mode, &["localhost/large", "localhost/missing"]),
    },
    Scenario {
        name: "real_curl_parallel",
        end: End::Exit(0),
        run: |mode| session(mode, &["--parallel", "localhost/file[1-20]"]),
    },
];

/// Fetches what `arguments` ask for; an argument with a `/` is a host and a path on our server.
fn session(mode: &Mode, arguments: &[&str]) -> Result<Outcome, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let write = |name: &str, text: String| {
        std::fs::write(directory.path().join(name), text).map_err(|error| error.to_string())
    };
    write("large", "0123456789abcdef\n".repeat(100_000))?;
    for index in 1..=20 {
        write(
            &format!("file{index}"),
            format!("file {index}\n").repeat(1000),
        )?;
    }
    let mut serving = python();
    serving
        .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1"])
        .current_dir(directory.path())
        .stderr(Stdio::null());
    mode.apply(&mut serving);
    let server = Server::announcing(&mut serving, LIMIT).map_err(|error| error.to_string())?;

    let got = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--remote-name-all",
        "-4",
    ])
    .args(["--write-out", "%{response_code} %{filename_effective}\n"])
    .current_dir(got.path());
    for argument in arguments {
        match argument.split_once('/') {
            Some((host, path)) => {
                curl.arg(format!("http://{host}:{}/{path}", server.address.port()));
            }
            None => {
                curl.arg(argument);
            }
        }
    }
    mode.apply(&mut curl);
    let mut outcome =
        run::run(&mut curl, LIMIT, false).map_err(|error| format!("curl: {error}"))?;
    if outcome.end == End::Exit(0) {
        let mut lines: Vec<&str> = outcome.stdout.lines().collect();
        lines.sort_unstable();
        let mut text = lines.join("\n");
        let mut names: Vec<_> = std::fs::read_dir(got.path())
            .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
            .map_err(|error| error.to_string())?
            .iter()
            .map(|entry| entry.file_name())
            .collect();
        names.sort();
        for name in names {
            let original = std::fs::read(directory.path().join(&name)).ok();
            let copy = std::fs::read(got.path().join(&name)).ok();
            write!(
                text,
                "\n{}: same as served: {}",
                name.display(),
                original == copy
            )
            .expect("writing to a String cannot fail");
        }
        text.push('\n');
        // With --parallel, curl shows its progress even when told to be silent.
        let errors = outcome
            .stderr
            .lines()
            .filter(|line| line.starts_with("curl: "));
        let stderr = errors.map(|line| format!("{line}\n")).collect();
        outcome = told(text);
        outcome.stderr = stderr;
    }
    Ok(outcome)
}
