//! Everyday programs with threads: sort, xz, git, rustc, gdb.

use crate::{Scenario, fixture, told};
use gevent_tests::mode::Mode;
use gevent_tests::run::{self, End, Outcome};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "real_sort_parallel",
        end: End::Exit(0),
        run: sort,
    },
    Scenario {
        name: "real_xz_threads",
        end: End::Exit(0),
        run: xz,
    },
    Scenario {
        // Rust, with threads of its own making.
        name: "real_rustc",
        end: End::Exit(0),
        run: rustc,
    },
    Scenario {
        // C++, with worker threads that read symbols.
        name: "real_gdb_reads_symbols",
        end: End::Exit(0),
        run: gdb,
    },
];

/// Runs `command` in `mode` in a fresh directory that `prepare` fills.
fn in_directory(
    mode: &Mode,
    prepare: impl FnOnce(&Path) -> std::io::Result<()>,
    command: &mut Command,
    finish: impl FnOnce(&Path, Outcome) -> std::io::Result<Outcome>,
) -> Result<Outcome, String> {
    let attempt = || -> std::io::Result<Outcome> {
        let directory = tempfile::tempdir()?;
        prepare(directory.path())?;
        command.current_dir(directory.path());
        mode.apply(command);
        let outcome = run::run(command, LIMIT, false)?;
        finish(directory.path(), outcome)
    };
    attempt().map_err(|error| format!("{:?}: {error}", command.get_program()))
}

/// Lines in an order that is neither sorted nor random.
fn shuffled_lines(count: u32) -> String {
    (0..count)
        .map(|index| format!("{:08x} line {index}\n", index.wrapping_mul(2_654_435_761)))
        .collect()
}

fn sort(mode: &Mode) -> Result<Outcome, String> {
    in_directory(
        mode,
        |directory| std::fs::write(directory.join("lines"), shuffled_lines(200_000)),
        // A small buffer makes it merge temporary files, too.
        Command::new("sort").args(["--parallel=4", "-S", "4M", "-o", "sorted", "lines"]),
        |directory, mut outcome| {
            let sorted = std::fs::read_to_string(directory.join("sorted"))?;
            let mut wanted: Vec<String> =
                shuffled_lines(200_000).lines().map(str::to_owned).collect();
            wanted.sort_unstable();
            outcome.stdout = format!("sorted: {}\n", sorted.lines().eq(wanted));
            Ok(outcome)
        },
    )
}

fn xz(mode: &Mode) -> Result<Outcome, String> {
    in_directory(
        mode,
        |directory| std::fs::write(directory.join("lines"), shuffled_lines(100_000)),
        Command::new("sh").args([
            "-c",
            "xz -T4 -1 --block-size=500KiB -k lines && xz -T4 -dc lines.xz | cmp - lines && echo same",
        ]),
        |_, outcome| Ok(outcome),
    )
}

fn rustc(mode: &Mode) -> Result<Outcome, String> {
    in_directory(
        mode,
        |directory| {
            std::fs::write(
                directory.join("hello.rs"),
                "fn main() { println!(\"{}\", (1..=10).map(|n| n * n).sum::<i32>()); }",
            )
        },
        Command::new("rustc").args(["-C", "codegen-units=8", "-O", "hello.rs"]),
        |directory, outcome| {
            if outcome.end != End::Exit(0) {
                return Ok(outcome);
            }
            let mut hello = Command::new(directory.join("hello"));
            Mode::Bare.apply(&mut hello);
            let answer = run::run(&mut hello, LIMIT, false)?;
            Ok(told(format!("{}{}", answer.end, answer.stdout)))
        },
    )
}

fn gdb(mode: &Mode) -> Result<Outcome, String> {
    in_directory(
        mode,
        |directory| {
            gevent_tests::compile::build(
                &fixture("stopped_in_handler.c"),
                &[],
                &directory.join("program"),
            )
        },
        Command::new("gdb").args([
            "-nx",
            "-batch",
            "-ex",
            "info line parked_here",
            "-ex",
            "ptype handler",
            "program",
        ]),
        |_, mut outcome| {
            // Where the program was compiled is in the text, and in a directory of its own.
            outcome.stdout = outcome
                .stdout
                .lines()
                .filter(|line| line.starts_with("type = ") || line.contains("parked_here"))
                .map(|line| line.replace(&*fixture("").display().to_string(), ""))
                .collect::<Vec<_>>()
                .join("\n");
            Ok(outcome)
        },
    )
}
