//! What is selected is cooperative, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::program::{build, named, run, run_with, told};
use crate::waits::stopping;

const GROUPS: [&str; 11] = [
    "socket",
    "dns",
    "time",
    "select",
    "thread",
    "os",
    "subprocess",
    "signal",
    "queue",
    "file",
    "sys",
];

/// Prints of each argument whether it is patched, once there is a second thread.
const ASKS: &str = r#"
static void *body(void *arg) { return arg; }
int main(int argc, char **argv)
{
	int (*is_patched)(const char *) = (int (*)(const char *))dlsym(RTLD_DEFAULT, "gevent_is_patched");
	must(is_patched != NULL, "dlsym");
	must(is_patched("socket") == 0, "patched before there was a thread");
	pthread_join(start(body, 0), 0);
	for (int i = 1; i < argc; i++)
		printf("%s %d\n", argv[i], is_patched(argv[i]));
	return 0;
}
"#;

fn patched(names: &[&str], selection: &str) -> BTreeMap<String, i32> {
    let program = build("asks", ASKS);
    let output = run_with(&program, names, &[("GEVENT_SHIM_PATCH", selection)]);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let said = String::from_utf8(output.stdout).unwrap();
    let answer = |line: &str| {
        let (name, answer) = line.split_once(' ').unwrap();
        (name.to_owned(), answer.parse().unwrap())
    };
    said.lines().map(answer).collect()
}

#[test]
fn each_group_is_on_alone_and_off_alone() {
    for group in GROUPS {
        // Without threads there is nobody to be cooperative.
        let alone = patched(&GROUPS, &format!("thread,{group}"));
        for other in GROUPS {
            let on = other == "thread" || other == group;
            assert_eq!(alone[other], i32::from(on), "{other} of thread,{group}");
        }
        let without = patched(&GROUPS, &format!("-{group}"));
        for other in GROUPS {
            let on = group != "thread" && other != group;
            assert_eq!(without[other], i32::from(on), "{other} of -{group}");
        }
    }
}

#[test]
fn a_single_call_can_be_left_out_and_be_all_there_is() {
    let calls = ["connect", "accept", "read", "close", "getpid", "nosuch"];
    let of = |selection| calls.map(|name| patched(&calls, selection)[name]);
    assert_eq!(of("all"), [1, 1, 1, 1, 0, -1]);
    assert_eq!(of("-connect"), [0, 1, 1, 1, 0, -1]);
    assert_eq!(of("thread,connect"), [1, 0, 0, 1, 0, -1]);
    assert_eq!(of("thread,socket,-connect"), [0, 1, 0, 1, 0, -1]);
}

/// Groups whose calls wait.
const WAITING: [&str; 9] = [
    "socket",
    "dns",
    "time",
    "select",
    "os",
    "subprocess",
    "signal",
    "queue",
    "file",
];

#[test]
fn a_group_left_out_is_native_and_the_rest_is_not() {
    for out in WAITING {
        let stopped = stopping(&[("GEVENT_SHIM_PATCH", &format!("-{out}"))]);
        assert_eq!(stopped, BTreeSet::from([out.to_owned()]), "-{out}");
    }
}

#[test]
fn a_group_alone_is_cooperative_and_the_rest_is_not() {
    for alone in WAITING {
        let stopped = stopping(&[("GEVENT_SHIM_PATCH", &format!("thread,{alone}"))]);
        let rest = WAITING.into_iter().filter(|group| *group != alone);
        let rest: BTreeSet<_> = rest.map(str::to_owned).collect();
        assert_eq!(stopped, rest, "thread,{alone}");
    }
}

/// Prints whether a thread is a guest: its id is above every id of the kernel's.
const WHAT: &str = r#"
static void *body(void *arg)
{
	puts(syscall(SYS_gettid) > 1 << 22 ? "guest" : "kernel thread");
	return arg;
}
int main(void) { pthread_join(start(body, 0), 0); return 0; }
"#;

#[test]
fn threads_are_guests_with_the_group_thread_and_need_no_other() {
    let program = build("what", WHAT);
    for (selection, what) in [
        ("thread", "guest\n"),
        ("-thread", "kernel thread\n"),
        ("sys", "kernel thread\n"),
        // Which thread one is has to be known in any case.
        ("-sys", "guest\n"),
        ("thread,sys", "guest\n"),
    ] {
        let output = run(&program, &[("GEVENT_SHIM_PATCH", selection)]);
        assert!(output.status.success() && output.stderr.is_empty());
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            what,
            "{selection}"
        );
    }
}

