//! What the environment asks for is what happens, and what cannot be meant is one line.

use std::path::Path;
use std::process::{Command, Output};

use gevent_tests::library;

/// Prints whether a thread's id is a guest's: above every id the kernel gives.
const PROGRAM: &str = "
import os, socket, threading
def body():
    print('guest' if threading.get_native_id() >= 1 << 22 else 'kernel thread')
    a, b = socket.socketpair()
    a.send(b'x'); b.recv(1)
t = threading.Thread(target=body); t.start(); t.join()
";

/// Makes the last call of its own kind, and waits until the events tell of it.
const TAKES_OVER: &str = "
import ctypes, os, threading, time
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
selector = ctypes.c_char(0)
ctypes.CDLL(None).prctl(59, 1, 0, 0, ctypes.byref(selector))
while 'not caught' not in open(os.environ['GEVENT_SHIM_EVENTS_FILE']).read():
    time.sleep(0.01)
print('told', flush=True)
";

/// Three threads wait in the kernel for locks that the first thread has.
const LOCKS: &str = "
import fcntl, tempfile, threading, time
file = tempfile.NamedTemporaryFile()
fcntl.flock(file, fcntl.LOCK_EX)
def body():
    with open(file.name) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        print('locked')
threads = [threading.Thread(target=body) for _ in range(3)]
for t in threads: t.start()
time.sleep(0.2)
fcntl.flock(file, fcntl.LOCK_UN)
for t in threads: t.join()
";

fn run(program: &str, settings: &[(&str, &str)]) -> Output {
    // Only the program is preloaded, not what bounds it.
    let mut command = Command::new("timeout");
    command.args(["-k", "2", "20", "env", "-u", "GEVENT_SHIM_LIB"]);
    command.arg(format!("LD_PRELOAD={}", library::find().unwrap().display()));
    command.args(
        settings
            .iter()
            .map(|(name, value)| format!("{name}={value}")),
    );
    command.args(["/usr/bin/python3", "-c", program]);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn expect(settings: &[(&str, &str)], stdout: &str) -> String {
    expect_of(PROGRAM, settings, stdout)
}

#[track_caller]
fn expect_of(program: &str, settings: &[(&str, &str)], stdout: &str) -> String {
    let output = run(program, settings);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout), stdout);
    text(&output.stderr)
}

#[test]
fn threads_are_guests_and_nothing_is_said() {
    assert_eq!(expect(&[], "guest\n"), "");
}

#[test]
fn disabled_nothing_is_done_and_nothing_read() {
    let settings = [
        ("GEVENT_SHIM_DISABLE", "1"),
        ("GEVENT_SHIM_LOOP", "nonsense"),
    ];
    assert_eq!(expect(&settings, "kernel thread\n"), "");
}

#[test]
fn a_bad_value_is_one_line_and_the_program_runs_bare() {
    for (name, value) in [
        ("GEVENT_SHIM_PATCH", "sockets"),
        ("GEVENT_SHIM_LOOP", "kqueue"),
        ("GEVENT_SHIM_STACK_SIZE", "8k8"),
        ("GEVENT_SHIM_PREEMPT", "-1"),
        ("GEVENT_SHIM_CATCH", "all"),
        ("GEVENT_SHIM_EVENTS", "gevent::nothing=info"),
        ("GEVENT_SHIM_PACTH", "all"),
    ] {
        let said = expect(&[(name, value)], "kernel thread\n");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.starts_with("gevent-shim: ") && said.contains(name),
            "{said}"
        );
    }
}

#[test]
fn each_group_can_be_left_out() {
    for group in [
        "socket",
        "dns",
        "time",
        "select",
        "os",
        "subprocess",
        "signal",
        "queue",
        "file",
        "sys",
    ] {
        let without = format!("-{group}");
        assert_eq!(
            expect(&[("GEVENT_SHIM_PATCH", &without)], "guest\n"),
            "",
            "{group}"
        );
    }
    for set in ["-thread", "none", "socket,time"] {
        assert_eq!(
            expect(&[("GEVENT_SHIM_PATCH", set)], "kernel thread\n"),
            "",
            "{set}"
        );
    }
}

