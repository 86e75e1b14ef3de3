//! Guest programs on real kernels, older and newer than the machine's, by the names
//! `release::program::mode`.
//!
//! A virtual machine a kernel runs them, on emulated processors, which have protection keys: the
//! machine's own need not. What the library does without (`wrfsbase`, io_uring, clone3,
//! membarrier, pidfd, rseq and more) is not there in truth, where the driver `sandbox` only has
//! it refused. Emulation is slow: a few programs of each kind run, each bare and with two pairs
//! of event loop and number of hubs; `GEVENT_TESTS_SYSTEMS=all` asks for all kernels.
//!
//! Where there is no `qemu-system-x86_64` every test is ignored, and says so; with `CI` set that
//! is a failure.

mod install;
mod machine;

use gevent_tests::guest::Guest;
use gevent_tests::library;
use gevent_tests::mode::EventLoop;
use gevent_tests::oracle::{self, Demands};
use gevent_tests::run::Outcome;
use gevent_tests::trials::Choice;
use libtest_mimic::{Failed, Trial};
use machine::{LIBRARY, Run, Told};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, OnceLock};

/// A kernel of a distribution.
pub struct Kernel {
    /// Its release, as far as it matters.
    pub release: &'static str,
    /// Where its distribution is.
    pub mirror: &'static str,
    /// The distribution's release.
    pub suite: &'static str,
    /// What its package's name begins and ends with; digits and dots are between.
    pub package: (&'static str, &'static str),
    /// Whether it has an io_uring that is new enough.
    rings: bool,
    /// Whether it runs when not everything is asked for.
    always: bool,
}

const DEBIAN: &str = "http://deb.debian.org/debian";
const UBUNTU: &str = "http://archive.ubuntu.com/ubuntu";

static KERNELS: [Kernel; 5] = [
    // Older than that of RHEL 8, which is a 4.18.
    Kernel {
        release: "4.15",
        mirror: UBUNTU,
        suite: "bionic",
        package: ("linux-image-4.15.0-", "-generic"),
        rings: false,
        always: true,
    },
    Kernel {
        release: "5.4",
        mirror: UBUNTU,
        suite: "focal",
        package: ("linux-image-5.4.0-", "-generic"),
        rings: false,
        always: false,
    },
    Kernel {
        release: "5.10",
        mirror: DEBIAN,
        suite: "bullseye",
        package: ("linux-image-5.10.0-", "-amd64"),
        rings: false,
        always: false,
    },
    Kernel {
        release: "6.1",
        mirror: DEBIAN,
        suite: "bookworm",
        package: ("linux-image-6.1.0-", "-amd64"),
        rings: true,
        always: true,
    },
    Kernel {
        release: "6.12",
        mirror: DEBIAN,
        suite: "trixie",
        package: ("linux-image-6.12.", "+deb13-amd64"),
        rings: true,
        always: false,
    },
];

/// Guest programs, by name: none that computes for long, or measures how long.
const PROGRAMS: [&str; 18] = [
    "cancel_points",
    "cred_once",
    "futex_wait_wake",
    "io_pipe_large",
    "net_unix",
    "poll_epoll",
    "poll_results",
    "preempt_spin",
    "process_fork",
    "process_waits",
    "signal_frames",
    "signal_masks",
    "signal_restart",
    "sync_mutex_cond",
    "sync_mutex_robust",
    "threads_create_join",
    "threads_rare_registers",
    "time_wake_order",
];

/// The program whose events say which reactor there is.
const WITNESS: &str = "threads_create_join";

/// Pairs of event loop and number of hubs; a program runs with two that follow each other.
const PAIRS: [(EventLoop, usize); 4] = [
    (EventLoop::IoUring, 1),
    (EventLoop::Epoll, 2),
    (EventLoop::Epoll, 1),
    (EventLoop::IoUring, 2),
];

/// What a machine told, or why there was none.
type Ready = Arc<OnceLock<Result<Told, String>>>;

const BARE: &str = "bare";
const EVENTS: &str = "events";

