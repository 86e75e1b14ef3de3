//! Programs in containers and sandboxes: most are `guests/sandbox/families.c`, which tells the result of
//! everything it does, where calls are denied before it starts, where it installs a filter
//! itself after its first thread, and in places that lack what programs usually find.
//!
//! A call is denied in one event loop and with one number of hubs, taken in turns;
//! `GEVENT_TESTS_SANDBOX=all` asks for every number of a call with all of them.

mod filter;
mod group;
mod places;

use filter::Denied;
use gevent_tests::compile;
use gevent_tests::library;
use gevent_tests::mode::{EventLoop, Mode};
use gevent_tests::oracle::{self, Demands};
use gevent_tests::run::{self, End, Outcome};
use group::Group;
use libtest_mimic::{Arguments, Failed, Trial};
use places::Place;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long a run may take.
const LIMIT: Duration = Duration::from_secs(40);

/// Calls that the library makes in place of the program's own, or for itself, and that a program
/// may find denied.
const CALLS: [(&str, i64); 42] = [
    ("clone3", libc::SYS_clone3),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("io_uring_enter", libc::SYS_io_uring_enter),
    ("io_uring_register", libc::SYS_io_uring_register),
    ("epoll_create1", libc::SYS_epoll_create1),
    ("epoll_wait", libc::SYS_epoll_wait),
    ("epoll_pwait", libc::SYS_epoll_pwait),
    ("epoll_pwait2", libc::SYS_epoll_pwait2),
    ("eventfd2", libc::SYS_eventfd2),
    ("signalfd4", libc::SYS_signalfd4),
    ("timerfd_create", libc::SYS_timerfd_create),
    ("timer_create", libc::SYS_timer_create),
    ("preadv2", libc::SYS_preadv2),
    ("pwritev2", libc::SYS_pwritev2),
    ("writev", libc::SYS_writev),
    ("poll", libc::SYS_poll),
    ("ppoll", libc::SYS_ppoll),
    ("select", libc::SYS_select),
    ("fcntl", libc::SYS_fcntl),
    ("getsockopt", libc::SYS_getsockopt),
    ("membarrier", libc::SYS_membarrier),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("userfaultfd", libc::SYS_userfaultfd),
    ("statx", libc::SYS_statx),
    ("rseq", libc::SYS_rseq),
    ("set_robust_list", libc::SYS_set_robust_list),
    ("get_robust_list", libc::SYS_get_robust_list),
    ("memfd_create", libc::SYS_memfd_create),
    ("sched_getaffinity", libc::SYS_sched_getaffinity),
    ("sched_setaffinity", libc::SYS_sched_setaffinity),
    ("set_mempolicy", libc::SYS_set_mempolicy),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("ptrace", libc::SYS_ptrace),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("madvise", libc::SYS_madvise),
    ("futex_waitv", libc::SYS_futex_waitv),
    ("close_range", libc::SYS_close_range),
    ("getrandom", libc::SYS_getrandom),
    ("sigaltstack", libc::SYS_sigaltstack),
    ("tgkill", libc::SYS_tgkill),
    ("rt_sigaction", libc::SYS_rt_sigaction),
    ("openat2", libc::SYS_openat2),
];

/// What fails and is then the program's own failure too may end it early, but never keep it
/// waiting. Calls that the hub makes for a guest without the kernel succeed where the kernel
/// would have refused them; the program then goes on.
const ENDS_ALONE: [&str; 2] = ["tgkill", "rt_sigaction"];

/// Whole sets of denied calls.
const PROFILES: [(&str, &str); 3] = [
    ("docker", include_str!("profiles/docker.txt")),
    ("podman", include_str!("profiles/podman.txt")),
    ("gvisor", include_str!("profiles/gvisor.txt")),
];

/// Calls that a filter denies which the program installs when it has had a thread.
const LATER: [(&str, i64); 20] = [
    ("io_uring_enter", libc::SYS_io_uring_enter),
    ("epoll_wait", libc::SYS_epoll_wait),
    ("epoll_pwait2", libc::SYS_epoll_pwait2),
    ("preadv2", libc::SYS_preadv2),
    ("pwritev2", libc::SYS_pwritev2),
    ("poll", libc::SYS_poll),
    ("recvfrom", libc::SYS_recvfrom),
    ("fcntl", libc::SYS_fcntl),
    ("getsockopt", libc::SYS_getsockopt),
    ("clone", libc::SYS_clone),
    ("clone3", libc::SYS_clone3),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("getrandom", libc::SYS_getrandom),
    ("sched_yield", libc::SYS_sched_yield),
    ("nanosleep", libc::SYS_clock_nanosleep),
    ("fsync", libc::SYS_fsync),
    ("accept", libc::SYS_accept),
    ("unlink", libc::SYS_unlink),
    ("madvise", libc::SYS_madvise),
    ("readv", libc::SYS_readv),
];

