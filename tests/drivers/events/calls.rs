//! Guests and their calls.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::program::{build, named, read, run, run_with, told};

/// Three threads; each waits in a read for a byte, and the second prints its id.
const READERS: &str = r#"
static int ends[2];
static void *reader(void *arg)
{
	char byte;
	must(read(ends[0], &byte, 1) == 1, "read");
	return arg;
}
static void *sleeper(void *arg)
{
	printf("%ld\n", syscall(SYS_gettid));
	struct timespec ms30 = {0, 30000000};
	nanosleep(&ms30, NULL);
	must(write(ends[1], "xx", 2) == 2, "write");
	return arg;
}
int main(void)
{
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
	printf("%d %d\n", getpid(), ends[0]);
	fflush(stdout);
	pthread_t threads[3] = {start(reader, 0), start(reader, 0), start(sleeper, 0)};
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
"#;

fn number(value: &Value, field: &str) -> i64 {
    value["fields"][field]
        .as_i64()
        .unwrap_or_else(|| panic!("{field} in {value}"))
}

#[test]
fn guests_and_calls_are_those_of_the_program() {
    let program = build("readers", READERS);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events");
    let output = run(
        &program,
        &[
            ("GEVENT_SHIM_EVENTS", "gevent::guest=debug,gevent::call"),
            ("GEVENT_SHIM_EVENTS_FORMAT", "json"),
            ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
        ],
    );
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let mut said = said
        .split_whitespace()
        .map(|word| word.parse::<i64>().unwrap());
    let (pid, fd, sleeper) = (
        said.next().unwrap(),
        said.next().unwrap(),
        said.next().unwrap(),
    );
    let events = read(&file);
    assert!(events.iter().all(|event| event["pid"] == pid));

    let started = named(&events, "GuestStarted");
    assert_eq!(started.len(), 3);
    assert!(started.iter().all(|event| number(event, "creator") == pid));
    let tids: BTreeSet<_> = started.iter().map(|event| number(event, "tid")).collect();
    let ended = named(&events, "GuestEnded");
    let ends: BTreeSet<_> = ended.iter().map(|event| number(event, "tid")).collect();
    assert_eq!(tids, ends);
    assert!(tids.len() == 3 && tids.contains(&sleeper));
    assert!(ended.iter().all(|event| number(event, "lived") >= 29_000));

    let calls = named(&events, "Called");
    let of = |name: &str| -> Vec<&&Value> {
        calls
            .iter()
            .filter(|event| event["fields"]["call"] == name)
            .collect()
    };
    let reads = of("read");
    assert_eq!(reads.len(), 2);
    for read in reads {
        assert_eq!((number(read, "fd"), number(read, "ret")), (fd, 1));
        assert!(number(read, "waited") >= 29_000, "{read}");
        assert!(tids.contains(&number(read, "tid")) && number(read, "tid") != sleeper);
    }
    let sleeps = of("clock_nanosleep");
    let [sleep] = sleeps.as_slice() else {
        panic!("{sleeps:?}");
    };
    assert_eq!(number(sleep, "tid"), sleeper);
    assert!(number(sleep, "waited") >= 30_000, "{sleep}");
    // The initial thread waited for the joins alone.
    let joins = of("futex");
    assert!(joins.iter().any(|event| number(event, "tid") == pid));
    let ends = |event: &Value| event["at_us"].as_u64().unwrap();
    assert!(
        events.is_sorted_by_key(ends),
        "in the order in which they happened"
    );
}

#[test]
fn a_trace_is_one_array_with_a_track_for_each_guest() {
    let program = build("readers", READERS);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("trace.json");
    let settings = [
        ("GEVENT_SHIM_EVENTS", "all"),
        ("GEVENT_SHIM_EVENTS_FORMAT", "chrome"),
        ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
    ];
    // A second run adds to it.
    for runs in 1..=2 {
        assert!(run(&program, &settings).status.success());
        let trace: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let of = |phase: &str, name: &str| {
            let all = trace.as_array().unwrap().iter();
            all.filter(|e| e["ph"] == phase && e["name"] == name)
                .collect::<Vec<_>>()
        };
        let tracks = |events: Vec<&Value>| -> BTreeSet<(i64, i64)> {
            let track = |e: &&Value| (e["pid"].as_i64().unwrap(), e["tid"].as_i64().unwrap());
            events.iter().map(track).collect()
        };
        let begun = tracks(of("B", "guest"));
        assert_eq!(begun.len(), 3 * runs);
        assert_eq!(begun, tracks(of("E", "guest")));
        let reads = of("X", "read");
        assert_eq!(reads.len(), 2 * runs);
        for read in reads {
            assert!(read["dur"].as_u64().unwrap() >= 29_000, "{read}");
        }
        assert_eq!(of("i", "DidPatchAll").len(), runs);
    }
}

#[test]
fn what_is_left_is_told_however_the_process_ends() {
    // Both are in the ring when the process ends.
    let body = |end: &str| {
        format!(
            "static void *body(void *arg) {{ sched_yield(); return arg; }}
             int main(void) {{ pthread_join(start(body, 0), 0); {end}; return 0; }}"
        )
    };
    for (name, end) in [
        ("end_exit", "exit(0)"),
        ("end_underscore", "_exit(0)"),
        ("end_return", ""),
        ("end_thread", "pthread_exit(0)"),
        ("end_abort", "abort()"),
        ("end_fault", "*(volatile int *)8 = 0"),
        ("end_raise", "raise(SIGTERM)"),
    ] {
        let program = build(name, &body(end));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("events");
        run(
            &program,
            &[
                ("GEVENT_SHIM_EVENTS", "gevent::guest=debug"),
                ("GEVENT_SHIM_EVENTS_FORMAT", "json"),
                ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
            ],
        );
        assert_eq!(named(&read(&file), "GuestEnded").len(), 1, "{name}");
    }
}

const FORKER: &str = r#"
static void *body(void *arg) { sched_yield(); return arg; }
int main(void)
{
	pthread_join(start(body, 0), NULL);
	pid_t child = fork();
	must(child >= 0, "fork");
	pthread_join(start(body, 0), NULL);
	if (child == 0)
		return 0;
	printf("%d %d\n", getpid(), child);
	must(waitpid(child, NULL, 0) == child, "waitpid");
	return 0;
}
"#;

#[test]
fn a_forked_child_has_a_ring_and_a_file_of_its_own() {
    let program = build("forker", FORKER);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events-%p");
    let output = run(
        &program,
        &[
            ("GEVENT_SHIM_EVENTS", "gevent::hub=info,gevent::guest=debug"),
            ("GEVENT_SHIM_EVENTS_FORMAT", "json"),
            ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
        ],
    );
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let (parent, child) = said.trim().split_once(' ').unwrap();
    let of = |pid: &str| read(&directory.path().join(format!("events-{pid}")));
    let (parents, childs) = (of(parent), of(child));
    assert_eq!(named(&parents, "GuestStarted").len(), 2);
    assert_eq!(named(&parents, "ForkReinitialised").len(), 0);
    assert_eq!(named(&childs, "GuestStarted").len(), 1);
    let forked = named(&childs, "ForkReinitialised");
    assert_eq!(forked.len(), 1);
    assert_eq!(forked[0]["fields"]["parent"].to_string(), parent);
    let child: i64 = child.parse().unwrap();
    assert!(childs.iter().all(|event| event["pid"] == child));
}

#[test]
fn one_and_all_but_calls() {
    let program = build("readers", READERS);
    let usual = told(&program, "1", &[]);
    assert!(named(&usual, "Called").is_empty());
    assert_eq!(named(&usual, "GuestEnded").len(), 3);
    assert!(!named(&told(&program, "all", &[]), "Called").is_empty());
}

#[test]
fn what_finds_no_room_is_counted_and_told() {
    // Every call waits for a moment, many more of them than the ring holds.
    let program = build(
        "flood",
        "static void *hand(void *arg) {
             static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
             static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
             static int turn;
             pthread_mutex_lock(&mutex);
             for (int i = 0; i < 100000; i++) {
                 while (turn != (arg != 0)) pthread_cond_wait(&turned, &mutex);
                 turn = !turn;
                 pthread_cond_signal(&turned);
             }
             pthread_mutex_unlock(&mutex);
             return arg;
         }
         int main(void) { pthread_t other = start(hand, \"\"); hand(0); pthread_join(other, 0); return 0; }",
    );
    let events = told(&program, "gevent::call,gevent::hub=warn", &[]);
    let lost: i64 = named(&events, "EventsLost")
        .iter()
        .map(|event| number(event, "count"))
        .sum();
    let calls = named(&events, "Called").len() as i64;
    // Two waits a round, give or take the ones that find it is their turn.
    assert!(
        (190_000..=200_100).contains(&(calls + lost)),
        "{calls} and {lost}"
    );
}

#[test]
fn a_full_disk_is_one_line_and_the_program_runs_on() {
    let program = build("readers", READERS);
    let settings = [
        ("GEVENT_SHIM_EVENTS", "1"),
        ("GEVENT_SHIM_EVENTS_FILE", "/dev/full"),
    ];
    let output = run_with(&program, &[], &settings);
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains("GEVENT_SHIM_EVENTS_FILE") && said.contains("No space left"),
        "{said}"
    );
}

/// A thread that waits for ever, one that is done after some time, and the initial thread, which
/// ends the program while the first waits.
const LEFT: &str = r#"
static int ends[2], late[2];
static void *reader(void *arg)
{
	char byte;
	return read(*(int *)arg, &byte, 1) == 1 ? arg : NULL;
}
int main(void)
{
	must(pipe(ends) == 0 && pipe(late) == 0, "pipe");
	pthread_t thread = start(reader, late);
	start(reader, ends);
	struct timespec time = {2, 0};
	nanosleep(&time, NULL);
	must(write(late[1], "x", 1) == 1, "write");
	pthread_join(thread, NULL);
	printf("%d %d\n", ends[0], late[0]);
	fflush(stdout);
	_exit(0);
}
"#;

#[test]
fn waits_that_do_not_end_are_told() {
    let program = build("left", LEFT);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events");
    let output = run(
        &program,
        &[
            ("GEVENT_SHIM_EVENTS", "gevent::call"),
            ("GEVENT_SHIM_EVENTS_FORMAT", "json"),
            ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
        ],
    );
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let fds: Vec<i64> = said
        .split_whitespace()
        .map(|n| n.parse().unwrap())
        .collect();
    let events = read(&file);
    let waiting = named(&events, "Waiting");
    let of = |fd: i64| -> Vec<_> {
        waiting
            .iter()
            .filter(|event| event["fields"]["fd"] == fd)
            .collect()
    };
    // Each once, although the program went on for another second.
    for fd in &fds {
        let told = of(*fd);
        assert_eq!(told.len(), 1, "{waiting:?}");
        assert!(number(told[0], "waited") >= 1_000_000, "{told:?}");
    }
    let called = named(&events, "Called");
    let returned: Vec<_> = called
        .iter()
        .filter(|event| event["fields"]["call"] == "read")
        .map(|event| number(event, "fd"))
        .collect();
    assert_eq!(returned, [fds[1]]);
}
