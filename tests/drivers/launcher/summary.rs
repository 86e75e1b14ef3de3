//! `gevent-shim run --summary`: what the program's threads waited for.

use std::path::PathBuf;

use crate::support::{Said, command, program, said, say};

/// Three threads that each sleep 300 ms and receive a byte, ten that wait for a mutex;
/// then what the first argument says. Prints "done".
const PROGRAM: &str = r#"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int ends[2];
static void *sleeper(void *argument) {
    char byte;
    usleep(300000);
    recv(ends[0], &byte, 1, 0);
    return argument;
}
static void *locker(void *argument) {
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    return argument;
}
static void threads(void) {
    pthread_t threads[13];
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < 13; i++) pthread_create(&threads[i], NULL, i < 3 ? sleeper : locker, NULL);
    usleep(500000);
    send(ends[1], "abc", 3, 0);
    pthread_mutex_unlock(&mutex);
    for (int i = 0; i < 13; i++) pthread_join(threads[i], NULL);
}
int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) return 1;
    if (!strcmp(what, "single")) return 0;
    threads();
    puts("done");
    fflush(stdout);
    if (!strcmp(what, "_exit")) _exit(0);
    if (!strcmp(what, "pthread_exit")) pthread_exit(NULL);
    if (!strcmp(what, "kill")) kill(getpid(), SIGTERM);
    if (!strcmp(what, "fork")) {
        if (fork() == 0) return 0;
        wait(NULL);
        if (fork() == 0) { threads(); return 0; }
        wait(NULL);
    }
    return 0;
}
"#;

fn run(what: &str) -> (Said, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = program(directory.path(), PROGRAM, &[]);
    (
        say(&["run", "--summary", "--", path.to_str().unwrap(), what]),
        directory,
    )
}

/// The number that stands in the line of that subject as its nth word.
fn number(text: &str, subject: &str, nth: usize) -> f64 {
    let line = text
        .lines()
        .find(|line| line.split_whitespace().next() == Some(subject));
    let word = line.and_then(|line| line.split_whitespace().nth(nth));
    word.and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("{subject}: {text}"))
}

#[test]
fn what_was_waited_for_is_told_at_every_kind_of_end() {
    for what in ["", "_exit", "pthread_exit", "kill"] {
        let (said, _directory) = run(what);
        assert_eq!(said.status == Some(0), what != "kill", "{what}: {said:?}");
        assert_eq!(said.out, "done\n");
        let text = &said.err;
        assert_eq!(text.matches(" summary of ").count(), 1, "{what}: {text}");
        assert_eq!(number(text, "guests", 1), 14.0, "{text}");
        assert!(text.contains(" 14 made, at most 14 at once"), "{text}");
        assert!(number(text, "switches", 1) >= 14.0);
        // Three threads slept at the same time, and the initial one once.
        assert_eq!(number(text, "clock_nanosleep", 1), 4.0, "{text}");
        let [slept, longest] = [2, 4].map(|nth| number(text, "clock_nanosleep", nth));
        assert!(slept >= 1.4 && longest >= 0.5 && longest < slept, "{text}");
        assert_eq!(number(text, "recvfrom", 1), 3.0, "{text}");
        assert!(number(text, "futex", 1) >= 10.0, "{text}");
        // Together 1.4 s of sleeps and 0.6 s of receiving in 0.5 s.
        assert!(number(text, "saved", 1) >= 1.2, "{text}");
    }
}

#[test]
fn a_program_without_threads_has_no_summary() {
    let (said, _directory) = run("single");
    assert_eq!((said.status, &*said.err), (Some(0), ""));
}

#[test]
fn a_forked_child_tells_of_its_own() {
    let (said, _directory) = run("fork");
    assert_eq!(said.status, Some(0), "{said:?}");
    // The first child makes no thread.
    assert_eq!(said.err.matches(" summary of ").count(), 2, "{said:?}");
    assert_eq!(
        said.err.matches(" 14 made, at most 14 at once").count(),
        2,
        "{said:?}"
    );
}

#[test]
fn a_thread_that_keeps_the_others_waiting_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let text = "#include <pthread.h>\n#include <unistd.h>\n\
        static void *body(void *p) { if (vfork() == 0) { usleep(400000); _exit(0); } return p; }\n\
        int main(void) { pthread_t t; pthread_create(&t, 0, body, 0); return pthread_join(t, 0); }";
    let path = program(directory.path(), text, &[]);
    // With a second hub it would not.
    let said = said(&mut command(&[
        "run",
        "--summary",
        "--hubs",
        "1",
        "--",
        path.to_str().unwrap(),
    ]));
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.err.contains("  blocked   1 times "), "{said:?}");
}
