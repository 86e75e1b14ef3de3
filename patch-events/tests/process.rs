//! What a process tells on its real descriptors: each case is a run of this
//! file's [`child`] in a process of its own.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::process::{Command, Output};
use std::sync::Barrier;
use std::time::Duration;

use patch_events::events::{DidPatchGroup, GuestEnded, HubStarted, LoadedLate};
use patch_events::{Filter, Format, PathTemplate, Target, install, write_directly};

const FILTER: &str = "CHILD_FILTER";
const FILE: &str = "CHILD_FILE";

#[test]
#[ignore = "the other tests run it in a process of its own"]
fn child() {
    let target = match std::env::var_os(FILE) {
        Some(path) => Target::File(PathTemplate::new(&path).unwrap()),
        None => Target::Stderr,
    };
    if let Ok(filter) = std::env::var(FILTER) {
        let filter: Filter = filter.parse().unwrap();
        if let Err(error) = install(&filter, &target, Format::Text, write_directly) {
            println!("refused: {error}.");
            return;
        }
    }
    let opened = fs::File::open("/dev/null").unwrap();
    println!("next descriptor: {}.", opened.as_raw_fd());
    DidPatchGroup {
        group: "socket",
        items: 1,
    }
    .emit();
    HubStarted {
        reactor: "epoll",
        kernel_tid: 1,
    }
    .emit();
    // Events are told while another thread holds std's stream.
    let (held, release) = (Barrier::new(2), Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _lock = std::io::stderr().lock();
            held.wait();
            release.wait();
        });
        held.wait();
        LoadedLate {
            threads: 2,
            names: "a, b",
        }
        .emit();
        release.wait();
    });
    GuestEnded {
        tid: 7,
        lived: Duration::from_millis(2),
    }
    .emit();
    println!("done");
}

fn run(filter: Option<&str>, file: Option<&OsStr>) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "child",
        "--exact",
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]);
    command.env_remove(FILTER).env_remove(FILE);
    command.envs(filter.map(|filter| (FILTER, filter)));
    command.envs(file.map(|file| (FILE, file)));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The texts after the target's name.
fn told(bytes: &[u8]) -> Vec<&str> {
    std::str::from_utf8(bytes)
        .unwrap()
        .lines()
        .map(|line| line.split_once(" gevent::").expect(line).1)
        .collect()
}

/// Number of the next descriptor a child opens.
fn next_descriptor(output: &Output) -> String {
    let text = stdout(output);
    let (_, rest) = text.split_once("next descriptor: ").expect(&text);
    rest.split_once('.').expect(&text).0.to_owned()
}

#[test]
fn silent_when_not_asked() {
    let output = run(None, None);
    assert!(stdout(&output).contains("done"));
    assert_eq!(output.stderr, b"");
}

#[test]
fn standard_error_has_what_passes_the_filter() {
    let output = run(Some("all"), None);
    assert_eq!(
        told(&output.stderr),
        [
            "patch: patched the group socket: 1 item",
            "hub: the hub runs on kernel thread 1 and waits with epoll",
            "patch: loaded late: 2 kernel threads of the program cannot become cooperative: a, b",
            "guest: guest 7 ended after 2.0ms",
        ]
    );
    let output = run(Some("off,gevent::patch=warn"), None);
    assert_eq!(
        told(&output.stderr),
        ["patch: loaded late: 2 kernel threads of the program cannot become cooperative: a, b"]
    );
    let output = run(Some("gevent::guest,gevent::patch=error"), None);
    assert_eq!(told(&output.stderr), ["guest: guest 7 ended after 2.0ms"]);
    assert_eq!(run(Some("off"), None).stderr, b"");
}

#[test]
fn a_file_of_the_process_has_them_and_takes_no_number_of_the_programs() {
    let dir = tempfile::tempdir().unwrap();
    let template = dir.path().join("events.%p");
    let output = run(Some("info"), Some(template.as_os_str()));
    assert_eq!(output.stderr, b"");
    assert_eq!(next_descriptor(&output), next_descriptor(&run(None, None)));

    let names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let [name] = names.as_slice() else {
        panic!("one file for one process: {names:?}");
    };
    let pid: u32 = name.strip_prefix("events.").unwrap().parse().unwrap();
    let text = fs::read(dir.path().join(name)).unwrap();
    assert_eq!(told(&text).len(), 3);
    let start = format!("gevent-shim[{pid}] ");
    assert!(text.starts_with(start.as_bytes()));
}

#[test]
fn a_link_is_refused_with_the_variables_name() {
    let dir = tempfile::tempdir().unwrap();
    let (aim, link) = (dir.path().join("aim"), dir.path().join("link"));
    symlink(&aim, &link).unwrap();
    let output = run(Some("all"), Some(link.as_os_str()));
    let expected = format!(
        "refused: GEVENT_SHIM_EVENTS_FILE: cannot write events to \"{}\": it is a symbolic \
         link, or its path has too many.",
        link.display()
    );
    assert!(stdout(&output).contains(&expected), "{output:?}");
    assert_eq!(output.stderr, b"");
    assert!(!aim.exists());
}

#[test]
fn a_missing_directory_is_refused() {
    let output = run(
        Some("all"),
        Some(OsStr::new("/nonexistent-directory/events")),
    );
    assert!(
        stdout(&output).contains(
            "refused: GEVENT_SHIM_EVENTS_FILE: cannot write events to \
             \"/nonexistent-directory/events\": No such file or directory"
        ),
        "{output:?}"
    );
}
