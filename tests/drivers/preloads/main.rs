//! Other preloaded libraries, before and after this one: the program does what it does without it.
//!
//! `wrappers.c` stands for those that take functions of libc's: its own lock is held while a
//! child is forked, and it says so when this library calls one of its functions. `early.c` makes
//! threads before this one is initialised, `crash_handler.c` tells where a program crashed. The
//! others are those of Debian's that `scripts/setup` installs.

mod debian;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use gevent_tests::{compile, library};

/// Compiles a file of this directory, and returns where it is.
fn built(source: &str, name: &str, arguments: &[&str]) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("preloads");
    // Tests run side by side: none compiles what another one runs.
    let to = directory.join(name);
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("drivers/preloads")
        .join(source);
    let arguments: Vec<_> = arguments.iter().map(|&word| word.to_owned()).collect();
    compile::build(&from, &arguments, &to).unwrap();
    to
}

/// Another library, and what it is given to work with.
struct Other<'a> {
    path: &'a Path,
    /// What runs the program, if anything.
    before: &'a [&'a str],
    /// Variables; `{}` stands for a directory of the run's own.
    settings: &'a [(&'a str, &'a str)],
    /// Files in that directory.
    files: &'a [(&'a str, &'a str)],
}

impl<'a> Other<'a> {
    fn new(path: &'a Path) -> Self {
        Self {
            path,
            before: &[],
            settings: &[],
            files: &[],
        }
    }

    /// What a program prints and how it ends, with these libraries preloaded in this order.
    fn outcome(&self, words: &[&str], preloads: &[&Path], settings: &[(&str, &str)]) -> String {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().to_str().unwrap();
        for (name, text) in self.files {
            std::fs::write(place.path().join(name), text).unwrap();
        }
        let list: Vec<_> = preloads.iter().map(|path| path.to_str().unwrap()).collect();
        let mut command = Command::new("timeout");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GEVENT_SHIM_") {
                command.env_remove(name);
            }
        }
        for (name, value) in self.settings.iter().chain(settings) {
            command.env(name, value.replace("{}", directory));
        }
        let output = command
            .args(["--signal=KILL", "60"])
            .args(self.before)
            .arg("env")
            .arg(format!("LD_PRELOAD={}", list.join(":")))
            .args(words)
            .current_dir(directory)
            .output()
            .unwrap();
        format!(
            "{}{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            output.status
        )
    }

    /// Runs a program with the other library alone, and with this one after it and before it.
    /// What it says and how it ends alone.
    fn same(&self, words: &[&str]) -> String {
        let alone = self.outcome(words, &[self.path], &[]);
        let own = library::find().unwrap();
        for order in [[self.path, &own], [&own, self.path]] {
            for reactor in ["io_uring", "epoll"] {
                for hubs in ["1", "2"] {
                    let settings = [("GEVENT_SHIM_LOOP", reactor), ("GEVENT_SHIM_HUBS", hubs)];
                    let both = self.outcome(words, &order, &settings);
                    assert_eq!(both, alone, "{words:?}, {order:?}, {reactor}, {hubs} hubs");
                }
            }
        }
        alone
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

/// A library of this directory's.
fn own(source: &str, name: &str) -> PathBuf {
    built(source, name, &["-shared", "-fPIC", "-w"])
}

#[test]
fn functions_that_another_library_takes_are_not_called() {
    let wrappers = own("wrappers.c", "libwrappers.so");
    let program = built("threads.c", "threads_wrapped", &[]);
    Other::new(&wrappers).same(&[program.to_str().unwrap()]);
}

#[test]
fn a_library_that_makes_threads_before_this_one_can_be_patched() {
    let early = own("early.c", "libearly.so");
    let program = built("threads.c", "threads_early", &[]);
    for _ in 0..5 {
        let alone = Other::new(&early).same(&[program.to_str().unwrap()]);
        assert_eq!(alone, "children 4, late 4, bytes 400\nexit status: 0");
    }
}

#[test]
fn a_handler_of_crashes_finds_where_the_program_was() {
    let handler = own("crash_handler.c", "libcrash_handler.so");
    let program = built("crashes.c", "crashes", &["-O1", "-rdynamic"]);
    let program = program.to_str().unwrap();
    for how in ["writes", "abort", "divides", "raises"] {
        for initial in [false, true] {
            let words = [program, how, "initial"];
            let words = if initial { &words[..] } else { &words[..2] };
            let alone = Other::new(&handler).same(words);
            assert!(alone.contains("in level_two\nin level_one\n"), "{alone}");
        }
    }
}

#[test]
fn a_deadline_is_awaited_by_the_clock_that_it_was_given_for() {
    let paths = ["/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"];
    let Some(faketime) = installed(&paths) else {
        return;
    };
    let program = built("sleeps.c", "sleeps", &[]);
    let program = [program.to_str().unwrap()];
    let own = library::find().unwrap();
    for order in [[faketime, &own], [&own, faketime]] {
        let begin = Instant::now();
        // Its time runs four times as fast.
        let settings = [("FAKETIME", "+0 x4")];
        let said = Other::new(faketime).outcome(&program, &order, &settings);
        assert!(said.starts_with("timed out\n"), "{said}");
        // Two seconds of its time for each of two waits.
        assert!(begin.elapsed() >= Duration::from_millis(900), "{order:?}");
    }
}
