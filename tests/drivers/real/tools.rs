//! Everyday programs with threads: sort, xz, pigz, ripgrep, git, make, rustc, gdb.

use crate::{Scenario, fixture};
use gevent_tests::mode::Mode;
use gevent_tests::run::{self, End, Outcome};
use gevent_tests::serving::told;
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
        name: "real_pigz",
        end: End::Exit(0),
        run: pigz,
    },
    Scenario {
        // A sort on rayon's pool.
        name: "real_rayon_sort",
        end: End::Exit(0),
        run: rayon_sort,
    },
    Scenario {
        name: "real_ripgrep",
        end: End::Exit(0),
        run: ripgrep,
    },
    Scenario {
        name: "real_git",
        end: End::Exit(0),
        run: git,
    },
    Scenario {
        name: "real_make_jobs",
        end: End::Exit(0),
        run: make,
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

fn pigz(mode: &Mode) -> Result<Outcome, String> {
    in_directory(
        mode,
        |directory| std::fs::write(directory.join("lines"), shuffled_lines(200_000)),
        Command::new("sh").args([
            "-c",
            "pigz -n -p 4 -k lines && cksum lines.gz && pigz -dc lines.gz | cmp - lines && echo same",
        ]),
        |_, outcome| Ok(outcome),
    )
}

fn rayon_sort(mode: &Mode) -> Result<Outcome, String> {
    in_directory(
        mode,
        |directory| std::fs::write(directory.join("lines"), shuffled_lines(200_000)),
        Command::new("/usr/lib/cargo/bin/coreutils/sort")
            .env("RAYON_NUM_THREADS", "6")
            .args(["--parallel=6", "-o", "sorted", "lines"]),
        |directory, mut outcome| {
            let sorted = std::fs::read_to_string(directory.join("sorted"))?;
            let mut wanted: Vec<String> =
                shuffled_lines(200_000).lines().map(str::to_owned).collect();
            wanted.sort_unstable();
            outcome.stdout += &format!("sorted: {}\n", sorted.lines().eq(wanted));
            Ok(outcome)
        },
    )
}

/// A tree of 60 files with 200 lines each.
fn tree(directory: &Path) -> std::io::Result<()> {
    for (index, lines) in shuffled_lines(12_000)
        .lines()
        .collect::<Vec<_>>()
        .chunks(200)
        .enumerate()
    {
        let below = directory.join(format!("part{}", index % 7));
        std::fs::create_dir_all(&below)?;
        std::fs::write(below.join(format!("file{index}")), lines.join("\n") + "\n")?;
    }
    Ok(())
}

fn ripgrep(mode: &Mode) -> Result<Outcome, String> {
    in_directory(
        mode,
        tree,
        Command::new("rg").args(["--threads=6", "--no-config", "line 1[0-9]*7$", "."]),
        |_, mut outcome| {
            // In the order its threads found them.
            let mut lines: Vec<&str> = outcome.stdout.lines().collect();
            lines.sort_unstable();
            outcome.stdout = lines.join("\n");
            Ok(outcome)
        },
    )
}

/// Packing, indexing, searching and refreshing the index are done by threads.
const GIT: &str = "set -e
git init --quiet --initial-branch=main .
git add .
git commit --quiet --message=one
for i in 1 2 3; do for f in part*/file*; do echo $i >>$f; done; git commit --quiet --all --message=$i; done
git repack -a -d -f --quiet --threads=4 --depth=20
git fsck --strict
git index-pack --threads=4 -o copy.idx .git/objects/pack/*.pack >/dev/null
git verify-pack copy.idx 2>&1 || git verify-pack .git/objects/pack/*.idx
git grep --threads=4 --count 'line 1[0-9]*7$'
git -c core.preloadIndex=true status --short
git count-objects -v | grep -v size
git log --format=%H%n%s --stat --summary | cksum
git clone --quiet --no-local . copy 2>&1
git -C copy rev-parse HEAD
";

fn git(mode: &Mode) -> Result<Outcome, String> {
    in_directory(
        mode,
        tree,
        Command::new("sh")
            .env("HOME", "/nonexistent")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs(["AUTHOR", "COMMITTER"].into_iter().flat_map(|who| {
                [
                    (format!("GIT_{who}_NAME"), "Nobody"),
                    (format!("GIT_{who}_EMAIL"), "nobody@localhost"),
                    (format!("GIT_{who}_DATE"), "2020-01-01T00:00:00Z"),
                ]
            }))
            .args(["-c", GIT]),
        |_, outcome| Ok(outcome),
    )
}

const MAKEFILE: &str = "
parts := $(shell seq 1 24)
all: $(parts:%=out%)
	cat $(sort $^) | cksum
out%: lines
	sort --parallel=3 -S 1M -k $(shell expr $* % 3 + 1) lines >$@
";

fn make(mode: &Mode) -> Result<Outcome, String> {
    in_directory(
        mode,
        |directory| {
            std::fs::write(directory.join("lines"), shuffled_lines(5_000))?;
            std::fs::write(directory.join("Makefile"), MAKEFILE)
        },
        Command::new("make").args(["--silent", "-j8"]),
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
