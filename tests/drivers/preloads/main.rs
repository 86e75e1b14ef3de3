//! Other preloaded libraries, before and after this one: the program does what it does without it.
//!
//! `wrappers.c` stands for those that take functions of libc's: its own lock is held while a
//! child is forked, and it says so when this library calls one of its functions. The
//! others are those of Debian's that `scripts/setup` installs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use gevent_tests::library;

/// Compiles a file of this directory, and returns where it is.
fn compile(source: &str, name: &str, arguments: &[&str]) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("preloads");
    std::fs::create_dir_all(&directory).unwrap();
    // Tests run side by side: none compiles what another one runs.
    let to = directory.join(name);
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("drivers/preloads")
        .join(source);
    let status = Command::new("cc")
        .args(["-w", "-O1", "-pthread", "-o"])
        .args([&to, &from])
        .args(arguments)
        .status()
        .unwrap();
    assert!(status.success());
    to
}

/// What a program prints and how it ends, with these libraries preloaded in this order.
fn outcome(program: &Path, preloads: &[&Path], hubs: &str, settings: &[(&str, &str)]) -> String {
    let list: Vec<_> = preloads.iter().map(|path| path.to_str().unwrap()).collect();
    let output = Command::new("timeout")
        .args(["--signal=KILL", "60", "env"])
        .arg(format!("LD_PRELOAD={}", list.join(":")))
        .arg(program)
        .env_remove(library::VARIABLE)
        .env("GEVENT_SHIM_HUBS", hubs)
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    format!(
        "{}{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        output.status
    )
}

/// Runs a program with another library alone, and with this one after it and before it.
fn same(program: &Path, other: &Path, settings: &[(&str, &str)]) {
    let alone = outcome(program, &[other], "1", settings);
    let own = library::find().unwrap();
    for order in [[other, &own], [&own, other]] {
        for hubs in ["1", "2"] {
            let both = outcome(program, &order, hubs, settings);
            assert_eq!(both, alone, "{order:?}, {hubs} hubs");
        }
    }
}

/// The first of these files that is there. In CI one must be.
fn installed(paths: &[&'static str]) -> Option<&'static Path> {
    let found = paths
        .iter()
        .copied()
        .map(Path::new)
        .find(|path| path.exists());
    if found.is_none() {
        let in_ci = std::env::var_os("CI").is_some_and(|set| !set.is_empty());
        assert!(!in_ci, "none of {paths:?} is installed (see scripts/setup)");
        eprintln!("SKIPPED: none of {paths:?} is installed");
    }
    found
}

#[test]
fn functions_that_another_library_takes_are_not_called() {
    let wrappers = compile("wrappers.c", "libwrappers.so", &["-shared", "-fPIC"]);
    let program = compile("threads.c", "threads_wrapped", &[]);
    same(&program, &wrappers, &[]);
}

#[test]
fn libraries_of_debians() {
    let program = compile("threads.c", "threads", &[]);
    for paths in [
        &["/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"][..],
        &["/usr/lib/x86_64-linux-gnu/libfakeroot/libfakeroot-0.so"],
        &["/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"],
        &["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"],
    ] {
        if let Some(other) = installed(paths) {
            same(&program, other, &[]);
        }
    }
}

#[test]
fn a_deadline_is_awaited_by_the_clock_that_it_was_given_for() {
    let paths = ["/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"];
    let Some(faketime) = installed(&paths) else {
        return;
    };
    let program = compile("sleeps.c", "sleeps", &[]);
    let own = library::find().unwrap();
    for order in [[faketime, &own], [&own, faketime]] {
        let begin = Instant::now();
        // Its time runs four times as fast.
        let said = outcome(&program, &order, "1", &[("FAKETIME", "+0 x4")]);
        assert!(said.starts_with("timed out\n"), "{said}");
        // Two seconds of its time for each of two waits.
        assert!(begin.elapsed() >= Duration::from_millis(900), "{order:?}");
    }
}
