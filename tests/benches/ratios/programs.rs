//! The measurements that are one program and one number.

use std::time::{Duration, Instant};

use crate::run::{Runner, Side};
use crate::summary::{Row, Spread};

/// Far above what any of the programs needs on a slow machine.
const LIMIT: Duration = Duration::from_secs(120);
/// Processes of each side in one turn of the start-up measurement.
const SPAWNS: usize = 100;
/// Runs of each side in one turn of the pass-through measurement.
const PASS_THROUGH_RUNS: usize = 6;
/// Threads for the memory measurement.
const PARKED: &str = "10000";

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// A system call that no group wants.
    PassThrough,
    /// Mutex and condition between two threads.
    PingPong,
    /// pthread_create and pthread_join from the initial thread.
    CreateJoin,
    /// The whole life of /bin/true.
    StartUp,
    /// Resident memory of a parked thread.
    Memory,
    /// How many threads there can be.
    MaxThreads,
}

impl Program {
    /// Runs both sides in turns. `threads`: for [`Program::MaxThreads`].
    pub fn measure(
        self,
        runner: &Runner,
        pairs: usize,
        threads: usize,
    ) -> Result<Vec<Row>, String> {
        match self {
            Self::PassThrough => pass_through(runner, pairs),
            Self::PingPong => one(
                runner,
                pairs,
                "mutex and condition ping-pong, ns a switch",
                ("pingpong", &[], "ns_per_switch"),
            ),
            Self::CreateJoin => one(
                runner,
                pairs,
                "create and join a thread, ns",
                ("create_join", &[], "ns_each"),
            ),
            Self::Memory => {
                let mut rows = Vec::new();
                for (how, place) in [("cond", "a condition wait"), ("pipe", "a pipe read")] {
                    rows.extend(one(
                        runner,
                        pairs,
                        &format!("resident memory of one of {PARKED} threads in {place}, KiB"),
                        ("parked", &[PARKED, how], "rss_kib_per_thread"),
                    )?);
                }
                Ok(rows)
            }
            Self::MaxThreads => max_threads(runner, threads),
            Self::StartUp => start_up(runner, pairs),
        }
    }
}

/// A value that a program prints: its name, arguments, and the value's name.
type Printed<'a> = (&'a str, &'a [&'a str], &'a str);

fn one(
    runner: &Runner,
    pairs: usize,
    what: &str,
    (program, arguments, value): Printed<'_>,
) -> Result<Vec<Row>, String> {
    let mut row = Row {
        what: what.to_owned(),
        bare: Vec::new(),
        preloaded: Vec::new(),
    };
    let measure = |side| runner.run(program, arguments, side, LIMIT)?.get(value);
    for _ in 0..pairs {
        row.bare.push(measure(Side::Bare)?);
        if runner.preloads() {
            row.preloaded.push(measure(Side::Preloaded)?);
        }
    }
    Ok(vec![row])
}

/// A few nanoseconds are less than what a processor's change of clock adds, so
/// each value is the least of several runs, both sides still in turns.
fn pass_through(runner: &Runner, pairs: usize) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for (how, what) in [
        ("direct", "call that no group wants: getppid(), ns"),
        ("syscall", "the same by number: syscall(SYS_getppid), ns"),
    ] {
        let measure = |side| {
            runner
                .run("passthrough", &["2000", how], side, LIMIT)?
                .get("ns_per_call")
        };
        let mut row = Row {
            what: what.to_owned(),
            bare: Vec::new(),
            preloaded: Vec::new(),
        };
        for _ in 0..pairs {
            let (mut bare, mut preloaded) = (f64::INFINITY, f64::INFINITY);
            for _ in 0..PASS_THROUGH_RUNS {
                bare = bare.min(measure(Side::Bare)?);
                if runner.preloads() {
                    preloaded = preloaded.min(measure(Side::Preloaded)?);
                }
            }
            row.bare.push(bare);
            if runner.preloads() {
                row.preloaded.push(preloaded);
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

/// One pair is enough: the number of threads doesn't vary.
fn max_threads(runner: &Runner, threads: usize) -> Result<Vec<Row>, String> {
    let wanted = threads.to_string();
    let mut rows: Vec<Row> = [
        format!("threads in one process, {wanted} wanted"),
        "their resident memory, KiB each".to_owned(),
        "their kernel threads".to_owned(),
    ]
    .into_iter()
    .map(|what| Row {
        what,
        bare: Vec::new(),
        preloaded: Vec::new(),
    })
    .collect();
    let mut sides = vec![Side::Bare];
    if runner.preloads() {
        sides.push(Side::Preloaded);
    }
    for side in sides {
        let values = runner.run("parked", &[&wanted, "cond"], side, LIMIT)?;
        let names = ["created", "rss_kib_per_thread", "kernel_threads"];
        for (row, name) in rows.iter_mut().zip(names) {
            let column = if side == Side::Bare {
                &mut row.bare
            } else {
                &mut row.preloaded
            };
            column.push(values.get(name)?);
        }
    }
    Ok(rows)
}

fn start_up(runner: &Runner, pairs: usize) -> Result<Vec<Row>, String> {
    let spawn = |side| -> Result<f64, String> {
        let start = Instant::now();
        runner.run("/bin/true", &[], side, LIMIT)?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    let mut row = Row {
        what: format!("start and end of /bin/true, ms (median of {SPAWNS} in each turn)"),
        bare: Vec::new(),
        preloaded: Vec::new(),
    };
    for _ in 0..pairs {
        let (mut bare, mut preloaded) = (Vec::new(), Vec::new());
        for _ in 0..SPAWNS {
            bare.push(spawn(Side::Bare)?);
            if runner.preloads() {
                preloaded.push(spawn(Side::Preloaded)?);
            }
        }
        row.bare.extend(Spread::of(bare).map(|s| s.median));
        row.preloaded
            .extend(Spread::of(preloaded).map(|s| s.median));
    }
    Ok(vec![row])
}
