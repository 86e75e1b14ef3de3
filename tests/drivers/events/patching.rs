//! What is told of patching: each object and site, and the warnings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gevent_tests::{compile, library, mode};
use serde_json::Value;

use crate::program::{build, named, read, run, run_with, told};

/// A source file of these tests, compiled with these arguments.
fn compiled(name: &str, text: &str, arguments: &[&str]) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("patching");
    std::fs::create_dir_all(&directory).unwrap();
    let source = directory.join(name).with_extension("c");
    if std::fs::read_to_string(&source).ok().as_deref() != Some(text) {
        std::fs::write(&source, text).unwrap();
    }
    let output = directory.join(name);
    let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
    compile::build(&source, &arguments, &output).unwrap();
    output
}

fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event["fields"][field]
        .as_str()
        .unwrap_or_else(|| panic!("{field} in {event}"))
}

fn number(event: &Value, field: &str) -> u64 {
    event["fields"][field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} in {event}"))
}

/// Two functions that call the kernel themselves: unwind tables prove the first one, and
/// nothing the second.
const SITES: &str = r#"
__asm__(".text\n.globl proven\n.type proven,@function\nproven:\n.cfi_startproc\n"
	"mov $39,%eax\n.globl proven_site\nproven_site: syscall\ncmp $-4095,%rax\nnop\nret\n.cfi_endproc\n.size proven,.-proven\n"
	".globl unproven\n.type unproven,@function\nunproven:\nmov $39,%eax\n.globl unproven_site\nunproven_site: syscall\nret\n"
	".size unproven,.-unproven\n.previous\n");
extern long proven(void), unproven(void);
extern char proven_site[], unproven_site[];
"#;

/// What was told of the sites of `object`, which says itself where they are.
fn check_sites(events: &[Value], object: &str, proven: &str, unproven: &str) {
    let of = |name: &str| -> Vec<&Value> {
        let all = named(events, name).into_iter();
        all.filter(|event| text(event, "object") == object)
            .collect()
    };
    let refused = of("Refused");
    let [refused] = refused.as_slice() else {
        panic!("{refused:?}");
    };
    assert_eq!(text(refused, "symbol"), "unproven");
    assert_eq!(text(refused, "address"), unproven);
    assert_eq!(text(refused, "reason"), "is in no known function");
    assert_eq!(refused["level"], "WARN");
    let did = of("DidPatchSite");
    let [did] = did.as_slice() else {
        panic!("{did:?}");
    };
    assert_eq!(text(did, "symbol"), "proven");
    assert_eq!(text(did, "address"), proven);
    assert_eq!(text(did, "mechanism"), "jump to a stub");
    let [will, did, refused] =
        ["WillPatchObject", "DidPatchObject", "SitesRefused"].map(|name| match of(name)[..] {
            [event] => event,
            ref events => panic!("{name}: {events:?}"),
        });
    assert_eq!(number(will, "sites"), 1);
    assert_eq!((number(did, "patched"), number(did, "refused")), (1, 1));
    assert_eq!(number(refused, "count"), 1);
}