/// With these the program itself waits for ever, or as often as its time allows: the handler of
/// SIGSYS leaves the number of the call as its result.
const WAITS_FOR_EVER: [(&str, &str); 2] = [("clone", "trap"), ("nanosleep", "trap")];

const HUBS: [usize; 2] = [1, 2];

fn combinations() -> Vec<(EventLoop, usize)> {
    let loops = EventLoop::ALL.into_iter().filter(|one| one.available());
    loops.flat_map(|one| HUBS.map(|hubs| (one, hubs))).collect()
}

/// The combinations to run, of which the `turn`-th is enough unless all are asked for.
fn chosen(turn: usize) -> Vec<(EventLoop, usize)> {
    let all = combinations();
    if std::env::var_os("GEVENT_TESTS_SANDBOX").is_some_and(|value| value == "all") {
        return all;
    }
    vec![all[turn % all.len()]]
}

/// What does everything; and what answers for its own filter.
static FAMILIES: Program = Program::new("sandbox/families");
static SUPERVISOR: Program = Program::new("sandbox/supervisor");
/// What makes as many threads as a control group allows.
static GROUP: Program = Program::new("sandbox/group");

/// A program of `guests`, built when first asked for.
struct Program(&'static str, OnceLock<Result<PathBuf, String>>);

impl Program {
    const fn new(name: &'static str) -> Self {
        Self(name, OnceLock::new())
    }

    fn path(&self) -> Result<&Path, String> {
        let Self(name, built) = self;
        let built = built.get_or_init(|| {
            let source = format!("guests/{name}.c");
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
            let output = Path::new(env!("CARGO_TARGET_TMPDIR"))
                .join(format!("sandbox/{}", name.replace('/', "_")));
            compile::build(&source, &[], &output)
                .map(|()| output)
                .map_err(|error| error.to_string())
        });
        built.as_deref().map_err(Clone::clone)
    }
}

/// One run, in a directory of its own.
fn run_it(
    program: &Program,
    mode: &Mode,
    arguments: &[String],
    prepare: &dyn Fn(&mut Command),
) -> Result<Outcome, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut command = Command::new(program.path()?);
    command.args(arguments).current_dir(directory.path());
    mode.apply(&mut command);
    prepare(&mut command);
    run::run(&mut command, LIMIT, false).map_err(|error| format!("cannot run it: {error}"))
}

/// How much is demanded of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strictness {
    /// As bare.
    Same,
    /// That it ends.
    Ends,
}

fn check(
    turn: usize,
    arguments: &[String],
    strictness: Strictness,
    prepare: &dyn Fn(&mut Command),
) -> Result<(), Failed> {
    check_program(&FAMILIES, turn, arguments, strictness, prepare)
}

fn check_program(
    program: &Program,
    turn: usize,
    arguments: &[String],
    strictness: Strictness,
    prepare: &dyn Fn(&mut Command),
) -> Result<(), Failed> {
    let bare = run_it(program, &Mode::Bare, arguments, prepare)?;
    let mut reports = String::new();
    for (event_loop, hubs) in chosen(turn) {
        let mode = Mode::Preloaded {
            library: library::find()?,
            event_loop,
            hubs,
        };
        let preloaded = run_it(program, &mode, arguments, prepare)?;
        let result = match strictness {
            Strictness::Same => oracle::compare(&bare, &preloaded, Demands::default()),
            Strictness::Ends if preloaded.end == End::TimeLimit && bare.end != End::TimeLimit => {
                Err(format!("it hangs after\n{}", preloaded.stdout))
            }
            Strictness::Ends => Ok(()),
        };
        if let Err(report) = result {
            reports.push_str(&format!(
                "{} with {hubs} hubs:\n{report}\n",
                event_loop.name()
            ));
        }
    }
    if reports.is_empty() {
        Ok(())
    } else {
        Err(reports.into())
    }
}

