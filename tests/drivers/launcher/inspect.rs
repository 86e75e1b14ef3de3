//! `gevent-shim ps` and `dump`, the control socket, and the dump on a signal.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Said, launcher, program, refused, said, say};

/// Threads that wait in a pipe and for a mutex, as many as the first argument says; then
/// what the second argument says. Ends when standard input ends.
const PROGRAM: &str = r#"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int ends[2];
static volatile long turns;
static void ready(void) { printf("ready %d\n", getpid()); fflush(stdout); }
__attribute__((noinline)) static void wait_for_data(void) {
    char byte;
    if (read(ends[0], &byte, 1) < 0) abort();
    __asm__ volatile("");
}
static void *reader(void *argument) {
    pthread_setname_np(pthread_self(), "reader");
    wait_for_data();
    return argument;
}
static void *locker(void *argument) { pthread_mutex_lock(&mutex); return argument; }
__attribute__((noinline)) static void compute(void) { for (;;) turns++; }
static void *computer(void *argument) { ready(); compute(); return argument; }
int main(int argc, char **argv) {
    const char *what = argc > 2 ? argv[2] : "";
    if (pipe(ends)) return 1;
    if (!strcmp(what, "fork") && fork() == 0) what = "child";
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < atoi(argv[1]); i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, i % 2 ? locker : reader, NULL)) return 1;
    }
    usleep(1);
    if (!strcmp(what, "compute")) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, computer, NULL)) return 1;
        pthread_join(thread, NULL);
    }
    ready();
    if (!strcmp(what, "stop") && vfork() == 0) {
        char byte;
        if (read(0, &byte, 1) < 0) _exit(1);
        _exit(0);
    }
    char byte;
    while (read(0, &byte, 1) > 0) {}
    if (!strcmp(what, "fork")) wait(NULL);
    return 0;
}
"#;

/// The program under the library; killed when dropped.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    pid: i32,
}

impl Running {
    fn start(command: &mut Command) -> Running {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = child.process_group(0).spawn().unwrap();
        let mut running = Running {
            out: BufReader::new(child.stdout.take().unwrap()),
            child,
            pid: 0,
        };
        running.pid = running.ready();
        running
    }

    /// Waits for the next process to be ready.
    fn ready(&mut self) -> i32 {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        let pid = line
            .trim()
            .strip_prefix("ready ")
            .and_then(|pid| pid.parse().ok());
        pid.unwrap_or_else(|| panic!("{line:?}"))
    }

    fn ask(&self, words: &[&str]) -> Said {
        say(&[words, &[&self.pid.to_string()]].concat())
    }

    /// Lets it end, and returns what it wrote to standard error.
    fn end(mut self) -> String {
        drop(self.child.stdin.take());
        let mut said = String::new();
        if let Some(mut err) = self.child.stderr.take() {
            err.read_to_string(&mut said).unwrap();
        }
        assert!(self.child.wait().unwrap().success());
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The group: timeout(1), the program and its children.
        let group = format!("-{}", self.child.id());
        let mut kill = Command::new("kill");
        kill.args(["-KILL", "--", &group]).stderr(Stdio::null());
        kill.status().unwrap();
        self.child.wait().unwrap();
    }
}

/// A directory with the program, and a control socket's path.
struct Place {
    directory: tempfile::TempDir,
    program: PathBuf,
}

impl Place {
    fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let program = program(directory.path(), PROGRAM, &[]);
        Place { directory, program }
    }

    fn template(&self) -> String {
        self.directory
            .path()
            .join("control.%p")
            .display()
            .to_string()
    }

    fn socket(&self, pid: i32) -> PathBuf {
        self.directory.path().join(format!("control.{pid}"))
    }

    fn command(&self, options: &[&str], arguments: &[&str]) -> Command {
        let program = self.program.to_str().unwrap();
        crate::support::command(&[&["run"], options, &["--", program], arguments].concat())
    }

    fn start(&self, arguments: &[&str]) -> Running {
        Running::start(&mut self.command(&["--control", &self.template()], arguments))
    }
}

