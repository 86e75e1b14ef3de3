//! `gevent-shim`: runs programs under the library, and shows what it does in them.
//!
//! | file | subject |
//! |---|---|
//! | [`cli`] | what may be said on the command line, and its help |
//! | [`run`], [`library`] | starting a program; where the library is |
//! | [`doctor`] | what would be patched here, or why nothing can be |
//! | [`inspect`] | what the guests of a running process do |
//! | [`report`] | a page made of a trace |
//! | [`config`] | the settings |
//! | [`pages`] | completions and the manual page, made from [`cli`] |
//! | [`start`] | from the C library's start-up code to `main`, on every glibc |
//!
//! There is no `main` of Rust's: its start-up ignores SIGPIPE and opens closed
//! standard descriptors, and the program that [`run`] becomes would inherit that.
#![cfg_attr(not(test), no_main)]
#![allow(unsafe_code)]

mod cli;
mod config;
mod doctor;
mod inspect;
mod library;
mod own;
mod pages;
mod report;
mod run;
mod start;

use std::fmt::Display;
use std::io::Write;

/// How a command fails: its line, and the exit status.
#[derive(Debug)]
struct Failure {
    line: String,
    status: i32,
}

impl Failure {
    /// With exit status 1.
    fn new(line: impl Display) -> Self {
        Self::with_status(line, 1)
    }

    /// With that exit status.
    fn with_status(line: impl Display, status: i32) -> Self {
        let line = line.to_string();
        Self { line, status }
    }
}

/// What a command's end is: an exit status, 0 for success.
type Ending = Result<i32, Failure>;

/// The process's entry point, called by libc.
#[cfg_attr(not(test), unsafe(export_name = "main"))]
#[cfg_attr(test, allow(dead_code))]
extern "C" fn entry(_count: i32, _arguments: *const *const i8) -> i32 {
    match cli::act() {
        Ok(status) => status,
        Err(failure) => {
            // Nobody is left to tell if that fails.
            let _ = writeln!(std::io::stderr(), "gevent-shim: {}", failure.line);
            failure.status
        }
    }
}

/// Writes to standard output.
///
/// # Errors
/// A line that says what went wrong.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(format_args!("cannot write to standard output: {error}")))
}
