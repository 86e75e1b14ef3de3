//! What would be patched here, and why a program can't be.
//!
//! The same code looks at the files that looks at a running program's objects, so
//! what is told is what happens.

mod objects;
pub mod program;

use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use gevent_runtime::catch;
use gevent_runtime::config::{self, LoopKind};
use gevent_runtime::reactor::Reactor;
use gevent_shim::arm::{self, Means};

use crate::{Ending, Failure, library, own, print};
use objects::Finding;
use program::{Found, MOST_SCRIPTS};

/// Looks at this machine, and at a program if one is named.
///
/// # Errors
/// When the program can't be found or read, or nothing can be printed.
pub fn doctor(library: Option<&OsString>, program: Option<&OsString>) -> Ending {
    let mut report = Report::default();
    match library::find(library) {
        Ok(path) => report.line("library", path.display()),
        Err(error) => report.trouble("library", error),
    }
    machine(&mut report);
    means(&mut report);
    let (_, errors) = config::check(std::env::vars_os());
    for error in errors {
        report.trouble("setting", error);
    }
    match program {
        Some(program) => look_at(
            &mut report,
            &program::locate(program).map_err(Failure::new)?,
        )?,
        None => {
            let own = own::executable().map_err(Failure::new)?;
            // What this program is linked with is libc and the dynamic linker.
            list(&mut report, &own, false);
        }
    }
    report.text += match (report.troubled, program) {
        (true, _) => "verdict   it would run as without the library\n",
        (false, _) if report.caught => {
            "verdict   cooperative, but slower: every call of a program with threads is caught\n"
        }
        (false, _) if report.caught_in_part => {
            "verdict   cooperative, on one hub: calls of some sites are caught\n"
        }
        (false, Some(_)) => "verdict   can be made cooperative\n",
        (false, None) => "verdict   programs can be made cooperative here\n",
    };
    print(&report.text)?;
    Ok(i32::from(report.troubled))
}

/// What stands in the way of catching calls.
pub const NO_CATCHING: &str = "and this kernel has or allows no Syscall User Dispatch";

/// The text, and whether something in it stands in the way.
#[derive(Default)]
struct Report {
    text: String,
    troubled: bool,
    /// Nothing can be patched.
    caught: bool,
    /// Not all of libc can be patched.
    caught_in_part: bool,
}

impl Report {
    fn line(&mut self, subject: &str, text: impl std::fmt::Display) {
        // A String takes every write.
        let _ = writeln!(self.text, "{subject:<9} {text}");
    }

    fn trouble(&mut self, subject: &str, text: impl std::fmt::Display) {
        self.line(subject, format_args!("PROBLEM: {text}"));
        self.troubled = true;
    }
}

/// How calls would be led to the library.
fn means(report: &mut Report) {
    match arm::means() {
        Means::Patched => report.line("patching", "text can be written"),
        Means::Caught(why) => {
            report.caught = true;
            report.line(
                "patching",
                format_args!(
                    "none: {why}. Calls of a program with threads are caught by Syscall User \
                     Dispatch, some {CAUGHT_NS} ns each"
                ),
            );
        }
        Means::None(why) => report.trouble("patching", format_args!("{why}, {NO_CATCHING}")),
    }
}

/// What a call costs that is caught, more than one that is not, in nanoseconds on a processor
/// of 2023: a signal, and the return from it.
const CAUGHT_NS: u32 = 1000;