#[test]
fn each_site_is_told_with_its_place() {
    let program = build(
        "sites",
        &format!(
            r#"{SITES}
static void *body(void *arg) {{ return arg; }}
int main(void)
{{
	pthread_join(start(body, 0), 0);
	must(proven() == getpid() && unproven() == getpid(), "getpid");
	printf("%p %p\n", proven_site, unproven_site);
	return 0;
}}"#
        ),
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events");
    let output = run(
        &program,
        &[
            ("GEVENT_SHIM_EVENTS", "gevent::patch"),
            ("GEVENT_SHIM_EVENTS_FORMAT", "json"),
            ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
        ],
    );
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let said = String::from_utf8(output.stdout).unwrap();
    let (proven, unproven) = said.trim().split_once(' ').unwrap();
    let events = read(&file);
    let path = program.canonicalize().unwrap();
    check_sites(&events, path.to_str().unwrap(), proven, unproven);

    // The sums agree, and what begins ends.
    let mut sites = BTreeMap::new();
    for event in named(&events, "DidPatchSite") {
        *sites.entry(text(event, "object")).or_insert(0) += 1;
    }
    let objects: BTreeMap<_, _> = named(&events, "DidPatchObject")
        .iter()
        .map(|event| (text(event, "object"), number(event, "patched")))
        .collect();
    assert_eq!(sites, objects);
    let (libc, count) = objects
        .iter()
        .find(|(path, _)| path.ends_with("/libc.so.6"))
        .unwrap();
    assert!(*count > 400, "{libc}: {count}");
    let symbols: Vec<_> = named(&events, "DidPatchSite")
        .iter()
        .filter(|event| text(event, "object") == *libc)
        .map(|event| event["fields"]["symbol"].as_str())
        .collect();
    for known in ["epoll_wait", "accept4"] {
        assert!(symbols.contains(&Some(known)), "{known}");
    }
    let all = named(&events, "DidPatchAll");
    let [all] = all.as_slice() else {
        panic!("{all:?}");
    };
    assert_eq!(number(all, "refused"), 1);
    // And those that came at load.
    let rest = number(all, "sites") - objects.values().sum::<u64>();
    assert!(rest <= 13, "{rest}");
    let order: Vec<_> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(order[0], "WillPatchAll");
    let place = |name: &str| order.iter().position(|event| *event == name).unwrap();
    assert!(place("WillPatchObject") < place("DidPatchSite"));
    assert!(place("DidPatchSite") < place("DidPatchObject"));
    assert!(place("DidPatchObject") < place("DidPatchAll"));
    assert!(place("WillPatchGroup") < place("DidPatchGroup"));
    // Without names nobody looks for them.
    let events = told(&program, "gevent::patch=info", &[]);
    assert!(named(&events, "DidPatchSite").is_empty());
    assert_eq!(text(named(&events, "Refused")[0], "symbol"), "unproven");
}

#[test]
fn sites_of_an_object_that_is_opened_later_are_told_too() {
    let object = compiled(
        "opened.so",
        &format!(
            "{SITES}\nvoid where(void **sites) {{ sites[0] = proven_site; sites[1] = unproven_site; }}"
        ),
        &["-shared", "-fPIC", "-Wl,-Bsymbolic"],
    );
    let program = build(
        "opens",
        r#"
static void *body(void *arg) { return arg; }
int main(int argc, char **argv)
{
	pthread_join(start(body, 0), 0);
	void *object = dlopen(argv[argc - 1], RTLD_NOW);
	must(object != 0, "dlopen");
	long (*proven)(void) = (long (*)(void))dlsym(object, "proven");
	void (*where)(void **) = (void (*)(void **))dlsym(object, "where");
	void *sites[2];
	where(sites);
	must(proven() == getpid(), "getpid");
	printf("%p %p\n", sites[0], sites[1]);
	return 0;
}"#,
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events");
    let object = object.canonicalize().unwrap();
    let object = object.to_str().unwrap();
    let output = run_with(
        &program,
        &[object],
        &[
            ("GEVENT_SHIM_EVENTS", "gevent::patch"),
            ("GEVENT_SHIM_EVENTS_FORMAT", "json"),
            ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
        ],
    );
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let said = String::from_utf8(output.stdout).unwrap();
    let (proven, unproven) = said.trim().split_once(' ').unwrap();
    check_sites(&read(&file), object, proven, unproven);
}

#[test]
fn threads_that_are_there_before_are_named_once() {
    let early = compiled(
        "early.so",
        r#"
#include <pthread.h>
#include <unistd.h>
static void *body(void *arg) { pthread_barrier_wait(arg); for (;;) pause(); return 0; }
__attribute__((constructor)) static void begin(void)
{
	static pthread_barrier_t named;
	pthread_t thread;
	pthread_barrier_init(&named, 0, 2);
	pthread_create(&thread, 0, body, &named);
	pthread_setname_np(thread, "early bird");
	pthread_barrier_wait(&named);
}"#,
        &["-shared", "-fPIC"],
    );
    let program = build(
        "late",
        r#"
static void *body(void *arg) { puts(syscall(SYS_gettid) > 1 << 22 ? "guest" : "kernel thread"); return arg; }
int main(void) { for (int i = 0; i < 3; i++) pthread_join(start(body, 0), 0); return 0; }"#,
    );
    // The last of the list is initialised first.
    let preload = format!("{}:{}", library::find().unwrap().display(), early.display());
    let events = told(&program, "gevent::patch=warn", &[("LD_PRELOAD", &preload)]);
    let late = named(&events, "LoadedLate");
    let [event] = late.as_slice() else {
        panic!("{events:?}");
    };
    let names: Vec<_> = text(event, "names").split(", ").collect();
    assert_eq!(number(event, "threads"), names.len() as u64);
    assert!(names.contains(&"early bird"), "{names:?}");
    assert_eq!(named(&events, "NotPatched").len(), 1);
    let output = run(&program, &[("LD_PRELOAD", &preload)]);
    assert_eq!(output.stdout, b"kernel thread\n".repeat(3));
    assert!(output.stderr.is_empty(), "{output:?}");
}

/// Starts a program twice, in the way that its first argument says, with a thread about.
const STARTS: &str = r#"
#include <spawn.h>
extern char **environ;
static void *body(void *arg) { return arg; }
int main(int argc, char **argv)
{
	char *const words[] = {argv[2], 0};
	pid_t child;
	pthread_join(start(body, 0), 0);
	for (int i = 0; i < 2; i++) {
		(void)argc;
		if (strcmp(argv[1], "spawn") == 0) {
			must(posix_spawn(&child, argv[2], 0, 0, words, environ) == 0, "posix_spawn");
		} else if (strcmp(argv[1], "fork") == 0) {
			if ((child = fork()) == 0)
				_exit(execv(argv[2], words));
		} else if (strcmp(argv[1], "vfork") == 0) {
			if ((child = vfork()) == 0)
				_exit(execv(argv[2], words));
		} else if (strcmp(argv[1], "bare") == 0) {
			char *const none[] = {"HOME=/", 0};
			if ((child = fork()) == 0)
				_exit(execve(argv[2], words, none));
		} else {
			execv(argv[2], words);
			_exit(1);
		}
		must(waitpid(child, 0, 0) == child, "waitpid");
	}
	return 0;
}
"#;

const NOTHING: &str = "int main(void) { return 0; }\n";

#[test]
fn programs_beside_which_nothing_is_loaded_are_told_of_once() {
    let program = build("starts", STARTS);
    let fixed = compiled("static", NOTHING, &["-static"]);
    let go = compiled(
        "go",
        &format!(
            "{NOTHING}__asm__(\".section .note.go.buildid,\\\"a\\\",@note\\n.long 4,4,4\\n.asciz \\\"Go\\\"\\n.byte 0\\n.long 1\\n.previous\\n\");"
        ),
        &[],
    );
    let usual = compiled("usual", NOTHING, &[]);
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script");
    std::fs::write(&script, format!("#! {} x\n", fixed.display())).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).unwrap();
    for (how, path, reason) in [
        ("fork", &fixed, Some("statically linked")),
        ("vfork", &fixed, Some("statically linked")),
        ("spawn", &fixed, Some("statically linked")),
        ("exec", &fixed, Some("statically linked")),
        ("spawn", &go, Some("Go program")),
        ("fork", &script, Some("statically linked")),
        ("fork", &usual, None),
        ("exec", &usual, None),
        // Nothing of ours is wanted beside it.
        ("bare", &fixed, None),
    ] {
        let file = directory.path().join("events");
        let output = run_with(
            &program,
            &[how, path.to_str().unwrap()],
            &[
                (
                    "GEVENT_SHIM_EVENTS",
                    "gevent::patch=warn,gevent::guest=debug",
                ),
                ("GEVENT_SHIM_EVENTS_FORMAT", "json"),
                ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
            ],
        );
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{how}: {output:?}"
        );
        let events = read(&file);
        std::fs::remove_file(&file).unwrap();
        let warned = named(&events, "ProgramNotPatched");
        assert_eq!(
            warned.len(),
            usize::from(reason.is_some()),
            "{how} {path:?}: {events:?}"
        );
        if let Some(reason) = reason {
            assert_eq!(text(warned[0], "program"), path.to_str().unwrap());
            assert!(text(warned[0], "reason").contains(reason), "{warned:?}");
        }
        // What came before the program was another one is not lost.
        assert_eq!(named(&events, "GuestEnded").len(), 1, "{how}: {events:?}");
    }
    let output = run_with(
        &program,
        &["fork", fixed.to_str().unwrap()],
        &[
            ("GEVENT_SHIM_EVENTS", "gevent::patch=warn"),
            ("GEVENT_SHIM_CHILDREN", "0"),
        ],
    );
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
}