#[test]
fn events_tell_of_the_patching_where_asked() {
    let said = expect(&[("GEVENT_SHIM_EVENTS", "gevent::patch=info")], "guest\n");
    for part in [
        "will patch the groups all",
        "libc.so.6",
        "patched the group socket",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events-%p");
    let settings = [
        ("GEVENT_SHIM_EVENTS", "1"),
        ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
    ];
    assert_eq!(expect(&settings, "guest\n"), "");
    let names: Vec<_> = directory.path().read_dir().unwrap().collect();
    assert_eq!(names.len(), 1);
    let written = std::fs::read_to_string(names[0].as_ref().unwrap().path()).unwrap();
    assert!(
        written.contains("the hub runs on kernel thread"),
        "{written}"
    );
}

#[test]
fn calls_are_caught_where_asked_and_until_the_program_wants_that_itself() {
    let said = expect(&[("GEVENT_SHIM_EVENTS", "gevent::hub=info")], "guest\n");
    assert!(!said.contains("caught"), "{said}");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events");
    let settings = [
        ("GEVENT_SHIM_CATCH", "yes"),
        ("GEVENT_SHIM_EVENTS", "gevent::hub=info"),
        ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
    ];
    assert_eq!(expect_of(TAKES_OVER, &settings, "told\n"), "");
    let written = std::fs::read_to_string(file).unwrap();
    for part in ["patched site makes are caught", "Dispatch itself"] {
        assert!(written.contains(part), "{part}: {written}");
    }
}

/// Makes threads until one cannot be made.
const FILLS: &str = "
import threading
held = threading.Lock()
held.acquire()
def body():
    with held: pass
threads = []
try:
    for _ in range(50):
        threads.append(threading.Thread(target=body)); threads[-1].start()
    print('all')
except RuntimeError:
    print(len(threads) - 1)
held.release()
";

#[test]
fn no_more_threads_are_made_than_the_setting_says() {
    expect_of(FILLS, &[("GEVENT_SHIM_MAX_THREADS", "20")], "19\n");
    expect_of(FILLS, &[("GEVENT_SHIM_MAX_THREADS", "1")], "0\n");
    expect_of(FILLS, &[], "all\n");
    expect_of(FILLS, &[("GEVENT_SHIM_MAX_THREADS", "51")], "all\n");
}

#[test]
fn a_small_pool_is_told_of_and_still_serves_everybody() {
    let settings = [
        ("GEVENT_SHIM_POOL", "1"),
        ("GEVENT_SHIM_EVENTS", "gevent::hub=warn"),
    ];
    let told = expect_of(LOCKS, &settings, "locked\nlocked\nlocked\n");
    assert!(
        told.contains("all 1 threads of the offload pool are busy"),
        "{told}"
    );
    let settings = [settings[1]];
    assert_eq!(expect_of(LOCKS, &settings, "locked\nlocked\nlocked\n"), "");
}

#[test]
fn either_loop_can_be_had() {
    for (kind, name) in [
        ("io_uring", "waits with io_uring"),
        ("epoll", "waits with epoll"),
    ] {
        let settings = [
            ("GEVENT_SHIM_LOOP", kind),
            ("GEVENT_SHIM_EVENTS", "gevent::hub=info"),
        ];
        let said = expect(&settings, "guest\n");
        assert!(said.contains(name), "{said}");
    }
}

/// Every file below the plans' directory.
fn plans(cache: &Path) -> Vec<std::path::PathBuf> {
    let directory = cache.join("gevent-shim");
    directory.read_dir().map_or_else(
        |_| Vec::new(),
        |entries| entries.map(|entry| entry.unwrap().path()).collect(),
    )
}

#[test]
fn a_corrupt_plan_is_ignored_and_written_again() {
    let cache = tempfile::tempdir().unwrap();
    let settings = [("XDG_CACHE_HOME", cache.path().to_str().unwrap())];
    assert_eq!(expect(&settings, "guest\n"), "");
    let files = plans(cache.path());
    assert!(!files.is_empty());
    let good: Vec<_> = files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect();
    for garbage in [&b""[..], b"garbage", &[0xff; 100_000]] {
        for file in &files {
            std::fs::write(file, garbage).unwrap();
        }
        assert_eq!(expect(&settings, "guest\n"), "");
        for (file, good) in files.iter().zip(&good) {
            assert_eq!(&std::fs::read(file).unwrap(), good);
        }
    }
    // One byte of each plan is off.
    for (file, good) in files.iter().zip(&good) {
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 0x10;
        std::fs::write(file, bad).unwrap();
    }
    assert_eq!(expect(&settings, "guest\n"), "");
}