fn runs(guests: &[Guest]) -> Vec<Run> {
    let preload = || format!("LD_PRELOAD={LIBRARY}");
    let mut runs = Vec::new();
    for (number, guest) in guests.iter().enumerate() {
        let mut add = |mode: String, environment: Vec<String>| {
            runs.push(Run {
                program: guest.name.clone(),
                mode,
                environment,
            });
        };
        add(BARE.to_owned(), Vec::new());
        for place in [number, number + 1] {
            let (event_loop, hubs) = PAIRS[place % PAIRS.len()];
            let environment = vec![
                preload(),
                format!("GEVENT_SHIM_LOOP={}", event_loop.name()),
                format!("GEVENT_SHIM_HUBS={hubs}"),
            ];
            add(format!("{}_{hubs}_hubs", event_loop.name()), environment);
        }
        if guest.name == WITNESS {
            let events = "GEVENT_SHIM_EVENTS=gevent::hub=info".to_owned();
            add(EVENTS.to_owned(), vec![preload(), events]);
        }
    }
    runs
}

fn outcome<'a>(ready: &'a Ready, program: &str, mode: &str) -> Result<&'a Outcome, String> {
    let told = match ready.get() {
        Some(Ok(told)) => told,
        Some(Err(error)) => return Err(error.clone()),
        None => return Err("no machine was started".to_owned()),
    };
    told.get(&(program.to_owned(), mode.to_owned()))
        .ok_or_else(|| "the machine told nothing of it".to_owned())
}

/// Whether the run says what is demanded of it.
fn check(kernel: &Kernel, ready: &Ready, program: &str, mode: &str) -> Result<(), String> {
    let found = outcome(ready, program, mode)?;
    match mode {
        BARE => oracle::check_bare(found, Demands::default()),
        EVENTS => {
            let reactor = if kernel.rings { "io_uring" } else { "epoll" };
            let mut lines = found.stdout.lines();
            match lines.any(|line| line.contains("waits with") && line.ends_with(reactor)) {
                true => Ok(()),
                false => Err(format!("no hub with {reactor}:\n{}", found.stdout)),
            }
        }
        _ => oracle::compare(outcome(ready, program, BARE)?, found, Demands::default()),
    }
}

fn main() -> ExitCode {
    let choice = Choice::from_args();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
    let guests = match Guest::discover(&sources) {
        Ok(guests) => guests,
        Err(error) => {
            eprintln!("cannot list {}: {error}", sources.display());
            return ExitCode::FAILURE;
        }
    };
    let is_chosen = |guest: &Guest| PROGRAMS.contains(&guest.name.as_str());
    let guests: Vec<Guest> = guests.into_iter().filter(is_chosen).collect();
    if guests.len() != PROGRAMS.len() {
        eprintln!("kernels: a guest program that is named is not there");
        return ExitCode::FAILURE;
    }
    let mut qemu = Command::new("qemu-system-x86_64");
    let missing = qemu.arg("--version").stdout(Stdio::null()).status().err();
    if let Some(why) = &missing {
        if std::env::var_os("CI").is_some_and(|set| !set.is_empty()) {
            eprintln!("kernels: qemu-system-x86_64: {why}");
            return ExitCode::FAILURE;
        }
        eprintln!("kernels: EVERY TEST IS IGNORED: qemu-system-x86_64: {why}");
    }
    let everything = std::env::var_os("GEVENT_TESTS_SYSTEMS").is_some_and(|asked| asked == "all");
    let all = runs(&guests);
    let mut trials = Vec::new();
    let mut wanted = Vec::new();
    for kernel in KERNELS.iter().filter(|kernel| kernel.always || everything) {
        let ready = Ready::default();
        let before = trials.len();
        for run in &all {
            let (program, mode) = (run.program.clone(), run.mode.clone());
            let name = format!("{}::{program}::{mode}", kernel.release);
            if choice.has(&name) {
                let ready = Arc::clone(&ready);
                let trial = Trial::test(name, move || {
                    check(kernel, &ready, &program, &mode).map_err(Failed::from)
                });
                trials.push(trial.with_ignored_flag(missing.is_some()));
            }
        }
        if trials.len() > before {
            wanted.push((kernel, ready));
        }
    }
    if missing.is_none() && !choice.arguments.list {
        std::thread::scope(|scope| {
            for (kernel, ready) in &wanted {
                let (guests, all) = (&guests, &all);
                scope.spawn(move || {
                    ready.get_or_init(|| machine::run(kernel, &library::find()?, guests, all));
                });
            }
        });
    }
    libtest_mimic::run(&choice.arguments, trials).exit_code()
}