fn denied_before() -> Vec<Trial> {
    let calls = CALLS.iter().enumerate();
    calls
        .flat_map(|(at, &(name, nr))| {
            [("eperm", libc::EPERM), ("enosys", libc::ENOSYS)]
                .into_iter()
                .enumerate()
                .map(move |(number, (with, errno))| {
                    let strictness = if ENDS_ALONE.contains(&name) {
                        Strictness::Ends
                    } else {
                        Strictness::Same
                    };
                    Trial::test(format!("denied::{name}::{with}"), move || {
                        let denied = [Denied { nr, errno }];
                        check(at + number, &[], strictness, &|command| {
                            filter::deny(command, &denied);
                        })
                    })
                })
        })
        .collect()
}

/// Calls by which a child prepares itself that finds out for which ones a filter kills.
const PREPARES: [(&str, i64); 3] = [
    ("prctl", libc::SYS_prctl),
    ("prlimit64", libc::SYS_prlimit64),
    ("timer_settime", libc::SYS_timer_settime),
];

/// These and the calls of above, for which a filter kills that was there before.
fn killed_before() -> Vec<Trial> {
    let calls = CALLS.iter().chain(&PREPARES).enumerate();
    calls
        .flat_map(|(at, &(name, nr))| {
            [("process", false), ("thread", true)].map(move |(what, thread)| {
                // A program whose thread is gone may wait for it for ever.
                let strictness = if thread {
                    Strictness::Ends
                } else {
                    Strictness::Same
                };
                Trial::test(format!("killed::{name}::{what}"), move || {
                    check(at + usize::from(thread), &[], strictness, &|command| {
                        filter::kill(command, nr, thread);
                    })
                })
            })
        })
        .collect()
}

/// Where nothing may be tried: a child would be killed that makes a process, or would wait for a
/// thread that is not there yet.
fn not_tried() -> Vec<Trial> {
    let each = (0..combinations().len()).flat_map(|turn| {
        let processes = Trial::test(format!("killed::processes::{turn}"), move || {
            check(turn, &[], Strictness::Same, &filter::kill_processes)
        });
        let supervisor = Trial::test(format!("supervisor::{turn}"), move || {
            check_program(&SUPERVISOR, turn, &[], Strictness::Same, &|_| {})
        });
        [processes, supervisor]
    });
    each.collect()
}

fn profiles() -> Vec<Trial> {
    let each = PROFILES.iter().flat_map(|&(name, text)| {
        (0..combinations().len()).map(move |turn| {
            Trial::test(format!("profile::{name}::{turn}"), move || {
                let denied = filter::profile(text);
                check(turn, &[], Strictness::Same, &|command| {
                    filter::deny(command, &denied);
                })
            })
        })
    });
    each.collect()
}

fn installed_later() -> Vec<Trial> {
    let actions = ["errno:1", "errno:38", "trap", "kill"];
    let mut trials = Vec::new();
    for (at, (name, nr)) in LATER.into_iter().enumerate() {
        let ends = |action: &&str| !WAITS_FOR_EVER.contains(&(name, action));
        for (number, action) in actions.into_iter().filter(ends).enumerate() {
            for all in [false, true] {
                let mut arguments = vec![action.to_owned(), nr.to_string()];
                let mut called = format!("installed::{name}::{}", action.replace(':', "_"));
                if all {
                    arguments.push("all".to_owned());
                    called.push_str("_all");
                }
                let turn = at + number + usize::from(all);
                trials.push(Trial::test(called, move || {
                    check(turn, &arguments, Strictness::Same, &|_| {})
                }));
            }
        }
    }
    trials
}

fn in_places() -> Vec<Trial> {
    let each = Place::ALL.into_iter().flat_map(|place| {
        (0..combinations().len()).map(move |turn| {
            Trial::test(format!("place::{}::{turn}", place.name()), move || {
                check(turn, &[], Strictness::Same, &|command| place.put(command))
            })
            // Mounts and namespaces are root's to make.
            .with_ignored_flag(!is_root())
        })
    });
    each.collect()
}

/// In a control group that allows few threads.
fn in_group() -> Vec<Trial> {
    let may = Group::new("may").is_some();
    let each = (0..combinations().len()).map(|turn| {
        Trial::test(format!("group::{turn}"), move || {
            let group = Group::new(&turn.to_string()).ok_or("no control group can be made")?;
            check_program(&GROUP, turn, &[], Strictness::Same, &|command| {
                group.put(command);
            })
        })
        .with_ignored_flag(!may)
    });
    each.collect()
}

/// Where there is no /proc, or nothing in it.
const WITHOUT_PROC: [Place; 3] = [Place::NoProc, Place::EmptyProc, Place::NoMaps];

