//! Plugins: what they are told, what they may object to, and what is done with broken ones.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;

use gevent_tests::compile;
use serde_json::Value;

use crate::program::{build, named, read, run};
use crate::waits::stopping;

/// A library made of the text of a C file.
fn library(name: &str, text: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins");
    std::fs::create_dir_all(&directory).unwrap();
    let source = directory.join(name).with_extension("c");
    if std::fs::read_to_string(&source).ok().as_deref() != Some(text) {
        std::fs::write(&source, text).unwrap();
    }
    let output = directory.join(name).with_extension("so");
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shim/include");
    let arguments = [
        "-shared".to_owned(),
        "-fPIC".to_owned(),
        "-Werror".to_owned(),
        format!("-I{}", include.display()),
    ];
    compile::build(&source, &arguments, &output).unwrap();
    output
}

const HEAD: &str = r#"
#include <errno.h>
#include <gevent_plugin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
const uint32_t gevent_plugin_abi = GEVENT_PLUGIN_ABI;
__attribute__((unused)) static int *volatile nowhere;
"#;

/// Does what variables say: writes what it is told to PLUGIN_LOG, by PLUGIN_FILTER; objects
/// to the group PLUGIN_VETO or to everything ("all"); leaves out the calls PLUGIN_WITHOUT.
const OBEDIENT: &str = r#"
static int has(const char *variable, const char *word)
{
	const char *list = getenv(variable);
	size_t length = strlen(word);
	for (const char *at = list; at && (at = strstr(at, word)); at += length)
		if ((at == list || at[-1] == ',') && (at[length] == 0 || at[length] == ','))
			return 1;
	return 0;
}
static void event(void *data, const gevent_plugin_event_t *event)
{
	FILE *log = data;
	if (event->size < sizeof *event)
		abort();
	fprintf(log, "event\t%ld\t%s\t%s\t%d\t%llu\t%s", syscall(SYS_gettid), event->name, event->target,
		event->level, (unsigned long long)event->at, event->text);
	for (size_t i = 0; i < event->field_count; i++) {
		const gevent_plugin_field_t *field = &event->fields[i];
		if (field->kind == GEVENT_FIELD_TEXT)
			fprintf(log, "\t%s=%s", field->name, field->text);
		else if (field->kind == GEVENT_FIELD_UNSIGNED)
			fprintf(log, "\t%s=%llu", field->name, (unsigned long long)field->number);
		else
			fprintf(log, "\t%s=%lld", field->name, (long long)field->number);
	}
	fputc('\n', log);
}
static void flush(void *data) { fflush(data); }
static const char *will_patch_all(void *data, const char *groups)
{
	fprintf(data, "all\t%s\n", groups);
	return has("PLUGIN_VETO", "all") ? "this program is left alone" : NULL;
}
static const char *will_patch_group(void *data, const char *group, gevent_plugin_item_t *items, size_t count)
{
	fprintf(data, "group\t%s", group);
	for (size_t i = 0; i < count; i++) {
		fprintf(data, "\t%s", items[i].name);
		if (has("PLUGIN_WITHOUT", items[i].name))
			items[i].wanted = 0;
	}
	fputc('\n', data);
	return has("PLUGIN_VETO", group) ? "this group is left alone" : NULL;
}
int gevent_plugin_init(gevent_plugin_t *plugin)
{
	const char *path = getenv("PLUGIN_LOG");
	if (plugin->size != sizeof *plugin)
		return -EINVAL;
	plugin->filter = getenv("PLUGIN_FILTER");
	plugin->data = fopen(path ? path : "/dev/null", "a");
	plugin->event = event;
	plugin->flush = flush;
	plugin->will_patch_all = will_patch_all;
	plugin->will_patch_group = will_patch_group;
	return plugin->data ? 0 : -errno;
}
"#;

fn obedient() -> String {
    let path = library("obedient", &format!("{HEAD}{OBEDIENT}"));
    path.to_str().unwrap().to_owned()
}

