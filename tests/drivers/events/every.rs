//! That no event is declared without a test that provokes it, and the events that no other
//! file is about.

use std::collections::BTreeSet;
use std::path::Path;

use patch_events::events;

use crate::program::{build, named, told};

/// The text of every file below a directory.
fn texts(directory: &Path, into: &mut String) {
    for entry in directory.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts(&path, into);
        } else {
            into.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// Tests name what they expect in quotation marks.
#[test]
fn every_event_is_expected_by_a_test() {
    let mut all = String::new();
    texts(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("drivers"),
        &mut all,
    );
    let missing: BTreeSet<_> = events::all()
        .map(|event| event.name)
        .filter(|name| !all.contains(&format!("\"{name}\"")))
        .collect();
    assert!(missing.is_empty(), "no test expects {missing:?}");
}

fn one<'a>(events: &'a [serde_json::Value], name: &str) -> &'a serde_json::Value {
    match named(events, name)[..] {
        [event] => event,
        ref found => panic!("{name}: {found:?} of {events:?}"),
    }
}

#[test]
fn a_hub_that_starts() {
    let program = build(
        "starts_a_hub",
        "static void *body(void *arg) { return arg; }
         int main(void) { pthread_join(start(body, 0), 0); return 0; }",
    );
    for reactor in ["io_uring", "epoll"] {
        let events = told(
            &program,
            "gevent::hub=info",
            &[("GEVENT_SHIM_LOOP", reactor), ("GEVENT_SHIM_HUBS", "1")],
        );
        let started = one(&events, "HubStarted");
        assert_eq!(started["fields"]["reactor"], reactor);
        assert_eq!(started["fields"]["kernel_tid"], started["pid"]);
    }
}

#[test]
fn a_filter_that_was_there_before() {
    let program = build(
        "inherits_a_filter",
        "#include <linux/filter.h>
         #include <linux/seccomp.h>
         #include <sys/prctl.h>
         #include <sys/syscall.h>
         static void *body(void *arg) { return arg; }
         int main(int count, char **arguments)
         {
             struct sock_filter code[] = {
                 BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
                 BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_preadv2, 0, 1),
                 BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
                 BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
             };
             struct sock_fprog filter = { 4, code };
             if (count == 1) {
                 must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, \"privileges\");
                 must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0, \"filter\");
                 execl(\"/proc/self/exe\", arguments[0], \"again\", (char *)0);
                 return 1;
             }
             pthread_join(start(body, 0), 0);
             return 0;
         }",
    );
    let events = told(&program, "gevent::hub=warn", &[]);
    assert_eq!(
        one(&events, "FilterInherited")["fields"]["calls"],
        "preadv2"
    );
}

