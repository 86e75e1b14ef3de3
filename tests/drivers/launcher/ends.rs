//! The control socket's name at every kind of end, and what a process that goes on keeps.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use gevent_tests::{library, mode};

use crate::support::{program, say};

/// Two threads, of which one computes nothing and waits for ever. `ready`, and what the argument
/// says after each line of standard input.
const PROGRAM: &str = r#"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static volatile int *nowhere;
static volatile int zero;
static volatile long turns;
static const char *what;
static int is(const char *word) { return !strcmp(what, word); }
static void *waits(void *argument) { for (;;) pause(); return argument; }
static void *leaves(void *argument) { usleep(20000); return argument; }
static void ready(void) { puts("ready"); fflush(stdout); }
static void line(void) {
    char byte;
    do if (read(0, &byte, 1) != 1) _exit(77); while (byte != '\n');
}
static void last(int number) { signal(number, SIG_DFL); raise(number); }
static void on(int number) { (void)number; write(1, "caught\n", 7); }
static void *ends(void *argument) {
    if (is("thread-exit")) exit(4);
    if (is("thread-abort")) abort();
    if (is("thread-fault")) *nowhere = 1;
    return argument;
}
int main(int argc, char **argv, char **environment) {
    if (argc < 2) return 1;
    pthread_t thread;
    what = argv[1];
    if (is("echo")) { ready(); line(); return 0; }
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    if (is("title")) {
        /* As setproctitle(3bsd) elsewhere: over the arguments and what is behind them. */
        char **last = environment, *end;
        while (last[1]) last++;
        end = *last + strlen(*last);
        char *begin = argv[0];
        what = "return";
        memset(begin, 0, end - begin);
        strcpy(begin, "title");
    }
    if (is("ignored")) signal(SIGTERM, SIG_IGN);
    if (is("caught")) signal(SIGTERM, on);
    if (is("passed-on")) signal(SIGTERM, last);
    if (is("late")) signal(SIGTERM, SIG_IGN);
    pthread_create(&thread, NULL, strncmp(what, "last-thread", 11) ? waits : leaves, NULL);
    if (is("late")) signal(SIGTERM, SIG_DFL);
    if (is("chdir") && chdir("/")) return 1;
    if (is("blocked-here")) {
        sigset_t set; sigemptyset(&set); sigaddset(&set, SIGTERM);
        pthread_sigmask(SIG_BLOCK, &set, NULL);
    }
    if (is("computes")) { ready(); for (;;) turns++; }
    if (is("in-vfork")) {
        ready();
        if (vfork() == 0) { struct timespec time = {20, 0}; nanosleep(&time, NULL); _exit(0); }
        return 1;
    }
    ready();
    line();
    if (is("exit")) exit(3);
    if (is("quick_exit")) quick_exit(5);
    if (is("_exit")) _exit(6);
    if (is("last-thread")) pthread_exit(NULL);
    if (is("last-thread-main")) { pthread_join(thread, NULL); pthread_exit(NULL); }
    if (is("abort")) abort();
    if (is("raise")) raise(SIGTERM);
    if (is("kill-self")) kill(getpid(), SIGUSR1);
    if (is("kill-thread")) { pthread_kill(thread, SIGUSR2); pause(); }
    if (is("realtime")) { union sigval value = {0}; sigqueue(getpid(), SIGRTMIN + 3, value); pause(); }
    if (is("fault")) *nowhere = 1;
    if (is("divide")) return argc * 7 / zero;
    if (is("illegal")) __builtin_trap();
    if (is("alarm")) { alarm(1); pause(); }
    if (is("pipe")) { int ends[2]; if (pipe(ends)) return 1; close(ends[0]); write(ends[1], "x", 1); }
    if (!strncmp(what, "thread-", 7)) { pthread_create(&thread, NULL, ends, NULL); pause(); }
    if (is("exec")) { char *words[] = {argv[0], "echo", NULL}; execv("/proc/self/exe", words); }
    if (is("exec-bare")) {
        char *words[] = {"cat", NULL}, *no[] = {NULL};
        ready();
        execve("/bin/cat", words, no);
    }
    if (is("exec-fails")) {
        char *words[] = {argv[0], NULL};
        execv("/nonexistent/program", words);
        execv("/etc/passwd", words);
        execv("/dev/null", words);
        char *path = strdup("/tmp/not-a-program-XXXXXX");
        int file = mkstemp(path);
        if (write(file, "\177ELF, but nothing else", 22) < 0 || fchmod(file, 0700)) return 1;
        close(file);
        if (execv(path, words) == 0 || errno != ENOEXEC) return 1;
        unlink(path);
    }
    if (is("children")) {
        pid_t child = fork();
        if (child == 0) exit(0);
        waitpid(child, NULL, 0);
        child = fork();
        if (child == 0) abort();
        waitpid(child, NULL, 0);
        child = vfork();
        if (child == 0) _exit(0);
        waitpid(child, NULL, 0);
        char *words[] = {"true", NULL};
        posix_spawn(&child, "/bin/true", NULL, NULL, words, environment);
        waitpid(child, NULL, 0);
        child = vfork();
        if (child == 0) { execv("/bin/true", words); _exit(1); }
        waitpid(child, NULL, 0);
    }
    if (is("stop")) raise(SIGSTOP);
    if (is("handled")) { signal(SIGUSR1, on); raise(SIGUSR1); raise(SIGCHLD); raise(SIGWINCH); }
    ready();
    line();
    return 9;
}
"#;

