//! Compares what a program did preloaded with what it did bare.

use crate::mode::EventLoop;
use crate::run::{End, Held, Outcome};
use similar::TextDiff;
use std::fmt::Write;

/// Kernel threads a preloaded program may have: the hub and two idle helpers.
pub const KERNEL_THREADS: usize = 3;

/// What must hold besides equality with bare.
#[derive(Clone, Copy, Debug)]
pub struct Demands {
    /// How the program ends.
    pub end: End,
    /// The program holds still once, with more threads than [`KERNEL_THREADS`].
    pub counts_threads: bool,
    /// The event loop it was told to use; checked when it holds still.
    pub event_loop: Option<EventLoop>,
    /// How many hubs it was told to run, each a kernel thread.
    pub hubs: usize,
}

impl Default for Demands {
    fn default() -> Self {
        Self {
            end: End::Exit(0),
            counts_threads: false,
            event_loop: None,
            hubs: 1,
        }
    }
}

/// Says why a bare run can't be an oracle, if it can't.
///
/// # Errors
/// The report for the person at the terminal.
pub fn check_bare(bare: &Outcome, demands: Demands) -> Result<(), String> {
    if bare.end != demands.end {
        return Err(format!(
            "the test itself is wrong: bare, the program should end with {} and ended with {}\n{}",
            demands.end,
            bare.end,
            text_of(bare)
        ));
    }
    match bare.held {
        Some(held) if demands.counts_threads && held.kernel_threads <= KERNEL_THREADS => {
            Err(format!(
                "the test itself is wrong: bare, it has only {} kernel threads",
                held.kernel_threads
            ))
        }
        None if demands.counts_threads => Err(format!(
            "the test itself is wrong: bare, the program never held still\n{}",
            text_of(bare)
        )),
        _ => Ok(()),
    }
}

/// Says how `preloaded` differs from `bare`, if it does.
///
/// # Errors
/// The report for the person at the terminal.
pub fn compare(bare: &Outcome, preloaded: &Outcome, demands: Demands) -> Result<(), String> {
    let mut report = String::new();
    if bare.end != preloaded.end {
        say(
            &mut report,
            &format!("bare: {}; preloaded: {}", bare.end, preloaded.end),
        );
    }
    for (name, expected, found) in [
        ("stdout", &bare.stdout, &preloaded.stdout),
        ("stderr", &bare.stderr, &preloaded.stderr),
    ] {
        if expected != found {
            let diff = TextDiff::from_lines(expected, found);
            let unified = diff
                .unified_diff()
                .context_radius(3)
                .header(&format!("{name} bare"), &format!("{name} preloaded"))
                .to_string();
            say(&mut report, unified.trim_end());
        }
    }
    if let Some(threads) = &preloaded.at_time_limit {
        say(
            &mut report,
            &format!("its kernel threads:\n{}", threads.trim_end()),
        );
    }
    if demands.counts_threads {
        match preloaded.held {
            Some(held) => check_held(&mut report, held, demands),
            None => say(&mut report, "preloaded, the program never held still"),
        }
    }
    if report.is_empty() {
        Ok(())
    } else {
        Err(report)
    }
}

/// Demands of a program that can't run bare: the end it asks for, and nothing on standard error.
///
/// # Errors
/// The report for the person at the terminal.
pub fn check_alone(preloaded: &Outcome, demands: Demands) -> Result<(), String> {
    let perfect = Outcome {
        end: demands.end,
        stdout: preloaded.stdout.clone(),
        stderr: String::new(),
        held: None,
        at_time_limit: None,
    };
    compare(&perfect, preloaded, demands)
}

fn check_held(report: &mut String, held: Held, demands: Demands) {
    let allowed = KERNEL_THREADS + demands.hubs - 1;
    if held.kernel_threads > allowed {
        let count = held.kernel_threads;
        say(
            report,
            &format!("{count} kernel threads preloaded, at most {allowed} allowed"),
        );
    }
    match (demands.event_loop, held.rings) {
        (Some(EventLoop::IoUring), 0) => say(report, "told to use io_uring, it has no ring"),
        (Some(EventLoop::Epoll), 1..) => say(report, "told to use epoll, it has an io_uring"),
        _ => {}
    }
}

fn say(report: &mut String, line: &str) {
    writeln!(report, "{line}").expect("writing to a String cannot fail");
}

fn text_of(outcome: &Outcome) -> String {
    format!(
        "--- stdout\n{}--- stderr\n{}{}",
        outcome.stdout,
        outcome.stderr,
        outcome.at_time_limit.as_deref().unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(stdout: &str) -> Outcome {
        Outcome {
            end: End::Exit(0),
            stdout: stdout.to_owned(),
            stderr: String::new(),
            held: None,
            at_time_limit: None,
        }
    }

    const COUNTED: Demands = Demands {
        end: End::Exit(0),
        counts_threads: true,
        hubs: 1,
        event_loop: None,
    };

    fn holding(kernel_threads: usize, rings: usize) -> Outcome {
        let mut outcome = outcome("");
        outcome.held = Some(Held {
            kernel_threads,
            rings,
        });
        outcome
    }

    #[test]
    fn equal_outcomes_pass() {
        assert_eq!(
            compare(&outcome("a\n"), &outcome("a\n"), Demands::default()),
            Ok(())
        );
    }

    #[test]
    fn a_different_line_is_shown_in_context() {
        let report = compare(
            &outcome("a\nb\nc\n"),
            &outcome("a\nX\nc\n"),
            Demands::default(),
        )
        .unwrap_err();
        assert!(
            report.contains("\n a\n-b\n+X\n c\n") || report.contains("\n-b\n+X\n"),
            "{report}"
        );
        assert!(
            report.contains("stdout bare") && report.contains("stdout preloaded"),
            "{report}"
        );
    }

    #[test]
    fn a_different_end_is_named() {
        let mut other = outcome("");
        other.end = End::Signal(11);
        let report = compare(&outcome(""), &other, Demands::default()).unwrap_err();
        assert!(
            report.contains("bare: exit status 0; preloaded: killed by signal 11"),
            "{report}"
        );
    }

    #[test]
    fn too_many_kernel_threads_fail_an_equal_outcome() {
        assert!(compare(&outcome(""), &holding(4, 0), COUNTED).is_err());
        assert_eq!(compare(&outcome(""), &holding(3, 0), COUNTED), Ok(()));
        assert!(compare(&outcome(""), &outcome(""), COUNTED).is_err());
    }

    #[test]
    fn the_other_event_loop_fails_an_equal_outcome() {
        let told = |event_loop| Demands {
            event_loop: Some(event_loop),
            ..COUNTED
        };
        let with =
            |rings, event_loop| compare(&outcome(""), &holding(2, rings), told(event_loop)).is_ok();
        assert!(with(1, EventLoop::IoUring) && !with(0, EventLoop::IoUring));
        assert!(with(0, EventLoop::Epoll) && !with(1, EventLoop::Epoll));
    }

    #[test]
    fn a_bare_run_with_few_threads_proves_nothing() {
        assert!(check_bare(&holding(2, 0), COUNTED).is_err());
        assert_eq!(check_bare(&holding(1000, 0), COUNTED), Ok(()));
    }

    #[test]
    fn a_bare_run_that_ends_otherwise_is_no_oracle() {
        let mut failed = outcome("");
        failed.end = End::Exit(99);
        assert!(check_bare(&failed, Demands::default()).is_err());
    }
}
