//! Files that can't be written, disks that are full, places that are taken: one line, and
//! the program runs on.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::program::{build, command, read};

/// Makes many threads, which print what they are at the end.
const MANY: &str = r#"
static void *body(void *arg) { usleep(1000); return (void *)(syscall(SYS_gettid) > 1 << 22 ? "guest" : arg); }
int main(void)
{
	void *what = 0;
	for (int i = 0; i < 200; i++)
		pthread_join(start(body, "kernel thread"), &what);
	puts(what);
	return 0;
}
"#;

/// It ended well, is what it is, and one line was said, with these parts.
#[track_caller]
fn one_line(output: &Output, what: &str, parts: &[&str]) {
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{what}\n"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("gevent-shim: "), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_one_line_and_the_program_runs_bare() {
    let program = build("many", MANY);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::create_dir(path("directory")).unwrap();
    std::fs::write(path("target"), "kept").unwrap();
    std::os::unix::fs::symlink(path("target"), path("link")).unwrap();
    std::fs::write(path("text"), "no trace").unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(path("fifo"))
            .status()
            .unwrap()
            .success()
    );
    for (file, format, part) in [
        ("directory", "text", "Is a directory"),
        ("missing/file", "text", "No such file or directory"),
        ("target/file", "text", "Not a directory"),
        ("link", "json", "symbolic link"),
        ("fifo", "json", "cannot write events"),
        ("text", "chrome", "it holds something else than a trace"),
        (&"x".repeat(300), "text", "File name too long"),
    ] {
        let file = path(file);
        let settings = [
            ("GEVENT_SHIM_EVENTS", "1"),
            ("GEVENT_SHIM_EVENTS_FORMAT", format),
            ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
        ];
        let output = command(&program, &[], &settings).output().unwrap();
        one_line(&output, "kernel thread", &["GEVENT_SHIM_EVENTS_FILE", part]);
    }
    assert_eq!(std::fs::read_to_string(path("target")).unwrap(), "kept");
    assert_eq!(std::fs::read_to_string(path("text")).unwrap(), "no trace");
}

/// Runs the program with its events in a file system of 16 KiB, and prints that file to
/// standard output behind what the program said. `None`: there can be no such.
fn on_a_small_disk(program: &Path, format: &str) -> Option<Output> {
    let directory = tempfile::tempdir().unwrap();
    let mut inner = command(
        program,
        &[],
        &[
            ("GEVENT_SHIM_EVENTS", "all"),
            ("GEVENT_SHIM_EVENTS_FORMAT", format),
            (
                "GEVENT_SHIM_EVENTS_FILE",
                directory.path().join("events").to_str().unwrap(),
            ),
        ],
    );
    let mut outer = Command::new("unshare");
    outer.args(["--mount", "sh", "-c"]);
    outer.arg("mount -t tmpfs -o size=16k none \"$1\" && where=$1 && shift && \"$@\" && cat \"$where/events\"");
    outer
        .arg("sh")
        .arg(directory.path())
        .arg(inner.get_program())
        .args(inner.get_args());
    let output = outer.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("Operation not permitted") || said.contains("permission denied") {
        println!("not tested: no mount namespace can be made: {said}");
        // The same without a disk of its own at least compiles and runs.
        assert!(inner.output().unwrap().status.success());
        return None;
    }
    Some(output)
}

#[test]
fn a_disk_that_gets_full_is_one_line_and_the_file_stays_whole() {
    let program = build("many", MANY);
    for format in ["json", "chrome", "text"] {
        let Some(output) = on_a_small_disk(&program, format) else {
            return;
        };
        let all = String::from_utf8(output.stdout.clone()).unwrap();
        let (said, file) = all.split_once('\n').unwrap();
        let program_alone = Output {
            stdout: format!("{said}\n").into_bytes(),
            ..output.clone()
        };
        one_line(
            &program_alone,
            "guest",
            &["GEVENT_SHIM_EVENTS_FILE", "No space left on device"],
        );
        assert!(file.len() > 1000 && file.len() <= 16384, "{}", file.len());
        match format {
            "chrome" => {
                let trace: Value = serde_json::from_str(file).unwrap();
                assert!(trace.as_array().unwrap().len() > 5);
            }
            // A line of which only the begin fits is the last one.
            "json" => {
                let lines: Vec<_> = file.lines().collect();
                let (last, whole) = lines.split_last().unwrap();
                for line in whole {
                    serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
                }
                assert!(last.starts_with('{'));
            }
            _ => {}
        }
    }
}

