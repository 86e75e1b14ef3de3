//! Which groups' calls stop every thread while they wait: those that are native.

use std::collections::BTreeSet;

use crate::program::{build, named, read, run};

/// Waits 300 ms in a call of each group, while another thread waits to run, and prints
/// the group with when that began and ended.
const WAITS: &str = r#"
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
static pthread_mutex_t mine = PTHREAD_MUTEX_INITIALIZER;
static void *other(void *arg) { pthread_mutex_lock(&mine); return arg; }
static void *nothing(void *arg) { return arg; }
static struct timespec begun;
static long long us(struct timespec t) { return t.tv_sec * 1000000LL + t.tv_nsec / 1000; }
static void begin(void)
{
	/* Others run, so that what follows is seen as new. */
	pthread_join(start(nothing, 0), 0);
	clock_gettime(CLOCK_MONOTONIC, &begun);
}
static void end(const char *group)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("%s %lld %lld\n", group, us(begun), us(now));
}
static const struct timespec ms300 = {0, 300000000};
static void waits_for_a_socket(void)
{
	char byte;
	int ends[2];
	struct timeval limit = {0, 300000};
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
	setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	begin();
	must(recv(ends[0], &byte, 1, 0) == -1 && errno == EAGAIN, "recv");
	end("socket");
}
/* A server that knows no name, and takes its time to say so. */
static void waits_for_a_name(void)
{
	int server = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t length = sizeof address;
	must(bind(server, (struct sockaddr *)&address, length) == 0, "bind");
	must(getsockname(server, (struct sockaddr *)&address, &length) == 0, "getsockname");
	pid_t child = fork();
	if (child == 0) {
		for (int asked = 0;; asked++) {
			unsigned char query[512];
			struct sockaddr_in from;
			socklen_t size = sizeof from;
			ssize_t got = recvfrom(server, query, sizeof query, 0, (struct sockaddr *)&from, &size);
			if (asked == 0)
				nanosleep(&ms300, 0);
			query[2] = 0x81; /* an answer */
			query[3] = 0x83; /* that there is no such name */
			sendto(server, query, got, 0, (struct sockaddr *)&from, size);
		}
	}
	res_init();
	_res.nscount = 1;
	_res.nsaddr_list[0] = address;
	struct addrinfo *found;
	begin();
	must(getaddrinfo("no.such.name.", "80", 0, &found) != 0, "getaddrinfo");
	end("dns");
	kill(child, SIGKILL);
	waitpid(child, 0, 0);
}
static pid_t child_that_writes(int fd)
{
	pid_t child = fork();
	if (child == 0) {
		nanosleep(&ms300, 0);
		_exit(fd >= 0 && write(fd, "x", 1) != 1);
	}
	return child;
}
int main(void)
{
	char byte;
	int ends[2];
	sigset_t usr1;
	struct pollfd none = {-1, 0, 0};
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr1, 0);
	pthread_mutex_lock(&mine);
	start(other, 0);

	waits_for_a_socket();
	waits_for_a_name();

	begin();
	nanosleep(&ms300, 0);
	end("time");

	begin();
	must(poll(&none, 1, 300) == 0, "poll");
	end("select");

	must(pipe(ends) == 0, "pipe");
	pid_t child = child_that_writes(ends[1]);
	begin();
	must(read(ends[0], &byte, 1) == 1, "read");
	end("os");
	waitpid(child, 0, 0);

	child = child_that_writes(-1);
	begin();
	must(waitpid(child, 0, 0) == child, "waitpid");
	end("subprocess");

	begin();
	must(sigtimedwait(&usr1, 0, &ms300) == -1 && errno == EAGAIN, "sigtimedwait");
	end("signal");

	struct { long type; char text[1]; } message = {1, "x"};
	int queue = msgget(IPC_PRIVATE, 0600);
	must(queue >= 0, "msgget");
	child = fork();
	if (child == 0) {
		nanosleep(&ms300, 0);
		_exit(msgsnd(queue, &message, 1, 0));
	}
	begin();
	must(msgrcv(queue, &message, 1, 0, 0) == 1, "msgrcv");
	end("queue");
	msgctl(queue, IPC_RMID, 0);
	waitpid(child, 0, 0);

	char name[] = "/tmp/waits-XXXXXX";
	int locked = mkstemp(name), again = open(name, O_RDWR);
	must(locked >= 0 && again >= 0, "open");
	must(flock(locked, LOCK_EX) == 0, "flock");
	child = fork();
	if (child == 0) {
		nanosleep(&ms300, 0);
		_exit(flock(locked, LOCK_UN));
	}
	begin();
	must(flock(again, LOCK_EX) == 0, "flock");
	end("file");
	unlink(name);
	waitpid(child, 0, 0);
	fflush(stdout);
	_exit(0);
}
"#;

/// The groups of which a call stops every thread with these settings.
pub fn stopping(settings: &[(&str, &str)]) -> BTreeSet<String> {
    let program = build("waits", WAITS);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events");
    let mut all = vec![
        ("GEVENT_SHIM_MAX_BLOCKING_TIME", "0.1"),
        // With two, one goes on.
        ("GEVENT_SHIM_HUBS", "1"),
        // Its signal may come just when a native call begins to wait.
        ("GEVENT_SHIM_PREEMPT", "0"),
        ("GEVENT_SHIM_EVENTS", "gevent::hub=warn"),
        ("GEVENT_SHIM_EVENTS_FORMAT", "json"),
        ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
    ];
    all.extend(settings);
    let output = run(&program, &all);
    assert!(output.status.success(), "{settings:?}: {output:?}");
    let events = read(&file);
    let blocked: Vec<u64> = named(&events, "HubBlocked")
        .iter()
        .map(|event| event["at_us"].as_u64().unwrap())
        .collect();
    let said = String::from_utf8(output.stdout).unwrap();
    let spans = said.lines().map(|line| {
        let mut words = line.split(' ');
        let mut next = || words.next().unwrap();
        let group = next().to_owned();
        let (begin, end): (u64, u64) = (next().parse().unwrap(), next().parse().unwrap());
        (group, begin..=end)
    });
    let stopped = spans.filter(|(_, span)| blocked.iter().any(|at| span.contains(at)));
    let stopped: BTreeSet<_> = stopped.map(|(group, _)| group).collect();
    assert_eq!(
        stopped.len(),
        blocked.len(),
        "{settings:?}: {events:?}\n{said}"
    );
    stopped
}
