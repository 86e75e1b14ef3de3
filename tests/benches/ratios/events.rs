//! What events cost: against a build that has none, and when each call is told.

use std::fmt::Write;
use std::time::Duration;

use crate::run::{Runner, Side};
use crate::summary::{Spread, median, text_or_dash};

/// Far above what any of the programs needs on a slow machine.
const LIMIT: Duration = Duration::from_secs(120);
/// Runs of each side in one turn; the least counts, where less than a nanosecond matters.
const RUNS: usize = 4;
/// Tries of a run whose events nobody had the time to write, on a machine that is busy.
const TRIES: usize = 5;

/// One comparison: a value of each side for every turn.
pub struct Row {
    what: &'static str,
    without: Vec<f64>,
    with: Vec<f64>,
}

/// A program's name, arguments and printed value.
type Printed = (&'static str, &'static [&'static str], &'static str);

/// What is compared: two sides of a program.
const COMPARED: [(&str, Side, Side, Printed); 4] = [
    (
        "no events in the build, events off: recv() that finds nothing, ns",
        Side::WithoutEvents,
        Side::Preloaded,
        ("passthrough", &["2000", "recv"], "ns_per_call"),
    ),
    (
        "no events in the build, events off: two calls, of which one waits, ns (least of bursts)",
        Side::WithoutEvents,
        Side::Preloaded,
        ("parked_calls", &["51", "2000"], "least"),
    ),
    (
        "events off, each call that waits told: the same two calls, ns (least of bursts)",
        Side::Preloaded,
        Side::Calls,
        ("parked_calls", &["31", "1000"], "least"),
    ),
    (
        "events off, each call that waits told: the same two calls, ns (median of bursts)",
        Side::Preloaded,
        Side::Calls,
        ("parked_calls", &["31", "1000"], "median"),
    ),
];

/// Runs both sides of each comparison in turns.
pub fn measure(runner: &Runner, pairs: usize) -> Result<Vec<Row>, String> {
    runner.has_no_events()?;
    let mut rows = Vec::new();
    for (what, without, with, printed) in COMPARED {
        let mut row = Row {
            what,
            without: Vec::new(),
            with: Vec::new(),
        };
        let runs = if printed.2 == "median" { 1 } else { RUNS };
        for _ in 0..pairs {
            let (mut before, mut after) = (f64::INFINITY, f64::INFINITY);
            for _ in 0..runs {
                before = before.min(one(runner, printed, without)?);
                after = after.min(one(runner, printed, with)?);
            }
            row.without.push(before);
            row.with.push(after);
        }
        rows.push(row);
    }
    Ok(rows)
}

fn one(runner: &Runner, printed: Printed, side: Side) -> Result<f64, String> {
    let mut tries = (0..TRIES).map(|_| once(runner, printed, side));
    let last = tries.find(|value| !matches!(value, Ok(None)));
    let value = last.unwrap_or(Ok(None))?;
    value.ok_or_else(|| format!("events were lost in each of {TRIES} runs"))
}

/// `None`: not every call was told.
fn once(
    runner: &Runner,
    (program, arguments, value): Printed,
    side: Side,
) -> Result<Option<f64>, String> {
    let file = runner.events();
    if side == Side::Calls {
        // It is not there the first time.
        let _ = std::fs::remove_file(&file);
    }
    let values = runner.run(program, arguments, side, LIMIT)?;
    if side == Side::Calls {
        // An event that finds no room costs less than one that is told.
        let told =
            std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let count = told
            .lines()
            .filter(|line| line.contains(" in futex("))
            .count();
        let calls = values.get("calls")? as usize;
        // A thread that finds it its turn need not wait.
        if told.contains("events were lost") {
            return Ok(None);
        }
        if count < calls * 9 / 10 {
            return Err(format!("of {calls} calls {count} were told"));
        }
    }
    values.get(value).map(Some)
}

/// The table of all rows.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| what is compared: the first, the second | first | second | difference (min – max) |\n\
         |---|--:|--:|--:|\n",
    );
    for row in rows {
        writeln!(
            text,
            "| {} | {} | {} | {} |",
            row.what,
            median(&row.without),
            median(&row.with),
            text_or_dash(Spread::of_differences(&row.with, &row.without)),
        )
        .expect("a String takes all that is written to it");
    }
    text
}
