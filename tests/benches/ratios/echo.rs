//! The echo server with a thread for each connection, against an epoll loop.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::run::{Runner, Side, Values, finish};
use crate::summary::{Spread, median, number, text_or_dash};

/// How long a server may take for its port, and the load for what is not its window.
const LIMIT: Duration = Duration::from_secs(60);

/// What is compared, in the order of a turn. The first is the one that ratios
/// are of, the last is the reference.
const SERVERS: [(&str, &str, Side); 4] = [
    ("threads, bare", "echo_threads", Side::Bare),
    (
        "threads, preloaded, io_uring",
        "echo_threads",
        Side::PreloadedLoop("io_uring"),
    ),
    (
        "threads, preloaded, epoll",
        "echo_threads",
        Side::PreloadedLoop("epoll"),
    ),
    ("epoll loop in C, bare", "echo_epoll", Side::Bare),
];

/// One server under one number of connections, a value for each turn.
pub struct Row {
    connections: usize,
    server: &'static str,
    rps: Vec<f64>,
    of_bare: Vec<f64>,
    of_reference: Vec<f64>,
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
    threads: Vec<f64>,
    kib_per_connection: Vec<f64>,
}

/// Runs every server in turns under the same load.
pub fn measure(
    runner: &Runner,
    rounds: usize,
    connections: usize,
    window: Duration,
) -> Result<Vec<Row>, String> {
    let servers: Vec<_> = SERVERS
        .into_iter()
        .filter(|(_, _, side)| *side == Side::Bare || runner.preloads())
        .collect();
    let mut rows: Vec<Row> = servers
        .iter()
        .map(|(server, _, _)| Row {
            connections,
            server,
            rps: Vec::new(),
            of_bare: Vec::new(),
            of_reference: Vec::new(),
            p50_ms: Vec::new(),
            p99_ms: Vec::new(),
            threads: Vec::new(),
            kib_per_connection: Vec::new(),
        })
        .collect();
    for round in 1..=rounds {
        eprintln!("ratios: echo, {connections} connections, round {round} of {rounds}");
        for ((name, program, side), row) in servers.iter().zip(&mut rows) {
            let values = load(runner, program, *side, connections, window)
                .map_err(|e| format!("{name}: {e}"))?;
            row.rps.push(values.get("rps")?);
            row.p50_ms.push(values.get("p50_us")? / 1e3);
            row.p99_ms.push(values.get("p99_us")? / 1e3);
            row.threads.push(values.get("threads")?);
            let more = values.get("rss_peak_kib")? - values.get("rss_before_kib")?;
            row.kib_per_connection.push(more / connections as f64);
        }
    }
    let bare = rows[0].rps.clone();
    let reference = rows[rows.len() - 1].rps.clone();
    for row in &mut rows {
        let ratios = |of: &[f64]| row.rps.iter().zip(of).map(|(a, b)| a / b).collect();
        (row.of_bare, row.of_reference) = (ratios(&bare), ratios(&reference));
    }
    Ok(rows)
}

fn load(
    runner: &Runner,
    program: &str,
    side: Side,
    connections: usize,
    window: Duration,
) -> Result<Values, String> {
    let mut server = runner.serve(program, side, LIMIT)?;
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_echo-load")));
    command
        .env_remove("LD_PRELOAD")
        .arg(server.port.to_string())
        .arg(connections.to_string())
        .args(["--seconds", &window.as_secs_f64().to_string()])
        .args(["--watch", &server.pid().to_string()]);
    let values = finish(command, LIMIT + window).map_err(|e| format!("echo-load: {e}"))?;
    server.still_runs()?;
    for name in ["errors", "idle"] {
        let count = values.get(name)?;
        if count > 0.0 {
            return Err(format!("{count} of {connections} connections: {name}"));
        }
    }
    Ok(values)
}

/// The table of all rows.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| connections | echo server | requests/s | ÷ bare threads (min – max) | \
         ÷ epoll loop in C (min – max) | p50, ms | p99, ms | kernel threads | \
         KiB a connection |\n|--:|---|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in rows {
        let spread = |values: &[f64]| text_or_dash(Spread::of(values.iter().copied()));
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            number(row.connections as f64),
            row.server,
            median(&row.rps),
            spread(&row.of_bare),
            spread(&row.of_reference),
            median(&row.p50_ms),
            median(&row.p99_ms),
            median(&row.threads),
            median(&row.kib_per_connection),
        )
        .expect("a String takes all that is written to it");
    }
    text
}