#[test]
fn a_limit_of_file_sizes_does_not_end_the_program() {
    // The kernel's signal for that, SIGXFSZ, ends a program that has no handler.
    let program = build("many", MANY);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events");
    let settings = [
        ("GEVENT_SHIM_EVENTS", "all"),
        ("GEVENT_SHIM_EVENTS_FORMAT", "json"),
        ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
    ];
    let inner = command(&program, &[], &settings);
    for limit in ["4096", "100000"] {
        let mut outer = Command::new("prlimit");
        outer
            .arg(format!("--fsize={limit}"))
            .arg(inner.get_program())
            .args(inner.get_args());
        let output = outer.output().unwrap();
        one_line(
            &output,
            "guest",
            &["GEVENT_SHIM_EVENTS_FILE", "File too large"],
        );
        let size = std::fs::metadata(&file).unwrap().len();
        assert!(size <= limit.parse().unwrap(), "{size}");
        std::fs::remove_file(&file).unwrap();
    }
}

#[test]
fn a_socket_path_that_is_taken_is_one_line_and_the_program_is_cooperative() {
    let program = build("many", MANY);
    let directory = tempfile::tempdir().unwrap();
    let taken = directory.path().join("taken");
    std::fs::write(&taken, "kept").unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(directory.path().join("elsewhere"), &link).unwrap();
    let listening = directory.path().join("listening");
    let _listener = std::os::unix::net::UnixListener::bind(&listening).unwrap();
    for path in [&taken, &link, &listening] {
        let settings = [("GEVENT_SHIM_CONTROL", path.to_str().unwrap())];
        let output = command(&program, &[], &settings).output().unwrap();
        one_line(
            &output,
            "guest",
            &["GEVENT_SHIM_CONTROL", "the path is taken"],
        );
    }
    assert_eq!(std::fs::read_to_string(&taken).unwrap(), "kept");
    assert!(!directory.path().join("elsewhere").exists());
}

#[test]
fn what_a_full_disk_took_is_told_when_there_is_room_again() {
    // The file is emptied while the program runs.
    let program = build(
        "refills",
        r#"
static void *body(void *arg) { usleep(1000); return arg; }
static void some(int n) { while (n--) pthread_join(start(body, 0), 0); }
int main(int argc, char **argv)
{
	struct rlimit small = {20000, RLIM_INFINITY}, large = {RLIM_INFINITY, RLIM_INFINITY};
	(void)argc, (void)argv;
	setrlimit(RLIMIT_FSIZE, &small);
	some(200);
	usleep(300000);
	setrlimit(RLIMIT_FSIZE, &large);
	some(10);
	return 0;
}
"#,
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events");
    let settings = [
        ("GEVENT_SHIM_EVENTS", "gevent::guest=debug,gevent::hub=warn"),
        ("GEVENT_SHIM_EVENTS_FORMAT", "chrome"),
        ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
    ];
    let output = command(&program, &[], &settings).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let trace = read_array(&file);
    let lost: u64 = trace
        .iter()
        .filter(|event| event["name"] == "EventsLost")
        .map(|event| event["args"]["count"].as_u64().unwrap())
        .sum();
    let guests = |phase: &str| {
        let of = trace
            .iter()
            .filter(|e| e["ph"] == phase && e["name"] == "guest");
        of.count() as u64
    };
    assert!(lost > 0 && guests("E") > 10);
    assert_eq!(guests("B") + guests("E") + lost, 2 * 210);
}

fn read_array(file: &Path) -> Vec<Value> {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

#[test]
fn the_file_of_events_is_for_its_owner_alone() {
    let program = build("many", MANY);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events");
    let settings = [
        ("GEVENT_SHIM_EVENTS", "1"),
        ("GEVENT_SHIM_EVENTS_FORMAT", "json"),
        ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
    ];
    assert!(
        command(&program, &[], &settings)
            .output()
            .unwrap()
            .status
            .success()
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(!read(&file).is_empty());
}
