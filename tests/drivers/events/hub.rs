//! What the monitor sees: a hub that stands still, one that nothing can wake, memory.

use serde_json::Value;

use crate::program::{build, named, read, run_with, told};

fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event["fields"][field]
        .as_str()
        .unwrap_or_else(|| panic!("{field} in {event}"))
}

/// Another thread waits meanwhile, so that there is somebody to keep from running.
fn blocker(name: &str, call: &str) -> std::path::PathBuf {
    build(
        name,
        &format!(
            r#"
static int ends[2];
static void *waits(void *arg)
{{
	char byte;
	must(read(ends[0], &byte, 1) == 1, "read");
	return arg;
}}
__attribute__((noinline)) void culprit(void)
{{
	{call}
	__asm__ volatile("");
}}
int main(void)
{{
	must(pipe(ends) == 0, "pipe");
	pthread_t thread = start(waits, 0);
	sched_yield();
	culprit();
	must(write(ends[1], "x", 1) == 1, "write");
	pthread_join(thread, 0);
	return 0;
}}"#
        ),
    )
}

const QUICK: (&str, &str) = ("GEVENT_SHIM_MAX_BLOCKING_TIME", "0.05");
/// With a second hub nobody is kept from running.
const ONE: (&str, &str) = ("GEVENT_SHIM_HUBS", "1");

#[test]
fn a_call_that_the_hub_cannot_see_is_told_with_its_place() {
    // The group is left out, so the call is the kernel's.
    let call = "struct timespec ms400 = {0, 400000000}; nanosleep(&ms400, 0);";
    let program = blocker("blocked_call", call);
    let without = ("GEVENT_SHIM_PATCH", "-time");
    let events = told(&program, "gevent::hub=warn", &[QUICK, ONE, without]);
    let blocked = named(&events, "HubBlocked");
    let [event] = blocked.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(text(event, "doing"), "clock_nanosleep");
    assert!(text(event, "backtrace").contains("culprit"), "{event}");
    assert!(text(event, "backtrace").contains("main"), "{event}");
    assert_eq!(event["fields"]["tid"], event["pid"]);
    assert!(event["fields"]["blocked"].as_u64().unwrap() >= 50_000);
}