#[test]
fn what_each_guest_waits_for() {
    let place = Place::new();
    let running = place.start(&["2"]);
    let ps = running.ask(&["ps"]);
    assert_eq!(ps.status, Some(0), "{ps:?}");
    let lines: Vec<_> = ps.out.lines().collect();
    assert_eq!(lines.len(), 4, "{ps:?}");
    let head = format!("{} {} 2: 3 guests (", running.pid, place.program.display());
    assert!(lines[0].starts_with(&head), "{ps:?}");
    // Oldest first; the initial thread waits for its standard input.
    for (line, parts) in lines[1..].iter().zip([
        [&*running.pid.to_string(), " s in read(0 pipe:["],
        ["reader", " s in read("],
        ["program", " s in futex(0x"],
    ]) {
        assert!(
            line.contains(" waits ") && parts.iter().all(|part| line.contains(part)),
            "{ps:?}"
        );
    }
    let dump = running.ask(&["dump"]);
    assert_eq!(dump.status, Some(0), "{dump:?}");
    let stack = |name: &str| {
        let mut stacks = dump.out.split("\n\n");
        stacks
            .find(|stack| stack.contains(name))
            .unwrap_or_else(|| panic!("{name}: {dump:?}"))
    };
    let at = |line: usize| format!("program.c:{line}\n");
    let line_of = |text: &str| {
        PROGRAM
            .lines()
            .position(|line| line.contains(text))
            .unwrap()
            + 1
    };
    for (name, functions) in [
        (
            " reader ",
            vec!["read in libc", "wait_for_data at ", "reader at "],
        ),
        ("locker", vec!["pthread_mutex_lock in libc", "locker at "]),
        ("main", vec!["read in libc", "main at "]),
    ] {
        let stack = stack(name);
        let mut rest = stack;
        for function in functions {
            let (_, after) = rest
                .split_once(function)
                .unwrap_or_else(|| panic!("{function}: {stack}"));
            rest = after;
        }
    }
    assert!(stack(" reader ").contains(&at(line_of("if (read(ends[0]"))));
    let all = say(&["ps"]);
    let line = all
        .out
        .lines()
        .find(|line| line.contains(&running.pid.to_string()));
    assert!(
        line.is_some_and(|line| line.contains("      3 ")),
        "{all:?}"
    );
    assert_eq!(
        running
            .ask(&["dump", "--stack", "0"])
            .out
            .matches('#')
            .count(),
        0
    );
    running.end();
}

#[test]
fn a_thousand_guests_at_once() {
    let place = Place::new();
    let running = place.start(&["999"]);
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let begin = Instant::now();
        let dump = running.ask(&["dump"]);
        best = best.min(begin.elapsed());
        assert!(
            dump.out.contains(": 1000 guests (1000 wait, 0 can run)"),
            "{:.300}",
            dump.out
        );
        assert_eq!(dump.out.matches("wait_for_data at ").count(), 500);
    }
    println!("1,000 guests dumped in {best:.1?}");
    // A tenth of a second where nobody else uses the processors.
    assert!(best < Duration::from_secs(2), "{best:?}");
    running.end();
}

#[test]
fn a_hub_that_computes_answers() {
    let place = Place::new();
    for options in [&[][..], &["--preempt", "0"]] {
        let template = place.template();
        let options = [&["--control", &template], options].concat();
        let running = Running::start(&mut place.command(&options, &["1", "compute"]));
        let dump = running.ask(&["dump"]);
        assert_eq!(dump.status, Some(0), "{dump:?}");
        let stacks: Vec<_> = dump.out.split("\n\n").collect();
        assert_eq!(stacks.len(), 4, "{dump:?}");
        let doing = [" preempted", " running"];
        let computes = stacks
            .iter()
            .find(|stack| doing.iter().any(|word| stack.contains(word)));
        let computes = computes.unwrap_or_else(|| panic!("{dump:?}"));
        assert!(
            computes.contains("compute at ") && !computes.contains("gevent"),
            "{computes}"
        );
    }
}