#[test]
fn a_long_path_is_told_by_its_end() {
    let program = build("starts", STARTS);
    let fixed = compiled("static", NOTHING, &["-static"]);
    let directory = tempfile::tempdir().unwrap();
    let long = directory.path().join("x".repeat(200)).join("program");
    std::fs::create_dir_all(long.parent().unwrap()).unwrap();
    std::fs::copy(&fixed, &long).unwrap();
    let file = directory.path().join("events");
    let output = run_with(
        &program,
        &["fork", long.to_str().unwrap()],
        &[
            ("GEVENT_SHIM_EVENTS", "gevent::patch=warn"),
            ("GEVENT_SHIM_EVENTS_FORMAT", "json"),
            ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
        ],
    );
    assert!(output.status.success(), "{output:?}");
    let events = read(&file);
    let warned = named(&events, "ProgramNotPatched");
    let told = text(warned[0], "program").strip_prefix("...").unwrap();
    assert!(
        told.len() == 96 && long.to_str().unwrap().ends_with(told),
        "{told}"
    );
}

#[test]
fn a_group_named_nearly_right_is_one_line_and_the_program_runs_bare() {
    let program = build(
        "what",
        r#"
static void *body(void *arg)
{
	puts(syscall(SYS_gettid) > 1 << 22 ? "guest" : "kernel thread");
	return arg;
}
int main(void) { pthread_join(start(body, 0), 0); return 0; }
"#,
    );
    for (list, nearest) in [
        ("sokcet", "socket"),
        ("all,-tiem", "time"),
        ("thread,recvform", "recvfrom"),
        ("-Subproces", "subprocess"),
    ] {
        let output = run(&program, &[("GEVENT_SHIM_PATCH", list)]);
        assert!(output.status.success());
        assert_eq!(output.stdout, b"kernel thread\n");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.contains(&format!("(the nearest is {nearest})")),
            "{said}"
        );
        assert!(
            said.contains("the groups are socket, dns, time, select, thread, os,"),
            "{said}"
        );
    }
}