#[test]
fn a_thread_that_computes_is_told_with_its_place() {
    let call = "struct timespec a, b; clock_gettime(CLOCK_MONOTONIC, &a);
	do clock_gettime(CLOCK_MONOTONIC, &b);
	while ((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 < 400);";
    let program = blocker("blocked_compute", call);
    let events = told(
        &program,
        "gevent::hub=warn",
        &[QUICK, ONE, ("GEVENT_SHIM_PREEMPT", "0")],
    );
    let blocked = named(&events, "HubBlocked");
    let [event] = blocked.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(text(event, "doing"), "its own code");
    let backtrace = text(event, "backtrace");
    assert!(
        backtrace.contains("culprit") && backtrace.contains("main"),
        "{backtrace}"
    );
    assert!(!backtrace.contains("perhaps"), "{backtrace}");
    // With preemption the others run, and nothing is wrong.
    let events = told(&program, "gevent::hub=warn", &[QUICK, ONE]);
    assert!(named(&events, "HubBlocked").is_empty(), "{events:?}");
}

#[test]
fn of_two_hubs_one_may_stand_still() {
    let program = build(
        "blocked_two_hubs",
        r#"
static pthread_barrier_t both;
static void stand_still(int ms)
{
	struct timespec a, b;
	clock_gettime(CLOCK_MONOTONIC, &a);
	do clock_gettime(CLOCK_MONOTONIC, &b);
	while ((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 < ms);
}
__attribute__((noinline)) void culprit(void) { stand_still(400); __asm__ volatile(""); }
static void *culprits(void *arg) { pthread_barrier_wait(&both); culprit(); return arg; }
static void *waits(void *arg) { usleep(1000); return arg; }
int main(int argc, char **argv)
{
	int count = atoi(argv[argc - 1]);
	pthread_barrier_init(&both, 0, count);
	pthread_t thread[3] = {start(waits, 0)};
	for (int i = 0; i < count; i++) thread[1 + i] = start(culprits, 0);
	for (int i = 0; i < 1 + count; i++) pthread_join(thread[i], 0);
	return 0;
}"#,
    );
    for (culprits, told_of) in [("1", 0), ("2", 1)] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("events");
        let settings = [
            QUICK,
            ("GEVENT_SHIM_HUBS", "2"),
            ("GEVENT_SHIM_PREEMPT", "0"),
            ("GEVENT_SHIM_EVENTS", "gevent::hub=warn"),
            ("GEVENT_SHIM_EVENTS_FORMAT", "json"),
            ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
        ];
        let output = run_with(&program, &[culprits], &settings);
        assert!(output.status.success(), "{output:?}");
        let events = read(&file);
        let blocked = named(&events, "HubBlocked");
        assert_eq!(blocked.len(), told_of, "{events:?}");
        for event in blocked {
            assert!(text(event, "backtrace").contains("culprit"), "{event}");
        }
    }
}

#[test]
fn nobody_is_told_of_when_nobody_waits_too_long() {
    let program = blocker("blocked_not", "usleep(300000);");
    let events = told(&program, "gevent::hub=warn", &[QUICK]);
    assert!(events.is_empty(), "{events:?}");
}

/// Two threads that each wait for the other's mutex; a signal from outside ends it.
const DEADLOCK: &str = r#"
static pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER, b = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t both;
static void *other(void *arg)
{
	pthread_mutex_lock(&b);
	pthread_barrier_wait(&both);
	pthread_mutex_lock(&a);
	return arg;
}
static void *joins(void *arg) { pthread_join(*(pthread_t *)arg, 0); return 0; }
static void end(int signal) { (void)signal; _exit(0); }
int main(void)
{
	pid_t parent = getpid();
	pid_t child = fork();
	if (child == 0) {
		usleep(1500000);
		_exit(kill(parent, SIGUSR1));
	}
	signal(SIGUSR1, end);
	pthread_barrier_init(&both, 0, 2);
	pthread_mutex_lock(&a);
	pthread_t thread = start(other, 0);
	start(joins, &thread);
	pthread_barrier_wait(&both);
	pthread_mutex_lock(&b);
	return 1;
}
"#;

#[test]
fn threads_that_wait_for_each_other_are_told_once_with_whom() {
    let program = build("deadlock", DEADLOCK);
    let events = told(&program, "gevent::hub=warn,gevent::guest=debug", &[]);
    let started = named(&events, "GuestStarted");
    let [other, joiner] = started.as_slice() else {
        panic!("{events:?}");
    };
    let (other, joiner) = (&other["fields"]["tid"], &joiner["fields"]["tid"]);
    let forever = named(&events, "WouldBlockForever");
    let [event] = forever.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(event["fields"]["guests"], 3);
    let graph = text(event, "graph");
    let main = &event["pid"];
    let waits = |who: &Value, what: &str, whom: &Value| {
        let lines = graph.split("; ");
        let start = format!("{who} waits for {what} 0x");
        lines
            .filter(|line| line.starts_with(&start) && line.ends_with(&format!(" of {whom}")))
            .count()
            == 1
    };
    assert!(waits(main, "the mutex", other), "{graph}");
    assert!(waits(other, "the mutex", main), "{graph}");
    assert!(waits(joiner, "the end", other), "{graph}");
}

#[test]
fn what_something_may_wake_is_not_forever() {
    for (name, wait) in [
        (
            "wakes_pipe",
            "char c; int e[2]; if (pipe(e) == 0 && fork() == 0) { usleep(400000); _exit(write(e[1], &c, 1) != 1); } read(e[0], &c, 1);",
        ),
        ("wakes_timer", "usleep(400000);"),
        (
            "wakes_child",
            "if (fork() == 0) { usleep(400000); _exit(0); } wait(0);",
        ),
    ] {
        let program = build(
            name,
            &format!(
                "static void *waits(void *arg) {{ {wait} return arg; }}
                 int main(void) {{ pthread_join(start(waits, 0), 0); return 0; }}"
            ),
        );
        let events = told(&program, "gevent::hub=warn", &[]);
        assert!(events.is_empty(), "{name}: {events:?}");
    }
}

#[test]
fn memory_is_told_when_it_passes_and_when_it_is_back() {
    let program = build(
        "memory",
        r#"
#include <sys/mman.h>
static void *sleeps(void *arg) { usleep(1500000); return arg; }
int main(void)
{
	size_t size = 256 << 20;
	pthread_t thread = start(sleeps, 0);
	char *memory = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(memory != MAP_FAILED, "mmap");
	memset(memory, 1, size);
	pthread_join(thread, 0);
	munmap(memory, size);
	usleep(1500000);
	return 0;
}"#,
    );
    let events = told(
        &program,
        "gevent::hub",
        &[("GEVENT_SHIM_MAX_MEMORY", "128M")],
    );
    let limit = 128u64 << 20;
    let one = |name: &str| {
        let found = named(&events, name);
        assert_eq!(found.len(), 1, "{name}: {events:?}");
        assert_eq!(found[0]["fields"]["limit"], limit);
        found[0]["fields"]["bytes"].as_u64().unwrap()
    };
    assert!(one("MemoryPassed") > limit);
    assert!(one("MemoryBack") < limit);
}

#[test]
fn a_guests_maker_is_told_on_request() {
    let program = build(
        "maker",
        "static void *body(void *arg) { return arg; }
         __attribute__((noinline)) pthread_t maker(void) { pthread_t t = start(body, 0); __asm__ volatile(\"\"); return t; }
         int main(void) { pthread_join(maker(), 0); return 0; }",
    );
    let events = told(&program, "gevent::guest", &[]);
    let made = named(&events, "GuestMadeAt");
    let [event] = made.as_slice() else {
        panic!("{events:?}");
    };
    let backtrace = text(event, "backtrace");
    let place = |name: &str| {
        backtrace
            .find(name)
            .unwrap_or_else(|| panic!("{name} in {backtrace}"))
    };
    assert!(place("pthread_create") < place("maker") && place("maker") < place("main+"));
    assert!(named(&told(&program, "gevent::guest=debug", &[]), "GuestMadeAt").is_empty());
}