#[test]
fn a_hub_that_stands_still_is_told() {
    let place = Place::new();
    let template = place.template();
    // With a second hub that one would answer.
    let options = ["--control", &*template, "--hubs", "1"];
    let running = Running::start(&mut place.command(&options, &["1", "stop"]));
    // It may still be on its way into the call.
    let deadline = Instant::now() + Duration::from_secs(20);
    let dump = loop {
        let dump = running.ask(&["dump"]);
        if dump.status != Some(0) || Instant::now() > deadline {
            break dump;
        }
    };
    refused(
        &dump,
        1,
        &[
            "the hub stands still: kernel thread ",
            "is in the call vfork",
        ],
    );
    let mut running = running;
    running
        .child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"go")
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while running.ask(&["dump"]).status != Some(0) {
        assert!(Instant::now() < deadline);
    }
    running.end();
}

#[test]
fn the_socket_is_for_this_user_and_goes_with_the_process() {
    let place = Place::new();
    let running = place.start(&["1"]);
    let path = place.socket(running.pid);
    let metadata = std::fs::metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o177, 0);
    // None of it is in the program's table of descriptors.
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", running.pid)).unwrap();
    let targets = descriptors.filter_map(|entry| entry.unwrap().path().read_link().ok());
    assert!(
        !targets
            .into_iter()
            .any(|target| target.to_string_lossy().contains("socket"))
    );
    running.end();
    assert!(!path.exists());
}

#[test]
fn another_user_is_refused() {
    let place = Place::new();
    let running = place.start(&["1"]);
    let path = place.socket(running.pid);
    let as_nobody = |mut command: Command| said(command.uid(65534).gid(65534).current_dir("/"));
    let mut ps = Command::new(launcher());
    ps.args(["ps", &running.pid.to_string()]);
    if ps.uid(65534).output().is_err() {
        // Only root can become somebody else.
        return;
    }
    refused(&as_nobody(ps), 1, &["is another user's"]);
    // With the permissions of files out of the way the socket itself refuses.
    std::fs::set_permissions(place.directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    let mut python = Command::new("/usr/bin/python3");
    let script = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
                  s.sendall(b'dump 0\\n')\nprint(s.makefile().read(), end='')";
    python.args(["-c", script, path.to_str().unwrap()]);
    let said = as_nobody(python);
    assert_eq!(said.out, "error only the same user may ask\n", "{said:?}");
    running.end();
}

#[test]
fn what_makes_no_sense_is_refused_and_does_no_harm() {
    let place = Place::new();
    let running = place.start(&["1"]);
    let ask = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(place.socket(running.pid)).unwrap();
        let mut answer = String::new();
        // It may hang up on what it has not read, at whichever of the three we are then.
        let _ = stream
            .write_all(bytes)
            .and_then(|()| stream.shutdown(std::net::Shutdown::Write))
            .and_then(|()| stream.read_to_string(&mut answer));
        answer
    };
    for bytes in [
        &b""[..],
        b"\n",
        b"dump\n",
        b"dump -1\n",
        b"dump 262145\n",
        b"quit\n",
        &[0x80; 100],
        &[b'x'; 100_000],
    ] {
        let answer = ask(bytes);
        assert!(
            answer.is_empty() || answer.starts_with("error "),
            "{answer}"
        );
    }
    assert_eq!(running.ask(&["dump", "--stack", "262145"]).status, Some(2));
    assert_eq!(running.ask(&["dump", "--stack", "262144"]).status, Some(0));
    running.end();
}

#[test]
fn a_path_that_cant_be_had_is_a_line_and_the_program_runs() {
    let place = Place::new();
    let taken = place.directory.path().join("taken");
    std::fs::write(&taken, "kept").unwrap();
    let missing = place.directory.path().join("no/control");
    for (path, why) in [
        (&taken, "the path is taken"),
        (&missing, "No such file or directory"),
    ] {
        let path = path.to_str().unwrap();
        let mut command = place.command(&["--control", path], &["1"]);
        let running = Running::start(command.stderr(Stdio::piped()));
        refused(&running.ask(&["ps"]), 1, &["does not listen on"]);
        let line = format!("gevent-shim: GEVENT_SHIM_CONTROL: no socket at \"{path}\": {why}");
        let said = running.end();
        assert!(
            said.starts_with(&line) && said.lines().count() == 1,
            "{said}"
        );
    }
    assert_eq!(std::fs::read_to_string(&taken).unwrap(), "kept");
    // One that was left behind is no obstacle.
    let path = place.directory.path().join("left");
    let mut command = place.command(&["--control", path.to_str().unwrap()], &["1"]);
    drop(Running::start(&mut command));
    assert!(path.exists());
    let running = Running::start(&mut command);
    assert_eq!(running.ask(&["ps"]).status, Some(0));
    running.end();
    assert!(!path.exists());
}

