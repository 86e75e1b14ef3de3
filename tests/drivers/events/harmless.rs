//! What is told changes nothing of the program's: not its files, its signals, its
//! floating-point state, nor how long it takes to end.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::program::{build, command, run};

/// What makes the library write to standard error.
const TELLING: [(&str, &str); 3] = [
    ("GEVENT_SHIM_SUMMARY", "1"),
    ("GEVENT_SHIM_EVENTS", "all"),
    ("GEVENT_SHIM_DUMP_SIGNAL", "USR2"),
];

/// Opens a file that gets number 2, while threads come and go.
const REOPENS: &str = r#"
static void *body(void *arg) { usleep(100); return arg; }
int main(int argc, char **argv)
{
	int fd, rounds = atoi(argv[2]), begin = fcntl(2, F_DUPFD, 100);
	for (int i = 0; i < rounds; i++) {
		close(2);
		while ((fd = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0600)) < 2)
			must(fd >= 0, "open");
		must(fd == 2, "number 2");
		pthread_join(start(body, 0), 0);
		must(write(fd, "payload\n", 8) == 8, "write");
		kill(getpid(), SIGWINCH);
		if (begin >= 0)
			dup2(begin, 2);
	}
	return 0;
}
"#;

#[test]
fn a_file_that_gets_number_2_holds_what_the_program_wrote() {
    let program = build("reopens", REOPENS);
    let directory = tempfile::tempdir().unwrap();
    for setting in TELLING {
        for (redirect, rounds) in [("2>&-", 1), ("2>&-", 20), ("2>/dev/null", 300)] {
            let file = directory.path().join("data");
            let rounds_text = rounds.to_string();
            let arguments = [file.to_str().unwrap(), &rounds_text];
            let inner = command(&program, &arguments, &[setting]);
            let output = Command::new("sh")
                .args(["-c", &format!("exec \"$@\" {redirect}"), "sh"])
                .arg(inner.get_program())
                .args(inner.get_args())
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{setting:?} {redirect}: {output:?}"
            );
            let written = std::fs::read_to_string(&file).unwrap();
            let expected = "payload\n".repeat(rounds);
            assert!(written == expected, "{setting:?} {redirect}: {written}");
            std::fs::remove_file(&file).unwrap();
        }
    }
}

/// Says "on", and then makes events until it is ended; or ends by itself.
const NEVER_ENDS: &str = r#"
static void *body(void *arg)
{
	for (long i = 0; i < (long)arg; i++)
		usleep(1000);
	return 0;
}
int main(int argc, char **argv)
{
	pthread_t threads[20];
	for (int i = 0; i < 20; i++)
		threads[i] = start(body, (void *)atol(argv[1]));
	usleep(1000000);
	puts("on");
	fflush(stdout);
	for (int i = 0; i < 20; i++)
		pthread_join(threads[i], 0);
	return 0;
}
"#;

/// Nobody reads what it tells: it goes on, and ends as it is told, in a moment.
fn is_not_stopped(program: &Path, setting: (&str, &str), rounds: &str, signal: Option<&str>) {
    let (reader, writer) = std::io::pipe().unwrap();
    // Full before the first word, so that the summary finds no room either.
    let filled = Command::new("timeout")
        .args(["0.2", "cat", "/dev/zero"])
        .stdout(writer.try_clone().unwrap())
        .status()
        .unwrap();
    assert!(!filled.success(), "there is always room");
    let inner = command(program, &[rounds], &[setting]);
    let mut child = Command::new("setsid")
        .arg(inner.get_program())
        .args(inner.get_args())
        .stdout(Stdio::piped())
        .stderr(writer)
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut said = [0; 3];
    out.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"on\n");
    let begin = Instant::now();
    if let Some(signal) = signal {
        // The program's group, which `timeout` leads.
        let group = format!("-{}", child.id());
        let kill = Command::new("kill")
            .args(["-s", signal, "--", &group])
            .status();
        assert!(kill.unwrap().success());
    }
    let status = child.wait().unwrap();
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(5), "{setting:?}: {took:?}");
    match signal {
        // `timeout` ends as what it runs, or by the signal that it got too.
        Some(_) => assert!(!status.success() || status.signal().is_some(), "{status:?}"),
        None => assert!(status.success(), "{status:?}"),
    }
    drop(reader);
}

#[test]
fn a_reader_that_does_not_read_stops_nothing() {
    let program = build("never_ends", NEVER_ENDS);
    for setting in TELLING {
        is_not_stopped(&program, setting, "1000000", Some("TERM"));
        is_not_stopped(&program, setting, "1100", None);
    }
}

/// Has every floating-point exception trap.
const TRAPS: &str = r#"
static void *body(void *arg) { usleep(1000); return arg; }
int main(void)
{
	unsigned mxcsr = 0, control = 0;
	unsigned short x87 = 0x340;
	__asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
	__asm__ volatile("fldcw %0" : : "m"(x87));
	for (int i = 0; i < 20; i++)
		pthread_join(start(body, 0), 0);
	if (fork() == 0) {
		pthread_join(start(body, 0), 0);
		_exit(0);
	}
	must(system("true") == 0, "system");
	wait(0);
	__asm__ volatile("stmxcsr %0" : "=m"(control));
	__asm__ volatile("fstcw %0" : "=m"(x87));
	must(control == 0 && x87 == 0x340, "the program's own state");
	return 0;
}
"#;

#[test]
fn floating_point_operations_of_ours_do_not_trap() {
    let program = build("traps", TRAPS);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events");
    for hubs in ["1", "2"] {
        for format in ["text", "json", "chrome"] {
            let settings = [
                ("GEVENT_SHIM_HUBS", hubs),
                ("GEVENT_SHIM_EVENTS", "all"),
                ("GEVENT_SHIM_EVENTS_FORMAT", format),
                ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
                ("GEVENT_SHIM_SUMMARY", "1"),
            ];
            let output = run(&program, &settings);
            assert!(output.status.success(), "{hubs} {format}: {output:?}");
            std::fs::remove_file(&file).unwrap();
        }
    }
}