#[test]
fn where_no_code_can_be_made_calls_are_caught() {
    // Kernels before 6.3 have no such restriction.
    let program = build(
        "makes_no_code",
        "#include <sys/prctl.h>
         static void *body(void *arg) { return arg; }
         int main(int count, char **arguments)
         {
             (void)count;
             if (prctl(66, 0, 0, 0, 0) == 0 && prctl(65, 1, 0, 0, 0) == 0)
                 execv(\"/proc/self/exe\", arguments);
             int restricted = prctl(66, 0, 0, 0, 0) == 1;
             pthread_join(start(body, 0), 0);
             return restricted ? 0 : 77;
         }",
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events");
    let settings = [
        ("GEVENT_SHIM_EVENTS", "info"),
        ("GEVENT_SHIM_EVENTS_FORMAT", "json"),
        ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
    ];
    let output = run(&program, &settings);
    if output.status.code() == Some(77) || !mode::catching_available() {
        return;
    }
    assert!(output.status.success(), "{output:?}");
    let events = read(&file);
    let caught = named(&events, "CaughtInstead");
    let [caught] = caught.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(caught["level"], "WARN");
    assert!(
        text(caught, "reason").contains("can't be made executable"),
        "{caught}"
    );
    for name in ["Catching", "HubStarted"] {
        assert_eq!(named(&events, name).len(), 1, "{name}: {events:?}");
    }
    for name in ["DidPatchObject", "NotPatched", "NotCatching"] {
        assert!(named(&events, name).is_empty(), "{name}: {events:?}");
    }
}
