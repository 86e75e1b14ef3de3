//! Programs under a tracer: what is traced says and ends as it does bare under the same tracer.
//!
//! `tracer.c` is one that runs instructions one at a time, where the library's own work takes a
//! thousand times as long as usual. The others are Debian's (`scripts/setup`). `valgrind` is
//! among the real programs, as are gdb's backtraces of what does not run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gevent_tests::{compile, library};

/// Compiles a file of the drivers.
fn built(source: &str) -> PathBuf {
    let drivers = Path::new(env!("CARGO_MANIFEST_DIR")).join("drivers");
    let source = drivers.join(source);
    let to = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("tracers")
        .join(source.file_stem().unwrap());
    compile::build(&source, &["-O1".to_owned()], &to).unwrap();
    to
}

/// What a command says, in a directory of its own.
fn output(words: &[&str]) -> Output {
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new("timeout");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GEVENT_SHIM_") {
            command.env_remove(name);
        }
    }
    command
        .args(["--signal=KILL", "100"])
        .args(words)
        .current_dir(place.path())
        .output()
        .unwrap()
}

/// The two ways of waiting, each with one hub and with two, as variables, for what is preloaded.
fn settings() -> Vec<[String; 3]> {
    let own = library::find().unwrap();
    let mut all = Vec::new();
    for reactor in ["io_uring", "epoll"] {
        for hubs in ["1", "2"] {
            all.push([
                format!("LD_PRELOAD={}", own.display()),
                format!("GEVENT_SHIM_LOOP={reactor}"),
                format!("GEVENT_SHIM_HUBS={hubs}"),
            ]);
        }
    }
    all
}

/// Whether there is a tracer of that name; in CI there must be.
fn has(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(tool).is_file());
    if !found {
        let in_ci = std::env::var_os("CI").is_some_and(|set| !set.is_empty());
        assert!(!in_ci, "no {tool} (see scripts/setup)");
        println!("NOT TESTED: no {tool} (see scripts/setup)");
    }
    found
}

/// The program says and ends the same under a tracer, `before` it, bare and preloaded.
fn same(before: &[&str]) {
    let program = built("preloads/everything.c");
    let program = program.to_str().unwrap();
    let bare = output(&[before, &["env", program]].concat());
    assert_eq!(bare.status.code(), Some(7), "{before:?}: {bare:?}");
    for variables in settings() {
        let variables = variables.each_ref().map(String::as_str);
        let preloaded = output(&[before, &["env"], &variables, &[program]].concat());
        let told = |output: &Output| (output.status, output.stdout.clone(), without_own(output));
        assert_eq!(
            told(&preloaded),
            told(&bare),
            "{before:?}, {variables:?}: {preloaded:?}"
        );
    }
}

/// What is said on standard error but for what `perf` says itself.
fn without_own(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let others = said.lines().filter(|line| !line.starts_with("[ perf "));
    others.collect::<Vec<_>>().join("\n")
}

#[test]
fn one_that_runs_single_instructions() {
    let tracer = built("tracers/tracer.c");
    same(&[tracer.to_str().unwrap()]);
}

#[test]
fn strace() {
    if has("strace") {
        same(&["strace", "-f", "-o", "trace"]);
        same(&["strace", "-o", "trace"]);
    }
}

#[test]
fn perf() {
    if !has("perf") {
        return;
    }
    // Where the kernel lets nobody count anything.
    let tried = output(&["perf", "record", "-o", "trace", "true"]);
    if !tried.status.success() {
        return println!("NOT TESTED: perf can't record here: {tried:?}");
    }
    same(&["perf", "record", "-g", "-o", "trace"]);
}

#[test]
fn gdb_stops_in_threads_and_in_handlers() {
    if !has("gdb") {
        return;
    }
    let program = built("preloads/everything.c");
    let commands = Path::new(env!("CARGO_MANIFEST_DIR")).join("drivers/tracers/gdb");
    let run = |before: &[String]| {
        let mut words = vec!["gdb", "-nx", "-batch"];
        words.extend(before.iter().flat_map(|word| ["-ex", word]));
        words.extend(["-x", commands.to_str().unwrap(), program.to_str().unwrap()]);
        let output = output(&words);
        let said = String::from_utf8_lossy(&output.stdout);
        // The program's own lines, the last one of gdb's, and what the stacks are of.
        let kept = said.lines().filter_map(|line| {
            let of_stack = line.starts_with('#') && !line.contains("pthread_kill");
            let told = ["echoed ", "children ", "$1 = "];
            // gdb may have begun the line.
            let told = told
                .iter()
                .find_map(|begin| Some(&line[line.find(begin)?..]));
            let function = line.split_once(" (").map_or(line, |(before, _)| before);
            match (of_stack, told) {
                (true, _) => Some(function.trim_end_matches(char::is_numeric)),
                (false, told) => told,
            }
        });
        (kept.map(str::to_owned).collect::<Vec<_>>(), output)
    };
    let (bare, output) = run(&[]);
    assert!(
        bare.iter().any(|line| line == "$1 = 7") && bare.len() > 8,
        "{output:?}"
    );
    for variables in settings() {
        let set = variables.map(|setting| {
            let (name, value) = setting.split_once('=').unwrap();
            format!("set environment {name} {value}")
        });
        let (preloaded, output) = run(&set);
        if set.iter().any(|word| word.ends_with("HUBS 2")) {
            // Another hub may have told the thread of the signal, which then interrupted it
            // elsewhere than in its own call.
            let (preloaded, bare) = (above_handlers(&preloaded), above_handlers(&bare));
            assert_eq!(preloaded, bare, "{set:?}: {output:?}");
        } else {
            assert_eq!(preloaded, bare, "{set:?}: {output:?}");
        }
    }
}

/// The lines without the frames that a handler has interrupted.
fn above_handlers(lines: &[String]) -> Vec<&String> {
    let mut interrupted = false;
    let kept = lines.iter().filter(|line| {
        interrupted &= line.starts_with('#') && !line.starts_with("#0 ");
        let keep = !interrupted;
        interrupted |= line.contains("<signal handler called>");
        keep
    });
    kept.collect()
}