#[test]
fn programs_are_chosen_by_their_file_name() {
    let program = build(
        "chosen",
        "static void *body(void *arg) { return arg; } int main(void) { pthread_join(start(body, 0), 0); return 0; }",
    );
    let directory = tempfile::tempdir().unwrap();
    // The shell is left alone, what it starts is not; a script goes by its own name too.
    let script = directory.path().join("script");
    std::fs::write(&script, format!("#!/bin/sh\n{}\n", program.display())).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).unwrap();
    let shell = Path::new("/bin/sh").canonicalize().unwrap();
    let shell = shell.file_name().unwrap().to_str().unwrap();
    for (run_what, setting, names, processes) in [
        (&program, "GEVENT_SHIM_ONLY", "chosen", 1),
        (&program, "GEVENT_SHIM_ONLY", "other, another", 0),
        (&program, "GEVENT_SHIM_SKIP", "chosen", 0),
        (&program, "GEVENT_SHIM_SKIP", "other", 1),
        (&script, "GEVENT_SHIM_SKIP", "none", 2),
        (&script, "GEVENT_SHIM_SKIP", "script", 1),
        (&script, "GEVENT_SHIM_SKIP", shell, 1),
        (&script, "GEVENT_SHIM_ONLY", "script", 1),
        (&script, "GEVENT_SHIM_ONLY", "chosen", 1),
    ] {
        let file = directory.path().join("events");
        let output = run(
            run_what,
            &[
                ("GEVENT_SHIM_EVENTS", "gevent::hub=info"),
                ("GEVENT_SHIM_EVENTS_FORMAT", "json"),
                ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
                (setting, names),
            ],
        );
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
        let armed = if file.exists() {
            let events = crate::program::read(&file);
            std::fs::remove_file(&file).unwrap();
            // `timeout` and `env` are not preloaded.
            named(&events, "Armed").len()
        } else {
            0
        };
        assert_eq!(armed, processes, "{setting}={names} {}", run_what.display());
    }
}

#[test]
fn children_load_the_library_or_not() {
    let program = build(
        "parent",
        r#"
static void *body(void *arg) { must(system("echo \"child $LD_PRELOAD\"") == 0, "system"); return arg; }
int main(void) { body(0); pthread_join(start(body, 0), 0); return 0; }"#,
    );
    let library = gevent_tests::library::find().unwrap();
    for (children, seen) in [("1", library.to_str().unwrap()), ("0", "")] {
        let output = run(&program, &[("GEVENT_SHIM_CHILDREN", children)]);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
        let said = String::from_utf8(output.stdout).unwrap();
        let said: Vec<_> = said.lines().map(str::trim_end).collect();
        let line = format!("child {seen}");
        assert_eq!(said, [line.trim_end(); 2]);
    }
    // The program itself is cooperative in any case.
    let events = told(
        &program,
        "gevent::guest=debug",
        &[("GEVENT_SHIM_CHILDREN", "0")],
    );
    assert_eq!(named(&events, "GuestStarted").len(), 1);
}

#[test]
fn groups_that_contradict_each_other_are_warned_of() {
    let program = build("asks", ASKS);
    for (selection, expected) in [
        ("all", vec![]),
        ("-select", vec![("socket", "select")]),
        ("-socket", vec![("select", "socket")]),
        ("-os", vec![("subprocess", "os")]),
        ("-time", vec![("queue", "time")]),
    ] {
        let events = told(
            &program,
            "gevent::patch=warn",
            &[("GEVENT_SHIM_PATCH", selection)],
        );
        let field = |event: &serde_json::Value, name: &str| {
            event["fields"][name].as_str().unwrap().to_owned()
        };
        let warned: Vec<_> = named(&events, "GroupsContradict")
            .into_iter()
            .map(|event| (field(event, "group"), field(event, "without")))
            .collect();
        let warned: Vec<_> = warned
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        assert_eq!(warned, expected, "{selection}");
    }
    let program = build(
        "chosen_threads",
        "static void *body(void *arg) { return arg; } int main(void) { pthread_join(start(body, 0), 0); return 0; }",
    );
    let events = told(
        &program,
        "gevent::patch=warn",
        &[("GEVENT_SHIM_PATCH", "-thread")],
    );
    assert_eq!(named(&events, "ThreadGroupOff").len(), 1);
    let events = told(
        &program,
        "gevent::patch=warn",
        &[("GEVENT_SHIM_PATCH", "-close")],
    );
    let stays = named(&events, "StaysPatched");
    assert_eq!(stays.len(), 1);
    assert_eq!(stays[0]["fields"]["call"], "close");
}