fn machine(report: &mut Report) {
    let mut system = std::mem::MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: zero is a valid value, which the kernel overwrites; its strings end within it.
    let release = unsafe {
        libc::uname(system.as_mut_ptr());
        std::ffi::CStr::from_ptr(system.assume_init_ref().release.as_ptr())
    };
    let release = release.to_string_lossy();
    // SAFETY: a constant string of libc's.
    let libc_version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    report.line(
        "machine",
        format_args!(
            "Linux {}, {}, glibc {}",
            release.trim(),
            std::env::consts::ARCH,
            libc_version.to_string_lossy()
        ),
    );
    // SAFETY: getauxval has no preconditions.
    let has_fsgsbase = unsafe { libc::getauxval(libc::AT_HWCAP2) } & 2 != 0;
    report.line(
        "switches",
        if has_fsgsbase {
            "without a system call (wrfsbase)"
        } else {
            "with a system call (no wrfsbase): slower, still right"
        },
    );
    match Reactor::open(LoopKind::Auto, false) {
        Ok(reactor) => {
            let name = reactor.name();
            reactor.abandon();
            let why = if name == "epoll" {
                ": this kernel has or allows no io_uring that is new enough"
            } else {
                ""
            };
            report.line("reactor", format_args!("{name}{why}"));
        }
        Err(error) => report.trouble(
            "reactor",
            format_args!("none: {}", std::io::Error::from_raw_os_error(-error as i32)),
        ),
    }
}

/// Looks at a program, and at what runs it if it is a script.
fn look_at(report: &mut Report, path: &Path) -> Result<(), Failure> {
    let mut path = path.to_owned();
    for _ in 0..MOST_SCRIPTS {
        let looked = program::look(&path).map_err(|error| {
            Failure::new(format_args!("cannot read {}: {error}", path.display()))
        })?;
        for trouble in &looked.troubles {
            report.trouble("program", format_args!("{} {trouble}", path.display()));
        }
        match looked.found {
            Found::Script(interpreter) => {
                let interpreter = program::locate(&interpreter).map_err(Failure::new)?;
                report.line(
                    "program",
                    format_args!(
                        "{} is a script, run by {}",
                        path.display(),
                        interpreter.display()
                    ),
                );
                path = interpreter;
            }
            Found::Dynamic => {
                report.line(
                    "program",
                    format_args!("{}, dynamically linked", path.display()),
                );
                list(report, &path, true);
                return Ok(());
            }
            Found::Impossible => return Ok(()),
        }
    }
    report.trouble(
        "program",
        format_args!("{}: too many scripts", path.display()),
    );
    Ok(())
}

/// The objects of a program and their sites.
fn list(report: &mut Report, program: &Path, with_program: bool) {
    let mut paths: Vec<PathBuf> = Vec::new();
    if with_program {
        paths.push(program.to_owned());
    }
    match objects::linked_with(program) {
        Ok(linked) => {
            for missing in &linked.missing {
                report.trouble("object", format_args!("{missing} is not found"));
            }
            paths.extend(linked.found);
        }
        Err(error) => report.trouble("object", error),
    }
    for path in paths {
        let decides = objects::decides(&path);
        match objects::look(&path) {
            Ok(finding) if decides && !finding.refused.is_empty() => {
                let told = told(&path, &finding);
                if !catch::is_available() {
                    report.trouble("object", format_args!("{told}, {NO_CATCHING}"));
                } else {
                    report.caught |= finding.refuses_threads;
                    report.caught_in_part = true;
                    let what = if finding.refuses_threads {
                        "Calls of a program with threads"
                    } else {
                        "Calls there"
                    };
                    report.line(
                        "object",
                        format_args!(
                            "{told}. {what} are caught by Syscall User Dispatch, some {CAUGHT_NS} ns each"
                        ),
                    );
                }
            }
            Ok(finding) => report.line("object", told(&path, &finding)),
            Err(error) if decides => {
                report.trouble("object", format_args!("{}: {error}", path.display()))
            }
            Err(error) => report.line(
                "object",
                format_args!("{} stays as it is: {error}", path.display()),
            ),
        }
    }
}

fn told(path: &Path, finding: &Finding) -> String {
    let mut text = match finding.sites {
        0 => format!("{}: no system call of its own", path.display()),
        1 => format!("{}: 1 site", path.display()),
        sites => format!("{}: {sites} sites", path.display()),
    };
    for (address, reason) in &finding.refused {
        // A String takes every write.
        let _ = write!(text, "; the one at {address:#x} stays: it {reason}");
    }
    text
}