/// A thread that sleeps and looks whether it is a guest.
const SLEEPER: &str = r#"
static void *body(void *arg)
{
	usleep(10000);
	puts(syscall(SYS_gettid) > 1 << 22 ? "guest" : "kernel thread");
	return arg;
}
int main(void) { pthread_join(start(body, 0), 0); return 0; }
"#;

fn text(event: &Value, field: &str) -> String {
    event["fields"][field]
        .as_str()
        .unwrap_or_else(|| panic!("{field} in {event}"))
        .to_owned()
}

#[test]
fn a_plugin_is_told_what_is_told_by_a_thread_that_is_no_guest() {
    let program = build("sleeper", SLEEPER);
    let directory = tempfile::tempdir().unwrap();
    let (file, log) = (
        directory.path().join("events"),
        directory.path().join("log"),
    );
    let output = run(
        &program,
        &[
            ("GEVENT_SHIM_EVENTS", "all"),
            ("GEVENT_SHIM_EVENTS_FORMAT", "json"),
            ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
            ("GEVENT_SHIM_PLUGINS", &obedient()),
            ("PLUGIN_FILTER", "all"),
            ("PLUGIN_LOG", log.to_str().unwrap()),
        ],
    );
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    assert_eq!(output.stdout, b"guest\n");
    let told = read(&file);
    let log = std::fs::read_to_string(log).unwrap();
    let logged: Vec<Vec<&str>> = log
        .lines()
        .filter_map(|line| Some(line.strip_prefix("event\t")?.split('\t').collect()))
        .collect();
    assert_eq!(logged.len(), told.len());
    let levels = ["", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
    for (line, event) in logged.iter().zip(&told) {
        let [_, name, target, level, at, said] = line[..6] else {
            panic!("{line:?}");
        };
        assert_eq!(name, event["event"], "{event}");
        assert_eq!(target, event["target"], "{event}");
        let level: usize = level.parse().unwrap();
        assert_eq!(
            Some(levels[level]),
            event["level"].as_str().map(str::to_uppercase).as_deref()
        );
        let at: u64 = at.parse().unwrap();
        assert_eq!(at / 1000, event["at_us"].as_u64().unwrap());
        assert_eq!(said, event["text"], "{event}");
        let fields = event["fields"].as_object().unwrap();
        assert_eq!(line.len() - 6, fields.len(), "{event}");
        for field in &line[6..] {
            let (name, value) = field.split_once('=').unwrap();
            let expected = match &fields[name] {
                Value::String(text) => text.clone(),
                number => number.to_string(),
            };
            assert_eq!(value, expected, "{name} of {event}");
        }
    }
    // Guests' events come from a thread of the kernel that is not the program's.
    let pid = told[0]["pid"].as_i64().unwrap();
    let tids: BTreeSet<i64> = logged
        .iter()
        .filter(|line| line[1] == "Called" || line[1] == "GuestStarted")
        .map(|line| line[0].parse().unwrap())
        .collect();
    assert_eq!(tids.len(), 1, "{tids:?}");
    assert!(tids.iter().all(|tid| *tid != pid && *tid < 1 << 22));
}

#[test]
fn the_plugin_in_the_readme_does_what_is_said_there() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, section) = readme.split_once("### Plugins").unwrap();
    let (_, code) = section.split_once("```c\n").unwrap();
    let (code, _) = code.split_once("```").unwrap();
    // Parameters that it does not use are only warned of.
    let plugin = library(
        "readme",
        &format!("#pragma GCC diagnostic ignored \"-Wunused-parameter\"\n{code}"),
    );
    let program = build("sleeper", SLEEPER);
    let output = run(
        &program,
        &[("GEVENT_SHIM_PLUGINS", plugin.to_str().unwrap())],
    );
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"guest\n");
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "Vetoed: poll must not be patched: it was taken out of its group\n\
         Vetoed: the group queue must not be patched: readme.so: queues are shared with old \
         programs\n"
    );
}

