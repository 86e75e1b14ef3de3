//! Measures unmodified programs bare and preloaded, in turns, as ratios.
//!
//! Every measurement runs the same binary without and with the library, one
//! after the other, as many times as there are pairs, so that a change of the
//! machine's load meets both. The result is the median of each side and the
//! median, smallest and largest of the pairwise ratios. Nothing passes or
//! fails by its time; a run that crashes, hangs or answers wrongly does.
//!
//! Prints Markdown on standard output, and what it is doing on standard error.

mod echo;
mod events;
mod programs;
mod run;
mod summary;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use lexopt::prelude::*;

use crate::run::Runner;

const USAGE: &str = "\
usage: ratios [options] [measurement ...]

measurements: passthrough pingpong create-join startup memory max-threads echo events
              (none named: all of them)
options:
  --pairs N           runs of each side (5)
  --seconds S         length of one echo window (3)
  --connections LIST  echo connections (100,1000,4000)
  --threads N         threads that max-threads asks for (200000)
  --bare              without the library: only the bare sides
environment:
  GEVENT_SHIM_LIB     the library (libgevent_shim.so beside this build)
  GEVENT_SHIM_LIB_WITHOUT_EVENTS
                      the library without the feature events, for the measurement events";

/// A measurement by the name on the command line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Measurement {
    Program(programs::Program),
    Echo,
    Events,
}

const MEASUREMENTS: [(&str, Measurement); 8] = [
    (
        "passthrough",
        Measurement::Program(programs::Program::PassThrough),
    ),
    (
        "pingpong",
        Measurement::Program(programs::Program::PingPong),
    ),
    (
        "create-join",
        Measurement::Program(programs::Program::CreateJoin),
    ),
    ("startup", Measurement::Program(programs::Program::StartUp)),
    ("memory", Measurement::Program(programs::Program::Memory)),
    (
        "max-threads",
        Measurement::Program(programs::Program::MaxThreads),
    ),
    ("echo", Measurement::Echo),
    ("events", Measurement::Events),
];

/// What the command line asked for.
struct Options {
    pairs: usize,
    window: Duration,
    connections: Vec<usize>,
    threads: usize,
    bare_only: bool,
    chosen: Vec<(&'static str, Measurement)>,
}

fn options() -> Result<Options, lexopt::Error> {
    let mut options = Options {
        pairs: 5,
        window: Duration::from_secs(3),
        connections: vec![100, 1_000, 4_000],
        threads: 200_000,
        bare_only: false,
        chosen: Vec::new(),
    };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("pairs") => options.pairs = arguments.value()?.parse()?,
            Long("seconds") => {
                let seconds: f64 = arguments.value()?.parse()?;
                options.window = Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())?;
            }
            Long("connections") => {
                options.connections = arguments
                    .value()?
                    .string()?
                    .split(',')
                    .map(|n| n.parse().map_err(|e| format!("{n:?}: {e}")))
                    .collect::<Result<_, _>>()?;
            }
            Long("threads") => options.threads = arguments.value()?.parse()?,
            Long("bare") => options.bare_only = true,
            // `cargo bench` adds it to the arguments of every bench program.
            Long("bench") => {}
            Short('h') | Long("help") => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            Value(name) => {
                let name = name.string()?;
                let found = MEASUREMENTS.iter().find(|(known, _)| *known == name);
                options
                    .chosen
                    .push(*found.ok_or_else(|| format!("no such measurement: {name}"))?);
            }
            other => return Err(other.unexpected()),
        }
    }
    if options.pairs == 0 {
        return Err("--pairs must be positive".into());
    }
    if options.chosen.is_empty() {
        options.chosen = MEASUREMENTS.to_vec();
    }
    Ok(options)
}

/// The library that `GEVENT_SHIM_LIB` names, or the one of this build.
fn library() -> Result<PathBuf, String> {
    let path = match std::env::var_os("GEVENT_SHIM_LIB") {
        Some(path) => PathBuf::from(path),
        None => {
            // target/release/deps/ratios-HASH → target/release
            let program = std::env::current_exe().map_err(|e| e.to_string())?;
            let directory = program.parent().and_then(|deps| deps.parent());
            directory
                .ok_or("this program has no directory")?
                .join("libgevent_shim.so")
        }
    };
    // A missing file would only make ld.so print a warning, and both sides bare.
    path.canonicalize()
        .map_err(|e| format!("{}: {e} (build it first, or give --bare)", path.display()))
}

/// One line on the machine, so that a table can be read later.
fn machine() -> String {
    let first_of = |path: &str, name: &str| {
        std::fs::read_to_string(path).ok().and_then(|text| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
    };
    let output_of = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let unknown = || "unknown".to_owned();
    format!(
        "{} × {}, Linux {}, {}",
        std::thread::available_parallelism().map_or(0, usize::from),
        first_of("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
        output_of("uname", "-r").unwrap_or_else(unknown),
        output_of("getconf", "GNU_LIBC_VERSION").unwrap_or_else(unknown),
    )
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("ratios: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let runner = if options.bare_only {
        Ok(None)
    } else {
        library().map(Some)
    };
    let without_events = std::env::var_os("GEVENT_SHIM_LIB_WITHOUT_EVENTS").map(PathBuf::from);
    let runner = runner.and_then(|library| Runner::new(library, without_events));
    let runner = match runner {
        Ok(runner) => runner,
        Err(error) => {
            eprintln!("ratios: {error}");
            return ExitCode::from(2);
        }
    };

    println!("Measured on {}; {} pairs.\n", machine(), options.pairs);
    let mut failed = false;
    let mut fail = |name: &str, error: String| {
        eprintln!("ratios: {name} failed: {error}");
        failed = true;
    };
    let mut rows = Vec::new();
    let (mut echo_wanted, mut events_wanted) = (false, false);
    for (name, measurement) in &options.chosen {
        eprintln!("ratios: {name}");
        match measurement {
            Measurement::Program(program) => {
                match program.measure(&runner, options.pairs, options.threads) {
                    Ok(more) => rows.extend(more),
                    Err(error) => fail(name, error),
                }
            }
            Measurement::Echo => echo_wanted = true,
            Measurement::Events => events_wanted = true,
        }
    }
    if !rows.is_empty() {
        println!("{}", summary::table(&rows));
    }
    if echo_wanted {
        let mut rows = Vec::new();
        for &connections in &options.connections {
            match echo::measure(&runner, options.pairs, connections, options.window) {
                Ok(more) => rows.extend(more),
                Err(error) => fail(&format!("echo with {connections} connections"), error),
            }
        }
        if !rows.is_empty() {
            println!("{}", echo::table(&rows));
        }
    }
    if events_wanted && !options.bare_only {
        match events::measure(&runner, options.pairs) {
            Ok(rows) => println!("{}", events::table(&rows)),
            Err(error) => fail("events", error),
        }
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