/// A program that runs until it is told to end; killed when dropped.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    /// `socket`: with the library, and a control socket there.
    fn start(program: &Path, words: &[&str], socket: Option<&Path>) -> Running {
        let mut command = Command::new(program);
        command.args(words);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GEVENT_SHIM_") {
                command.env_remove(name);
            }
        }
        if let Some(socket) = socket {
            command.env("LD_PRELOAD", library::find().unwrap());
            command.env("GEVENT_SHIM_CONTROL", socket);
            if let Some(hubs) = mode::hubs() {
                command.env("GEVENT_SHIM_HUBS", hubs.to_string());
            }
            command.current_dir(program.parent().unwrap());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Running { child, out }
    }

    fn hears(&mut self, word: &str) {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), word);
    }

    fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(kill.unwrap().success());
    }

    /// How it ends, within some time.
    fn ends(mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(15);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("it does not end");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

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

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn start(&self, words: &[&str]) -> Running {
        let mut running = Running::start(&self.program, words, Some(&self.socket()));
        running.hears("ready");
        running
    }
}

#[test]
fn the_socket_goes_with_whatever_ends_the_process() {
    let place = Place::new();
    for what in [
        "return",
        "exit",
        "quick_exit",
        "_exit",
        "last-thread",
        "last-thread-main",
        "abort",
        "raise",
        "kill-self",
        "kill-thread",
        "realtime",
        "fault",
        "divide",
        "illegal",
        "alarm",
        "pipe",
        "thread-exit",
        "thread-abort",
        "thread-fault",
    ] {
        let mut bare = Running::start(&place.program, &[what], None);
        bare.hears("ready");
        let mut running = place.start(&[what]);
        assert!(place.socket().exists(), "{what}");
        for one in [&mut bare, &mut running] {
            one.go_on();
            if what == "return" {
                one.hears("ready");
                one.go_on();
            }
        }
        assert_eq!(running.ends(), bare.ends(), "{what}");
        assert!(!place.socket().exists(), "{what}");
    }
}

#[test]
fn the_socket_goes_with_a_signal_from_elsewhere() {
    let place = Place::new();
    for (what, names) in [
        (
            "return",
            &[
                "TERM", "HUP", "INT", "QUIT", "USR1", "ALRM", "PIPE", "VTALRM", "IO", "RTMIN",
            ][..],
        ),
        ("computes", &["TERM", "INT"]),
        ("blocked-here", &["TERM"]),
        ("passed-on", &["TERM"]),
        ("late", &["TERM"]),
        ("in-vfork", &["TERM"]),
    ] {
        for name in names {
            let mut bare = Running::start(&place.program, &[what], None);
            bare.hears("ready");
            let running = place.start(&[what]);
            let begin = Instant::now();
            bare.signal(name);
            running.signal(name);
            let status = running.ends();
            assert!(status.signal().is_some(), "{what} {name}: {status}");
            assert_eq!(status, bare.ends(), "{what} {name}");
            assert!(begin.elapsed() < Duration::from_secs(10), "{what} {name}");
            // Who waits for a child of vfork leaves the end to the kernel.
            if what != "in-vfork" {
                assert!(!place.socket().exists(), "{what} {name}");
            }
        }
    }
    // That one is no obstacle.
    let running = place.start(&["return"]);
    let pid = running.child.id().to_string();
    assert_eq!(say(&["ps", &pid]).status, Some(0));
}