#[test]
fn a_plugin_has_a_filter_of_its_own() {
    let program = build("sleeper", SLEEPER);
    let directory = tempfile::tempdir().unwrap();
    let (file, log) = (
        directory.path().join("events"),
        directory.path().join("log"),
    );
    let names = |filter: Option<&str>, sink: bool| {
        let mut settings = vec![
            ("GEVENT_SHIM_PLUGINS", obedient()),
            ("PLUGIN_LOG", log.display().to_string()),
        ];
        settings.extend(filter.map(|filter| ("PLUGIN_FILTER", filter.to_owned())));
        if sink {
            settings.extend([
                ("GEVENT_SHIM_EVENTS", "gevent::call".to_owned()),
                ("GEVENT_SHIM_EVENTS_FORMAT", "json".to_owned()),
                ("GEVENT_SHIM_EVENTS_FILE", file.display().to_string()),
            ]);
        }
        let settings: Vec<_> = settings.iter().map(|(a, b)| (*a, b.as_str())).collect();
        let output = run(&program, &settings);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
        let text = std::fs::read_to_string(&log).unwrap();
        std::fs::remove_file(&log).unwrap();
        let events = text.lines().filter(|line| line.starts_with("event\t"));
        events
            .map(|line| line.split('\t').nth(2).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let guests = ["GuestStarted", "GuestEnded"];
    assert_eq!(names(Some("gevent::guest=debug"), false), guests);
    assert_eq!(names(Some("gevent::guest=debug"), true), guests);
    let sink = read(&file);
    assert!(!sink.is_empty() && sink.iter().all(|event| event["event"] == "Called"));
    // All but calls.
    let usual = names(None, true);
    assert!(usual.iter().any(|name| name == "DidPatchAll"));
    assert!(
        !usual
            .iter()
            .any(|name| name == "Called" || name == "DidPatchSite")
    );
    assert!(names(Some("off"), false).is_empty());
}

#[test]
fn a_group_that_is_objected_to_is_exactly_what_stays_native() {
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
    ] {
        let settings = [
            ("GEVENT_SHIM_PLUGINS", &*obedient()),
            ("PLUGIN_VETO", group),
        ];
        assert_eq!(stopping(&settings), BTreeSet::from([group.to_owned()]));
    }
}

/// Runs the sleeper with a plugin, and returns its events about patching.
fn patching(program: &Path, settings: &[(&str, &str)]) -> (Output, Vec<Value>, String) {
    let directory = tempfile::tempdir().unwrap();
    let (file, log) = (
        directory.path().join("events"),
        directory.path().join("log"),
    );
    let plugin = obedient();
    let mut all = vec![
        ("GEVENT_SHIM_EVENTS", "gevent::patch=debug"),
        ("GEVENT_SHIM_EVENTS_FORMAT", "json"),
        ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
        ("GEVENT_SHIM_PLUGINS", &*plugin),
        ("PLUGIN_LOG", log.to_str().unwrap()),
    ];
    all.extend(settings);
    let output = run(program, &all);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let events = read(&file);
    (output, events, std::fs::read_to_string(log).unwrap())
}

#[test]
fn of_a_group_that_is_objected_to_nothing_is_done() {
    let program = build("sleeper", SLEEPER);
    let (output, events, _) = patching(&program, &[("PLUGIN_VETO", "time,dns")]);
    assert_eq!(output.stdout, b"guest\n");
    let of = |name: &str| -> Vec<String> {
        let events = named(&events, name);
        events.iter().map(|event| text(event, "group")).collect()
    };
    let (will, did) = (of("WillPatchGroup"), of("DidPatchGroup"));
    assert_eq!(will.len(), 11);
    let missing: Vec<_> = will.iter().filter(|group| !did.contains(group)).collect();
    assert_eq!(missing, ["dns", "time"]);
    assert_eq!(did.len(), 9);
    let vetoed: Vec<_> = named(&events, "Vetoed")
        .iter()
        .map(|event| (text(event, "what"), text(event, "reason")))
        .collect();
    let reason = "obedient.so: this group is left alone".to_owned();
    assert_eq!(
        vetoed,
        [
            ("the group dns".to_owned(), reason.clone()),
            ("the group time".to_owned(), reason)
        ]
    );
}

/// Prints of each argument whether it is patched.
const ASKS: &str = r#"
static void *body(void *arg) { return arg; }
int main(int argc, char **argv)
{
	int (*is_patched)(const char *) = (int (*)(const char *))dlsym(RTLD_DEFAULT, "gevent_is_patched");
	must(is_patched != NULL, "dlsym");
	pthread_join(start(body, 0), 0);
	char names[65536];
	names[fread(names, 1, sizeof names - 1, stdin)] = 0;
	(void)argc, (void)argv;
	for (char *name = strtok(names, "\n"); name; name = strtok(0, "\n"))
		printf("%s %d\n", name, is_patched(name));
	return 0;
}
"#;

#[test]
fn calls_that_are_taken_out_are_exactly_what_stays_native() {
    let sleeper = build("sleeper", SLEEPER);
    let (_, events, log) = patching(&sleeper, &[("PLUGIN_WITHOUT", "poll,connect,close")]);
    // Every item of every group was offered.
    let groups: Vec<Vec<&str>> = log
        .lines()
        .filter_map(|line| Some(line.strip_prefix("group\t")?.split('\t').collect()))
        .collect();
    assert_eq!(groups.len(), 11);
    let items: BTreeSet<&str> = groups
        .iter()
        .flat_map(|group| &group[1..])
        .copied()
        .collect();
    assert!(items.len() > 100 && items.contains("poll") && items.contains("connect"));
    let vetoed: BTreeSet<_> = named(&events, "Vetoed")
        .iter()
        .map(|event| text(event, "what"))
        .collect();
    assert_eq!(
        vetoed,
        ["close", "connect", "poll"].map(str::to_owned).into()
    );
    // One of them is needed, whatever a plugin says.
    let stays = named(&events, "StaysPatched");
    assert_eq!(stays.len(), 1);
    assert_eq!(text(stays[0], "call"), "close");
    // The groups tell of fewer items than they have.
    let counted = |events: &[Value], group: &str| {
        let did = named(events, "DidPatchGroup");
        let of = did.iter().find(|event| text(event, "group") == group);
        of.unwrap()["fields"]["items"].as_u64().unwrap()
    };
    let (_, whole, _) = patching(&sleeper, &[]);
    for (group, fewer) in [("select", 1), ("socket", 1), ("time", 0)] {
        assert_eq!(
            counted(&whole, group) - counted(&events, group),
            fewer,
            "{group}"
        );
    }
    // What is asked of the library agrees.
    let asks = build("asks_all", ASKS);
    let names = items.iter().copied().collect::<Vec<_>>().join("\n");
    let directory = tempfile::tempdir().unwrap();
    let input = directory.path().join("names");
    std::fs::write(&input, names).unwrap();
    let patched = |without: &str| -> BTreeSet<String> {
        let mut command = crate::program::command(
            &asks,
            &[],
            &[
                ("GEVENT_SHIM_PLUGINS", &*obedient()),
                ("PLUGIN_WITHOUT", without),
            ],
        );
        let output = command
            .stdin(std::fs::File::open(&input).unwrap())
            .output()
            .unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
        let said = String::from_utf8(output.stdout).unwrap();
        let yes = said.lines().filter_map(|line| line.strip_suffix(" 1"));
        yes.map(str::to_owned).collect()
    };
    let (all, fewer) = (patched(""), patched("poll,connect,close"));
    let gone: Vec<_> = all.difference(&fewer).collect();
    assert_eq!(gone, ["connect", "poll"]);
    assert!(fewer.is_subset(&all) && all.len() == items.len());
}

#[test]
fn calls_that_are_taken_out_stop_everybody_and_their_group_does_not() {
    for (call, group) in [
        ("poll", "select"),
        ("recvfrom", "socket"),
        ("flock", "file"),
    ] {
        let settings = [
            ("GEVENT_SHIM_PLUGINS", &*obedient()),
            ("PLUGIN_WITHOUT", call),
        ];
        assert_eq!(stopping(&settings), BTreeSet::from([group.to_owned()]));
    }
    // Others of the group do not.
    for call in ["epoll_wait", "recvmsg", "fsync"] {
        let settings = [
            ("GEVENT_SHIM_PLUGINS", &*obedient()),
            ("PLUGIN_WITHOUT", call),
        ];
        assert_eq!(stopping(&settings), BTreeSet::new());
    }
}

#[test]
fn an_objection_to_all_of_it_leaves_the_program_bare() {
    let program = build("sleeper", SLEEPER);
    let (output, events, log) = patching(&program, &[("PLUGIN_VETO", "all")]);
    assert_eq!(output.stdout, b"kernel thread\n");
    let names: Vec<_> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["WillPatchAll", "Vetoed"]);
    assert_eq!(text(&events[1], "what"), "the program");
    assert_eq!(
        text(&events[1], "reason"),
        "obedient.so: this program is left alone"
    );
    assert!(log.contains("all\tall\n") && !log.contains("group\t"));
    // Without guests there is nobody to be cooperative.
    let (output, events, _) = patching(&program, &[("PLUGIN_VETO", "thread")]);
    assert_eq!(output.stdout, b"kernel thread\n");
    assert_eq!(named(&events, "NotPatched").len(), 1);
    assert!(
        !events
            .iter()
            .any(|event| event["event"].as_str().unwrap().starts_with("Did"))
    );
}