#[test]
fn catching_that_begins_and_ends() {
    // The program asks for Syscall User Dispatch itself.
    let program = build(
        "takes_over",
        "#include <sys/prctl.h>
         static void *body(void *arg) { usleep(700000); return arg; }
         int main(void)
         {
             static char selector;
             pthread_t thread = start(body, 0);
             must(prctl(59, 1, 0, 0, &selector) == 0, \"prctl\");
             pthread_join(thread, 0);
             return 0;
         }",
    );
    let events = told(&program, "gevent::hub=info", &[("GEVENT_SHIM_CATCH", "1")]);
    one(&events, "Catching");
    let not = one(&events, "NotCatching");
    assert_eq!(
        not["fields"]["reason"],
        "the program uses Syscall User Dispatch itself"
    );
}

/// A thread that a child of vfork keeps in the kernel for some time, while another one computes.
const BLOCKED: &str = "#include <sys/prctl.h>
     static _Atomic int over, turns;
     static void *body(void *arg)
     {
         while (!over) { turns++; sched_yield(); }
         return arg;
     }
     int main(void)
     {
         pthread_t thread = start(body, 0);
         BEFORE
         pid_t pid = vfork();
         if (pid == 0) {
             nanosleep(&(struct timespec){0, 300000000}, 0);
             _exit(0);
         }
         over = 1;
         waitpid(pid, 0, 0);
         pthread_join(thread, 0);
         return 0;
     }";

#[test]
fn a_blocked_hub_is_rescued_where_it_can_be() {
    let program = build("blocks_a_hub", &BLOCKED.replace("BEFORE", ""));
    let settings = [("GEVENT_SHIM_HUBS", "1"), ("GEVENT_SHIM_RESCUE", "1")];
    let events = told(&program, "gevent::hub=info", &settings);
    let rescued = one(&events, "HubRescued");
    assert_eq!(rescued["fields"]["hubs"], 2);
    assert_ne!(rescued["fields"]["kernel_tid"], rescued["pid"]);
    assert!(named(&events, "RescueRefused").is_empty());
    let changes = "must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, \"prctl\");";
    let program = build("blocks_a_changed_hub", &BLOCKED.replace("BEFORE", changes));
    let events = told(&program, "gevent::hub=info", &settings);
    assert_eq!(
        one(&events, "RescueRefused")["fields"]["reason"],
        "what belongs to a kernel thread was changed"
    );
    assert!(named(&events, "HubRescued").is_empty());
}

#[test]
fn hubs_that_are_too_many() {
    let program = build(
        "starts_a_hub",
        "static void *body(void *arg) { return arg; }
         int main(void) { pthread_join(start(body, 0), 0); return 0; }",
    );
    let settings = [("GEVENT_SHIM_HUBS", "2"), ("GEVENT_SHIM_CATCH", "1")];
    let events = told(&program, "gevent::hub=info", &settings);
    assert_eq!(one(&events, "HubsLimited")["fields"]["hubs"], 1);
    assert_eq!(named(&events, "HubStarted").len(), 1);
    // As many as were asked for.
    let events = told(&program, "gevent::hub=info", &settings[..1]);
    assert!(named(&events, "HubsLimited").is_empty());
    assert_eq!(named(&events, "HubStarted").len(), 2);
}

#[test]
fn a_pool_that_is_full() {
    let program = build(
        "fills_the_pool",
        "#include <sys/file.h>
         static char name[] = \"/tmp/pool-XXXXXX\";
         static void *body(void *arg)
         {
             int fd = open(name, O_RDWR);
             must(flock(fd, LOCK_EX) == 0, \"flock\");
             close(fd);
             return arg;
         }
         int main(void)
         {
             int fd = mkstemp(name);
             must(flock(fd, LOCK_EX) == 0, \"flock\");
             pthread_t threads[3];
             for (int i = 0; i < 3; i++) threads[i] = start(body, 0);
             usleep(200000);
             flock(fd, LOCK_UN);
             for (int i = 0; i < 3; i++) pthread_join(threads[i], 0);
             unlink(name);
             return 0;
         }",
    );
    let events = told(&program, "gevent::hub=warn", &[("GEVENT_SHIM_POOL", "1")]);
    assert_eq!(one(&events, "PoolFull")["fields"]["threads"], 1);
}

/// A thread holds a robust lock in shared memory while it sleeps.
const ROBUST: &str = "
#include <sys/mman.h>
static void *body(void *lock)
{
	must(pthread_mutex_lock(lock) == 0, \"lock\");
	usleep(10000);
	pthread_mutex_unlock(lock);
	return 0;
}
int main(int argc, char **argv)
{
	pthread_mutexattr_t how;
	pthread_mutex_t *lock = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_init(&how);
	pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(lock, &how);
	(void)argv;
	pthread_t thread = start(body, lock);
	/* No descriptor is left. */
	struct rlimit limit = {3, 3};
	if (argc > 1)
		must(setrlimit(RLIMIT_NOFILE, &limit) == 0, \"setrlimit\");
	pthread_join(thread, 0);
	return 0;
}
";

#[test]
fn robust_locks_that_have_an_heir_and_that_have_none() {
    let program = build("robust", ROBUST);
    let guarded = told(&program, "gevent::hub=info", &[]);
    let process = &one(&guarded, "LocksGuarded")["fields"]["process"];
    assert!(process.as_i64().unwrap() > 0 && *process != guarded[0]["pid"]);
    assert!(named(&guarded, "LocksNotGuarded").is_empty());
    let program = build("robust_without", &ROBUST.replace("argc > 1", "argc > 0"));
    let without = told(&program, "gevent::hub=info", &[]);
    let errno = &one(&without, "LocksNotGuarded")["fields"]["errno"];
    assert_eq!(errno.as_i64(), Some(i64::from(libc::EMFILE)));
    assert!(named(&without, "LocksGuarded").is_empty());
}

#[test]
fn a_name_that_is_looked_up() {
    let program = build(
        "looks_up",
        "#include <netdb.h>
         static void *body(void *arg)
         {
             struct addrinfo *found, hints = {.ai_flags = AI_NUMERICHOST};
             must(getaddrinfo(\"127.0.0.1\", \"80\", &hints, &found) == 0, \"getaddrinfo\");
             printf(\"%ld\\n\", syscall(SYS_gettid));
             return arg;
         }
         int main(void) { pthread_join(start(body, 0), 0); return 0; }",
    );
    let events = told(&program, "gevent::guest=debug", &[]);
    let looked = one(&events, "LookedUp");
    assert_eq!(looked["fields"]["call"], "getaddrinfo");
    assert_eq!(
        looked["fields"]["tid"],
        one(&events, "GuestStarted")["fields"]["tid"]
    );
    assert_eq!(looked["fields"]["subject"], "127.0.0.1");
}
