//! What `gevent-shim doctor` says about a system's libc, as a row of a table.

use gevent_tests::library;
use gevent_tests::mode::Mode;
use gevent_tests::root::Root;
use gevent_tests::run::{End, run};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

/// The objects that are patched as a whole or not at all.
const OBJECTS: [&str; 3] = ["libc.so.6", "ld-linux-x86-64.so.2", "libpthread.so.0"];

/// The rows that were found out, by the system's name.
static ROWS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Asks it, in the system at `root`. Every one of its sites must be dealt with.
pub fn check(suite: &str, root: &Root) -> Result<(), String> {
    let library = library::find()?;
    let launcher = library.with_file_name("gevent-shim");
    let mut doctor = Command::new(launcher);
    doctor
        .args(["doctor", "--library"])
        .arg(library)
        .arg("/usr/bin/python3");
    Mode::Bare.apply(&mut doctor);
    root.enter(&mut doctor);
    let outcome = run(&mut doctor, Duration::from_secs(60), false)
        .map_err(|error| format!("doctor: {error}"))?;
    let machine = field(&outcome.stdout, "machine").next();
    let Some((_, glibc)) = machine.and_then(|line| line.rsplit_once("glibc ")) else {
        return Err(format!(
            "no libc is named\n{}{}",
            outcome.stdout, outcome.stderr
        ));
    };
    let mut cells = vec![suite.to_owned(), glibc.to_owned()];
    for name in OBJECTS {
        let object = field(&outcome.stdout, "object").find_map(|line| {
            let line = line.strip_prefix("PROBLEM: ").unwrap_or(line);
            let (path, found) = line.split_once(": ")?;
            (Path::new(path).file_name()?.to_str()? == name).then_some(found)
        });
        cells.push(object.map_or_else(|| "part of libc".to_owned(), cell));
    }
    let row = format!("| {} |", cells.join(" | "));
    if let Ok(mut rows) = ROWS.lock() {
        rows.push((suite.to_owned(), row));
    }
    match outcome.end {
        End::Exit(0) => Ok(()),
        end => Err(format!("{end}\n{}{}", outcome.stdout, outcome.stderr)),
    }
}

/// The lines of a report that begin with `name`.
fn field<'a>(report: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    report
        .lines()
        .filter_map(move |line| line.strip_prefix(name).map(str::trim))
}

/// `525 sites; the one at 0x1 stays: …`: how many, and how many of them stay.
fn cell(found: &str) -> String {
    let mut parts = found.split("; ");
    let sites = parts.next().unwrap_or_default();
    let sites = sites.split(' ').next().filter(|count| *count != "no");
    let others = parts.count();
    format!("{}, {others}", sites.unwrap_or("0"))
}

/// Prints the table, if there is any row.
pub fn print() {
    let Ok(mut rows) = ROWS.lock() else {
        return;
    };
    if rows.is_empty() {
        return;
    }
    rows.sort();
    let names = OBJECTS.map(|name| format!("{name}: sites, not patched"));
    println!("| system | glibc | {} |", names.join(" | "));
    println!("|---|---|{}", "---|".repeat(OBJECTS.len()));
    for (_, row) in rows.iter() {
        println!("{row}");
    }
}