#[test]
fn each_of_several_plugins_may_object() {
    let program = build("sleeper", SLEEPER);
    let second = library(
        "second",
        &format!(
            r#"{HEAD}
static const char *will_patch_group(void *data, const char *group, gevent_plugin_item_t *items, size_t count)
{{
	(void)data;
	for (size_t i = 0; i < count; i++)
		items[i].wanted = 1;
	return strcmp(group, "file") ? NULL : "files are mine";
}}
int gevent_plugin_init(gevent_plugin_t *plugin) {{ plugin->will_patch_group = will_patch_group; return 0; }}"#
        ),
    );
    for separator in [",", ":"] {
        let both = format!("{}{separator}{}", obedient(), second.display());
        let (_, events, _) = patching(
            &program,
            &[
                ("GEVENT_SHIM_PLUGINS", &both),
                ("PLUGIN_VETO", "time"),
                ("PLUGIN_WITHOUT", "poll"),
            ],
        );
        let vetoed: BTreeSet<_> = named(&events, "Vetoed")
            .iter()
            .map(|event| text(event, "what"))
            .collect();
        let expected = ["poll", "the group file", "the group time"];
        assert_eq!(vetoed, expected.map(str::to_owned).into());
    }
}

#[test]
fn a_forked_child_tells_its_plugins_too() {
    let program = build(
        "forks",
        "static void *body(void *arg) { sched_yield(); return arg; }
         int main(void)
         {
             pthread_join(start(body, 0), 0);
             pid_t child = fork();
             pthread_join(start(body, 0), 0);
             if (child == 0) return 0;
             must(waitpid(child, 0, 0) == child, \"waitpid\");
             return 0;
         }",
    );
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let output = run(
        &program,
        &[
            ("GEVENT_SHIM_PLUGINS", &*obedient()),
            ("PLUGIN_FILTER", "gevent::guest=debug,gevent::hub=info"),
            ("PLUGIN_LOG", log.to_str().unwrap()),
        ],
    );
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let log = std::fs::read_to_string(log).unwrap();
    let count = |name: &str| {
        log.lines()
            .filter(|line| line.split('\t').nth(2) == Some(name))
            .count()
    };
    assert_eq!(
        (count("GuestStarted"), count("GuestEnded")),
        (3, 3),
        "{log}"
    );
    assert_eq!(count("ForkReinitialised"), 1, "{log}");
}

#[test]
fn a_plugin_that_is_of_no_use_is_one_line_and_the_program_runs_bare() {
    let program = build("sleeper", SLEEPER);
    let directory = tempfile::tempdir().unwrap();
    let words = directory.path().join("words.so");
    std::fs::write(&words, "words").unwrap();
    let init = |name: &str, body: &str| {
        let text = format!(
            "{HEAD}\nint gevent_plugin_init(gevent_plugin_t *plugin) {{ (void)plugin; {body} }}"
        );
        library(name, &text)
    };
    let no_abi = library(
        "no_abi",
        "int gevent_plugin_init(void *p) { return p == 0; }",
    );
    let no_init = library("no_init", HEAD);
    let unknown = HEAD.replace("= GEVENT_PLUGIN_ABI", "= 99");
    let other =
        format!("{unknown}\nint gevent_plugin_init(gevent_plugin_t *p) {{ (void)p; abort(); }}");
    let constructor = format!(
        "{HEAD}\n__attribute__((constructor)) static void crash(void) {{ *nowhere = 0; }}
         int gevent_plugin_init(gevent_plugin_t *p) {{ (void)p; return 0; }}"
    );
    let needs = format!(
        "{HEAD}\nint no_such_function(void);
         int gevent_plugin_init(gevent_plugin_t *p) {{ (void)p; return no_such_function(); }}"
    );
    let missing = directory.path().join("missing.so");
    for (plugin, part) in [
        (missing, "No such file or directory"),
        (words, "too short"),
        (directory.path().to_owned(), "cannot read file data"),
        (no_abi, "no symbol gevent_plugin_abi"),
        (no_init, "no symbol gevent_plugin_init"),
        (library("needs", &needs), "no_such_function"),
        (library("other", &other), "built for interface 99"),
        (
            init("fails", "return -EACCES;"),
            "gevent_plugin_init failed: Permission denied",
        ),
        (
            init("crashes", "*nowhere = 0; return 0;"),
            "crashes when it is loaded, with signal 11",
        ),
        (
            init("aborts", "abort();"),
            "crashes when it is loaded, with signal 6",
        ),
        (
            init(
                "overflows",
                "volatile char big[1 << 24]; big[0] = 1; return big[0] - 1;",
            ),
            "signal 11",
        ),
        (
            library("constructor", &constructor),
            "crashes when it is loaded, with signal 11",
        ),
        (
            init("exits", "puts(\"bye\"); exit(3);"),
            "ends the program when it is loaded, with status 3",
        ),
        (
            init("hangs", "for (;;) pause(); return 0;"),
            "not loaded after 10 s",
        ),
        (
            init("filters", "plugin->filter = \"gevent::nothing\"; return 0;"),
            "its filter \"gevent::nothing\" names no events",
        ),
    ] {
        let name = plugin.to_str().unwrap();
        // A good one before it is of no use either.
        let list = format!("{},{name}", obedient());
        let output = run(&program, &[("GEVENT_SHIM_PLUGINS", &list)]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout, b"kernel thread\n", "{name}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{name}: {said}");
        assert!(
            said.starts_with("gevent-shim: GEVENT_SHIM_PLUGINS: cannot use ")
                && said.contains(part),
            "{name}: {said}"
        );
    }
    for list in ["plugin.so", "/a.so,,/b.so"] {
        let output = run(&program, &[("GEVENT_SHIM_PLUGINS", list)]);
        assert_eq!(output.stdout, b"kernel thread\n");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("expected a list of paths"), "{said}");
    }
}

#[test]
fn the_child_that_tries_a_plugin_is_nobodys() {
    // The program waits for every child of its own, and has a plan for SIGCHLD.
    let program = build(
        "waits_for_any",
        "static void *body(void *arg) { return arg; }
         int main(void)
         {
             sigset_t pending;
             must(sigpending(&pending) == 0 && !sigismember(&pending, SIGCHLD), \"SIGCHLD\");
             must(waitpid(-1, 0, __WALL) == -1 && errno == ECHILD, \"a child\");
             pthread_join(start(body, 0), 0);
             return 0;
         }",
    );
    let plugin = obedient();
    let mut command = crate::program::command(&program, &[], &[("GEVENT_SHIM_PLUGINS", &plugin)]);
    let output = command.output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
}