/// Guest programs that are run there too: of what each is about, /proc would tell something.
static GUESTS_WITHOUT_PROC: [Program; 12] = [
    Program::new("futex_keys"),
    Program::new("futex_shared_mappings"),
    Program::new("futex_waitv"),
    Program::new("io_uring_own"),
    Program::new("poll_beyond_table"),
    Program::new("process_fork"),
    Program::new("signal_descriptor"),
    Program::new("signal_frames"),
    Program::new("sync_robust_killed"),
    Program::new("sync_shared"),
    Program::new("sync_shared_matrix"),
    Program::new("threads_stack_bounds"),
];

/// Programs without /proc run as bare, and are cooperative.
fn without_proc() -> Vec<Trial> {
    let guests = GUESTS_WITHOUT_PROC.iter().enumerate().map(|(turn, guest)| {
        Trial::test(format!("no_proc::{}", guest.0), move || {
            let place = WITHOUT_PROC[turn % WITHOUT_PROC.len()];
            check_program(guest, turn, &[], Strictness::Same, &|command| {
                place.put(command);
            })
        })
    });
    let cooperative = WITHOUT_PROC.iter().map(|&place| {
        Trial::test(
            format!("no_proc::cooperative::{}", place.name()),
            move || {
                says(&["the hub runs on kernel thread"], &|command| {
                    command.env("GEVENT_SHIM_EVENTS", "gevent::hub=info");
                    place.put(command);
                })
            },
        )
    });
    let filtered = Trial::test("no_proc::filter", || {
        let why = "the number of the process's threads can't be read";
        says(&["nothing is patched", why], &|command| {
            command.env("GEVENT_SHIM_EVENTS", "gevent::patch=warn");
            Place::NoProc.put(command);
            filter::deny(
                command,
                &[Denied {
                    nr: libc::SYS_vhangup,
                    errno: libc::EPERM,
                }],
            );
        })
    });
    let all = guests.chain(cooperative).chain([filtered]);
    all.map(|trial| trial.with_ignored_flag(!is_root()))
        .collect()
}

/// Where a filter lets nobody make code: every call is caught, as where the kernel itself does so.
fn without_new_code() -> Vec<Trial> {
    let each = [("eperm", libc::EPERM), ("eacces", libc::EACCES)];
    each.into_iter()
        .flat_map(|(name, errno)| {
            (0..combinations().len()).map(move |turn| {
                Trial::test(format!("no_new_code::{name}::{turn}"), move || {
                    check(turn, &[], Strictness::Same, &|command| {
                        filter::deny_new_code(command, errno);
                    })?;
                    is_caught(errno)
                })
            })
        })
        .collect()
}

/// That the program says by an event that its calls are caught.
fn is_caught(errno: i32) -> Result<(), Failed> {
    says(&["caught"], &|command| {
        command.env("GEVENT_SHIM_EVENTS", "gevent::patch=warn");
        filter::deny_new_code(command, errno);
    })
}

/// That the program says all of it by events.
fn says(expected: &[&str], prepare: &dyn Fn(&mut Command)) -> Result<(), Failed> {
    let mode = Mode::Preloaded {
        library: library::find()?,
        event_loop: EventLoop::Epoll,
        hubs: 1,
    };
    let outcome = run_it(&FAMILIES, &mode, &[], prepare)?;
    match expected
        .iter()
        .find(|text| !outcome.stderr.contains(**text))
    {
        None => Ok(()),
        Some(text) => Err(format!("no event says {text:?}:\n{}", outcome.stderr).into()),
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|about| {
        use std::os::unix::fs::MetadataExt;
        about.uid() == 0
    })
}

fn main() -> ExitCode {
    let arguments = Arc::new(Arguments::from_args());
    let mut trials = denied_before();
    trials.extend(killed_before());
    trials.extend(not_tried());
    trials.extend(profiles());
    trials.extend(installed_later());
    trials.extend(in_places());
    trials.extend(without_proc());
    trials.extend(in_group());
    trials.extend(without_new_code());
    if !arguments.list
        && trials
            .iter()
            .any(|trial| trial.has_ignored_flag() && trial.name().starts_with("group::"))
    {
        eprintln!("sandbox: EVERY TEST OF group:: IS IGNORED: no control group can be made");
    }
    if !is_root() && !arguments.list {
        eprintln!(
            "sandbox: EVERY TEST OF place:: IS IGNORED, NO MISSING /proc IS TESTED: we are not root"
        );
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