#[test]
fn a_forked_child_has_a_socket_of_its_own() {
    let place = Place::new();
    let mut running = place.start(&["2", "fork"]);
    let other = running.ready();
    for pid in [running.pid, other] {
        let ps = say(&["ps", &pid.to_string()]);
        assert!(ps.out.contains(": 3 guests ("), "{ps:?}");
    }
    running.end();
    assert!(!place.socket(other).exists());
}

#[test]
fn who_cant_be_asked_is_one_line() {
    let place = Place::new();
    let running = Running::start(&mut place.command(&[], &["1"]));
    refused(
        &running.ask(&["ps"]),
        1,
        &["has no control socket", "--control"],
    );
    let all = say(&["ps"]);
    assert_eq!(all.status, Some(0), "{all:?}");
    assert!(
        all.out.contains(&format!(
            "{} process {0} has no control socket",
            running.pid
        )),
        "{all:?}"
    );
    running.end();

    let own = std::process::id().to_string();
    refused(&say(&["dump", &own]), 1, &["runs without the library"]);
    refused(&say(&["ps", "2147483647"]), 1, &["no process 2147483647"]);
    for pid in ["0", "-1", "x"] {
        assert_eq!(say(&["dump", pid]).status, Some(2));
    }
}

#[test]
fn a_signal_makes_a_dump() {
    let place = Place::new();
    let file = place.directory.path().join("err");
    let mut command = place.command(&["--dump-signal", "USR1"], &["2"]);
    command.stderr(std::fs::File::create(&file).unwrap());
    let running = Running::start(&mut command);
    for dumps in 1..=2 {
        let pid = running.pid.to_string();
        assert!(
            Command::new("kill")
                .args(["-USR1", &pid])
                .status()
                .unwrap()
                .success()
        );
        let text = wait_for_lines(&file, dumps * 4);
        let lines: Vec<_> = text.lines().collect();
        let prefix = format!("gevent-shim[{pid}] ");
        assert!(lines.iter().all(|line| line.starts_with(&prefix)), "{text}");
        let last = &lines[lines.len() - 4..];
        assert!(last[0].contains("3 guests, "), "{text}");
        assert!(
            last[2].contains(" reader ") && last[2].contains(" s in read("),
            "{text}"
        );
        assert!(last[3].contains(" s in futex("), "{text}");
    }
    running.end();
}

#[test]
fn the_filter_of_events_changes_while_the_program_runs() {
    let place = Place::new();
    let file = place.directory.path().join("events");
    let options = [
        "--control",
        &place.template(),
        "--events",
        "gevent=error",
        "--events-file",
        file.to_str().unwrap(),
    ];
    let mut running = Running::start(&mut place.command(&options, &["1"]));
    let pid = running.pid.to_string();
    let events = |filter: &str| say(&["events", &pid, filter]);
    refused(&events("gevent::nothing"), 2, &["expected 1 for all"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "");
    let said = events("gevent::call=trace");
    assert_eq!((said.status, &*said.err), (Some(0), ""), "{said:?}");
    // The call that the initial thread is in now may not have been looked at.
    let input = running.child.stdin.as_mut().unwrap();
    for _ in 0..2 {
        input.write_all(b"a").unwrap();
    }
    let text = wait_for_lines(&file, 1);
    assert!(
        text.contains(" gevent::call: ") && text.contains("read"),
        "{text}"
    );
    assert_eq!(events("off").status, Some(0));
    running.end();

    let running = place.start(&["1"]);
    let pid = running.pid.to_string();
    refused(
        &say(&["events", &pid, "all"]),
        1,
        &["nobody listens to events"],
    );
    running.end();
}

/// The text of a file as soon as it has so many lines.
fn wait_for_lines(file: &Path, lines: usize) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let text = std::fs::read_to_string(file).unwrap();
        if text.lines().count() >= lines && text.ends_with('\n') {
            return text;
        }
        assert!(Instant::now() < deadline, "{text}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
