//! Running `gevent-shim`, within a time limit.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gevent_tests::{compile, library, mode};

/// The `gevent-shim` beside the library under test.
pub fn launcher() -> PathBuf {
    let path = library::find().unwrap().with_file_name("gevent-shim");
    assert!(
        path.is_file(),
        "no {}: build it with `cargo build --release -p gevent-launcher`",
        path.display()
    );
    path
}

/// `gevent-shim` with these words, killed after half a minute. Variables of the
/// library are not inherited.
pub fn command<W: AsRef<OsStr>>(words: &[W]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "2", "30"]).arg(launcher()).args(words);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GEVENT_SHIM_") {
            command.env_remove(name);
        }
    }
    command.env_remove("LD_PRELOAD");
    if let Some(hubs) = mode::hubs() {
        command.env("GEVENT_SHIM_HUBS", hubs.to_string());
    }
    command
}

/// What came out of a command: exit status, standard output, standard error.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Said {
            status: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

pub fn said(command: &mut Command) -> Said {
    command.output().unwrap().into()
}

pub fn say<W: AsRef<OsStr>>(words: &[W]) -> Said {
    said(&mut command(words))
}

/// It failed with that status and one line that has every one of these parts.
#[track_caller]
pub fn refused(said: &Said, status: i32, parts: &[&str]) {
    assert_eq!(said.status, Some(status), "{said:?}");
    assert_eq!(said.err.lines().count(), 1, "{said:?}");
    assert!(said.err.starts_with("gevent-shim: "), "{said:?}");
    for part in parts {
        assert!(said.err.contains(part), "{part}: {said:?}");
    }
}

/// A C program made of `text`.
pub fn program(directory: &Path, text: &str, arguments: &[&str]) -> PathBuf {
    let source = directory.join("program.c");
    std::fs::write(&source, text).unwrap();
    let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
    let output = directory.join("program");
    compile::build(&source, &arguments, &output).unwrap();
    output
}
