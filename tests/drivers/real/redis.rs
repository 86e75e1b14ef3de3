//! redis-server with its I/O threads, under redis-benchmark with threads.

use crate::Scenario;
use gevent_tests::mode::Mode;
use gevent_tests::run::{self, End, Outcome};
use gevent_tests::server::{self, Server};
use gevent_tests::serving::told;
use std::fmt::Write;
use std::process::Command;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "real_redis_server",
        end: End::Exit(0),
        run: |mode| session(mode, &Mode::Bare, &["--appendonly", "no"]),
    },
    Scenario {
        name: "real_redis_benchmark",
        end: End::Exit(0),
        run: |mode| session(&Mode::Bare, mode, &["--appendonly", "no"]),
    },
    Scenario {
        name: "real_redis_both",
        end: End::Exit(0),
        run: |mode| session(mode, mode, &["--appendonly", "no"]),
    },
    Scenario {
        // Each command is on the disk before it is answered.
        name: "real_redis_append_always",
        end: End::Exit(0),
        run: |mode| {
            let durable = ["--appendonly", "yes", "--appendfsync", "always"];
            session(mode, &Mode::Bare, &durable)
        },
    },
];

/// A server and its load, each in a mode of its own: what the benchmark and the server said.
fn session(server_mode: &Mode, client_mode: &Mode, settings: &[&str]) -> Result<Outcome, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let address = server::free_port().map_err(|error| error.to_string())?;
    let port = address.port().to_string();
    let mut command = Command::new("redis-server");
    command
        .args(["--port", &port, "--bind", "127.0.0.1", "--save", ""])
        .args(["--daemonize", "no"])
        .args(settings)
        .args(["--io-threads", "4", "--io-threads-do-reads", "yes"])
        .arg("--dir")
        .arg(directory.path())
        .arg("--logfile")
        .arg(directory.path().join("log"));
    server_mode.apply(&mut command);
    let log = || std::fs::read_to_string(directory.path().join("log")).unwrap_or_default();
    let mut server = Server::listening(&mut command, address, Duration::from_secs(60))
        .map_err(|error| format!("redis-server: {error}\n{}", log()))?;

    let mut text = String::new();
    let mut say = |line: &str| writeln!(text, "{line}").expect("writing to a String cannot fail");
    let cli = |words: &[&str]| -> Result<String, String> {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &port]).args(words);
        Mode::Bare.apply(&mut command);
        let outcome = ran(&mut command, "redis-cli")?;
        Ok(outcome.stdout.trim().to_owned())
    };
    say(&cli(&["ping"])?);

    // Many, unless each waits for the disk.
    let commands = if settings.contains(&"always") {
        "3000"
    } else {
        "20000"
    };
    let mut benchmark = Command::new("redis-benchmark");
    benchmark
        .args(["-p", &port, "--threads", "4", "-c", "50", "-n", commands])
        .args(["-P", "4", "-q", "-t", "set,get,incr,lpush"]);
    client_mode.apply(&mut benchmark);
    let outcome = ran(&mut benchmark, "redis-benchmark")
        .map_err(|error| format!("{error}\nthe server's log:\n{}", log()))?;
    if !outcome.stderr.is_empty() {
        return Err(format!("redis-benchmark said: {}", outcome.stderr));
    }
    for test in ["SET", "GET", "INCR", "LPUSH"] {
        let measured = outcome
            .stdout
            .split(['\r', '\n'])
            .any(|line| line.starts_with(&format!("{test}: ")) && line.contains("per second"));
        say(&format!("{test} measured: {measured}"));
    }
    say(&cli(&["get", "counter:__rand_int__"])?);
    say(&cli(&["llen", "mylist"])?);
    say(&cli(&["set", "key", "value"])?);
    say(&cli(&["get", "key"])?);
    // The connection ends with the server, so that redis-cli has nothing to say.
    cli(&["shutdown", "nosave"])?;
    let status = server
        .group()
        .wait_until(Instant::now() + LIMIT)
        .map_err(|error| error.to_string())?;
    say(&match status {
        Some(status) => format!("the server ended with {}", End::from(status)),
        None => "the server went on after shutdown".to_owned(),
    });
    let appended = directory
        .path()
        .join("appendonlydir/appendonly.aof.manifest");
    if appended.exists() {
        let mut check = Command::new("redis-check-aof");
        Mode::Bare.apply(check.arg(appended));
        let checked = ran(&mut check, "redis-check-aof")?;
        say(checked.stdout.lines().last().unwrap_or_default());
    }
    Ok(told(text))
}

fn ran(command: &mut Command, name: &str) -> Result<Outcome, String> {
    let outcome = run::run(command, LIMIT, false).map_err(|error| format!("{name}: {error}"))?;
    match outcome.end {
        End::Exit(0) => Ok(outcome),
        end => Err(format!(
            "{name}: {end}\n{}\n{}\n{}",
            // Its progress, over and over, of which the end says all.
            outcome
                .stdout
                .rsplit('\r')
                .find(|line| !line.trim().is_empty())
                .unwrap_or_default(),
            outcome.stderr,
            outcome.at_time_limit.unwrap_or_default()
        )),
    }
}
