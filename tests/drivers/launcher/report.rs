//! `gevent-shim run --trace` and `gevent-shim report`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{command, program, refused, said, say};

/// Two threads of which one receives what the other sends every 10 ms, and two that
/// sleep 20 ms under one mutex.
const PROGRAM: &str = r#"
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>
static int ends[2];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static void *receiver(void *argument) {
    char byte;
    for (int i = 0; i < 5; i++) recv(ends[0], &byte, 1, 0);
    return argument;
}
static void *sender(void *argument) {
    for (int i = 0; i < 5; i++) { usleep(10000); send(ends[1], "x", 1, 0); }
    return argument;
}
static void *sleeper(void *argument) {
    pthread_mutex_lock(&mutex);
    usleep(20000);
    pthread_mutex_unlock(&mutex);
    return argument;
}
int main(void) {
    void *(*bodies[])(void *) = {receiver, sender, sleeper, sleeper};
    pthread_t threads[4];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) return 1;
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, bodies[i], NULL);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    return 0;
}
"#;

/// A trace of the program, in a directory.
fn trace() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = program(directory.path(), PROGRAM, &[]);
    let trace = directory.path().join("trace.json");
    let words = [
        "run",
        "--trace",
        trace.to_str().unwrap(),
        "--",
        path.to_str().unwrap(),
    ];
    let said = say(&words);
    assert_eq!((said.status, &*said.err), (Some(0), ""), "{said:?}");
    (directory, trace)
}

fn report(trace: &Path, page: &Path) -> String {
    let said = say(&[
        "report",
        trace.to_str().unwrap(),
        "-o",
        page.to_str().unwrap(),
    ]);
    assert_eq!(
        (said.status, &*said.out, &*said.err),
        (Some(0), "", ""),
        "{said:?}"
    );
    std::fs::read_to_string(page).unwrap()
}

/// The cells of the row of a call in the table of calls.
fn row(page: &str, call: &str) -> Vec<String> {
    let (_, table) = page.split_once("<h2>By call</h2>").unwrap();
    let (table, _) = table.split_once("</table>").unwrap();
    let row = table
        .lines()
        .find(|line| line.contains(&format!("<td>{call}</td>")));
    let cells = row
        .unwrap_or_else(|| panic!("{call}: {table}"))
        .split("</td>");
    cells
        .map(|cell| cell.rsplit('>').next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_page_tells_what_the_program_did() {
    let (directory, trace) = trace();
    let page = report(&trace, &directory.path().join("page.html"));
    for part in [
        "<h2>Timeline</h2>",
        "data:image/svg+xml;base64,",
        "initial thread",
        "<b>5</b><span>threads</span>",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let command = directory.path().join("program");
    assert!(page.contains(&format!("<code>{}</code>", command.display())));
    assert_eq!(row(&page, "recvfrom")[1], "5");
    assert_eq!(row(&page, "clock_nanosleep")[1], "7");
    assert!(!page.contains("The trace has no end"));
    // Nothing comes from elsewhere.
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains(" src="));

    // A killed program's trace has no end.
    let whole = std::fs::read_to_string(&trace).unwrap();
    let cut = directory.path().join("cut.json");
    std::fs::write(&cut, &whole[..whole.len() - 40]).unwrap();
    let page = report(&cut, &directory.path().join("cut.html"));
    assert!(page.contains("The trace has no end"));
    assert_eq!(row(&page, "recvfrom")[1], "5");
}

/// Two threads that wait for each other's mutex, and the initial one, which waits for them or
/// does what the argument says.
const DEADLOCK: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static pthread_mutex_t mutexes[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
static pthread_barrier_t barrier;
static void *locker(void *argument) {
    int first = argument != NULL;
    pthread_mutex_lock(&mutexes[first]);
    pthread_barrier_wait(&barrier);
    pthread_mutex_lock(&mutexes[!first]);
    return argument;
}
int main(int argc, char **argv) {
    pthread_t threads[2];
    pthread_barrier_init(&barrier, NULL, 3);
    pthread_create(&threads[0], NULL, locker, NULL);
    pthread_create(&threads[1], NULL, locker, &barrier);
    pthread_barrier_wait(&barrier);
    usleep(20000);
    puts("ready");
    fflush(stdout);
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "exit")) return 0;
    if (!strcmp(what, "abort")) abort();
    if (!strcmp(what, "exec")) execl("/bin/true", "true", (char *)NULL);
    pthread_join(threads[0], NULL);
    return 1;
}
"#;

#[test]
fn a_deadlock_is_drawn_as_waits_without_an_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = program(directory.path(), DEADLOCK, &[]);
    for (what, signal, waits) in [
        ("exit", None, 2),
        ("abort", None, 2),
        ("exec", None, 2),
        ("join", Some("TERM"), 3),
        // Long waits are told while they last.
        ("join", Some("KILL"), 3),
    ] {
        let trace = directory.path().join(format!("{what}-{signal:?}.json"));
        let words = ["run", "--trace", trace.to_str().unwrap(), "--"];
        let mut command = command(&words);
        let child = command.arg(&path).arg(what).stdout(Stdio::piped());
        let mut child = child.stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let text = || std::fs::read_to_string(&trace).unwrap_or_default();
        let begun = |text: &str| text.matches("\"name\":\"futex\",\"ph\":\"B\"").count();
        if let Some(signal) = signal {
            let deadline = Instant::now() + Duration::from_secs(20);
            while signal == "KILL" && begun(&text()) < waits && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            let pid = process(child.id());
            let kill = Command::new("kill").args(["-s", signal, &pid]).status();
            assert!(kill.unwrap().success());
        }
        child.wait().unwrap();
        assert_eq!(begun(&text()), waits, "{what}: {}", text());
        let page = report(&trace, &directory.path().join("page.html"));
        let title = format!("<b>{waits}</b><span>waits without an end</span>");
        assert!(page.contains(&title), "{what}");
        let (_, table) = page
            .split_once("<h2>Waits that had not ended</h2>")
            .unwrap();
        let (table, _) = table.split_once("</table>").unwrap();
        assert_eq!(table.matches("<td>futex</td>").count(), waits, "{what}");
    }
}