#[test]
fn the_socket_stays_with_a_process_that_goes_on() {
    let place = Place::new();
    for what in [
        "exec-fails",
        "children",
        "stop",
        "handled",
        "ignored",
        "caught",
    ] {
        let mut running = place.start(&[what]);
        let pid = running.child.id().to_string();
        match what {
            "ignored" => running.signal("TERM"),
            "caught" => {
                running.signal("TERM");
                running.hears("caught");
            }
            _ => {}
        }
        running.go_on();
        if what == "stop" {
            let stat = format!("/proc/{pid}/stat");
            while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
                std::thread::sleep(Duration::from_millis(2));
            }
            assert!(place.socket().exists());
            running.signal("CONT");
        }
        if what == "handled" {
            running.hears("caught");
        }
        running.hears("ready");
        // After an exec that failed it is made anew.
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut ps = say(&["ps", &pid]);
        while ps.status != Some(0) && what == "exec-fails" && Instant::now() < deadline {
            ps = say(&["ps", &pid]);
        }
        assert_eq!(ps.status, Some(0), "{what}: {ps:?}");
        running.go_on();
        assert_eq!(running.ends().code(), Some(9), "{what}");
        assert!(!place.socket().exists(), "{what}");
    }
}

#[test]
fn a_new_program_has_nothing_of_the_old_one() {
    let place = Place::new();
    let mut running = place.start(&["exec"]);
    assert!(place.socket().exists());
    running.go_on();
    running.hears("ready");
    assert!(!place.socket().exists());
    running.go_on();
    assert_eq!(running.ends().code(), Some(0));

    let mut running = place.start(&["exec-bare"]);
    running.go_on();
    running.hears("ready");
    running
        .child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"copied\n")
        .unwrap();
    running.hears("copied");
    assert!(!place.socket().exists());
    drop(running.child.stdin.take());
    assert_eq!(running.ends().code(), Some(0));
}

#[test]
fn where_the_program_goes_does_not_matter() {
    let place = Place::new();
    let mut running = Running::start(&place.program, &["chdir"], Some(Path::new("socket")));
    running.hears("ready");
    assert!(place.socket().exists());
    let pid = running.child.id().to_string();
    assert_eq!(say(&["ps", &pid]).status, Some(0));
    running.signal("TERM");
    running.ends();
    assert!(!place.socket().exists());

    let inner = place.directory.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    let mut running = Running::start(&place.program, &["return"], Some(&inner.join("socket")));
    running.hears("ready");
    std::fs::remove_dir_all(&inner).unwrap();
    running.signal("TERM");
    assert_eq!(running.ends().signal(), Some(15));
    assert!(!inner.exists());
}

#[test]
fn a_title_over_the_environment_hides_nothing() {
    let place = Place::new();
    let running = place.start(&["title"]);
    let pid = running.child.id().to_string();
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(environment.iter().all(|byte| *byte == 0));
    for words in [["ps", &pid], ["dump", &pid]] {
        let said = say(&words);
        assert_eq!(said.status, Some(0), "{said:?}");
        assert!(
            said.out.starts_with(&format!("{pid} title: 2 guests (")),
            "{said:?}"
        );
    }
}

#[test]
fn another_process_on_the_same_path_keeps_its_socket() {
    let place = Place::new();
    let first = place.start(&["return"]);
    let second = place.start(&["return"]);
    let ps = |running: &Running| say(&["ps", &running.child.id().to_string()]);
    assert_eq!(ps(&first).status, Some(0));
    // It asks nobody else instead.
    let refused = ps(&second);
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert!(refused.err.contains("does not listen on"), "{refused:?}");
    second.signal("TERM");
    second.ends();
    assert_eq!(ps(&first).status, Some(0));

    // One that was moved away and replaced is another's.
    std::fs::rename(place.socket(), place.directory.path().join("moved")).unwrap();
    let third = place.start(&["return"]);
    first.signal("TERM");
    first.ends();
    assert_eq!(ps(&third).status, Some(0));

    // What SIGKILL left behind is replaced.
    third.signal("KILL");
    third.ends();
    assert!(place.socket().exists());
    let fourth = place.start(&["return"]);
    assert_eq!(ps(&fourth).status, Some(0));
    fourth.signal("TERM");
    let mut rest = String::new();
    let mut fourth = fourth;
    fourth.out.read_to_string(&mut rest).unwrap();
    fourth.ends();
    assert!(!place.socket().exists());
    let left = std::fs::read_dir(place.directory.path()).unwrap();
    let left = left.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("socket")
    });
    assert_eq!(left.count(), 0);
}