/// The process that timeout(1) has started.
fn process(timeout: u32) -> String {
    let children = format!("/proc/{timeout}/task/{timeout}/children");
    std::fs::read_to_string(children).unwrap().trim().to_owned()
}

#[test]
fn a_browser_draws_the_page() {
    let Some(browser) = [
        "/usr/bin/chromium",
        "/usr/bin/chromium-browser",
        "/usr/bin/google-chrome",
    ]
    .into_iter()
    .find(|path| Path::new(path).exists()) else {
        println!("not rendered: there is no Chromium on this machine");
        return;
    };
    let (directory, trace) = trace();
    let page = directory.path().join("page.html");
    report(&trace, &page);
    let picture = directory.path().join("page.png");
    let profile = format!(
        "--user-data-dir={}",
        directory.path().join("profile").display()
    );
    let mut command = Command::new("timeout");
    command.args([
        "-k",
        "5",
        "100",
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
    ]);
    command.args([
        "--window-size=1280,1600",
        "--virtual-time-budget=3000",
        &profile,
        "--dump-dom",
    ]);
    command.arg(format!("--screenshot={}", picture.display()));
    command.arg(format!("file://{}", page.display()));
    let said = said(&mut command);
    assert_eq!(said.status, Some(0), "{said:?}");
    // The script has run: rows have a height, and calls a colour.
    let legend = said
        .out
        .split("id=\"legend\">")
        .nth(1)
        .and_then(|rest| rest.split("</div>").next());
    let legend = legend.unwrap_or_else(|| panic!("{:.2000}", said.out));
    for call in ["futex", "recvfrom", "clock_nanosleep"] {
        assert!(legend.contains(&format!("</i>{call}</span>")), "{legend}");
    }
    // The axis and five rows.
    assert!(said.out.contains("height: 134px"), "{:.2000}", said.out);
    let bytes = std::fs::read(&picture).unwrap();
    assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 20_000);
}

#[test]
fn what_cant_be_read_or_written_is_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let page = directory.path().join("page.html").display().to_string();
    let words = file("words", "words");
    let empty = file("empty", "[]");
    let damaged = file("damaged", "[{\"ts\":1}, nonsense]");
    let good = file("good", "[{\"ts\":1}]");
    for (trace, page, part) in [
        (
            "/nonexistent",
            &*page,
            "cannot read /nonexistent: No such file",
        ),
        (&words, &page, "not a trace in Chrome's format"),
        (&empty, &page, "no events"),
        (&damaged, &page, "damaged after byte 11"),
        (
            &good,
            "/nonexistent/page.html",
            "cannot write /nonexistent/page.html",
        ),
        (&good, "/dev/full", "cannot write /dev/full"),
    ] {
        refused(&say(&["report", trace, "-o", page]), 1, &[part]);
    }
    assert!(!Path::new(&page).exists());
}
