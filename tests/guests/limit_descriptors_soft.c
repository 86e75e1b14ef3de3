/*
 * A soft RLIMIT_NOFILE below the hard one: a program with threads gets every number up to the limit and
 * EMFILE there, reads the limit it has, also in a child, and when it sets it lower or higher.
 */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "guest.h"

static int ends[2];

static void *reads(void *unused)
{
	char byte;
	IS(read(ends[0], &byte, 1), 1);
	return unused;
}

/* What the library opens for itself late: for a time of day, and for a child. */
static void *waits_for_a_time(void *unused)
{
	struct timespec soon = in_ms(CLOCK_REALTIME, 5);
	OK(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &soon, NULL));
	return unused;
}

static void *waits_for_a_child(void *unused)
{
	int status;
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		sleep_ms(5);
		_exit(7);
	}
	IS(waitpid(child, &status, 0), child);
	IS(status, 7 << 8);
	return unused;
}

static void waits(void)
{
	pthread_t threads[] = { start(reads, NULL), start(waits_for_a_time, NULL),
				start(waits_for_a_child, NULL) };
	sleep_ms(2);
	IS(write(ends[1], "x", 1), 1);
	for (size_t i = 0; i < COUNT(threads); i++)
		join(threads[i]);
}

/* The limit as each of the calls for it says. */
static void limit_is(rlim_t soft)
{
	struct rlimit limit = { 0, 0 }, same = { 0, 0 }, again = { 0, 0 };
	IS(getrlimit(RLIMIT_NOFILE, &limit), 0);
	IS(syscall(SYS_getrlimit, RLIMIT_NOFILE, &same), 0);
	IS(prlimit(getpid(), RLIMIT_NOFILE, NULL, &again), 0);
	IS(limit.rlim_cur, soft);
	IS(same.rlim_cur, soft);
	IS(again.rlim_cur, soft);
	IS(sysconf(_SC_OPEN_MAX), (long)soft);
}

/* Opens all numbers from `next` on that there are below the limit. */
static void fill(int next, int limit)
{
	int fd;
	while ((fd = open("/dev/null", O_RDONLY)) >= 0) {
		IS(fd, next);
		next++;
	}
	IS(errno, EMFILE);
	IS(next, limit);
	int pair[2];
	FAILS(pipe(pair), EMFILE);
	FAILS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), EMFILE);
	FAILS(dup(0), EMFILE);
	FAILS(epoll_create1(0), EMFILE);
	FAILS(fcntl(0, F_DUPFD, 0), EMFILE);
	FAILS(fcntl(0, F_DUPFD, limit), EINVAL);
	FAILS(dup2(0, limit), EBADF);
}

static void set(int soft)
{
	struct rlimit limit = { 0, 0 };
	IS(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = (rlim_t)soft;
	IS(setrlimit(RLIMIT_NOFILE, &limit), 0);
	limit_is((rlim_t)soft);
}

static void main_of_limited(int soft)
{
	bool filled_first = soft < 0;
	soft = abs(soft);
	limit_is((rlim_t)soft);
	IS(pipe(ends), 0);
	IS(ends[0], 3);
	IS(ends[1], 4);
	if (filled_first)
		fill(5, soft);
	waits();
	if (!filled_first)
		fill(5, soft);
	limit_is((rlim_t)soft);
	waits();
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		limit_is((rlim_t)soft);
		FAILS(dup(0), EMFILE);
		waits();
		IS(close(5), 0);
		IS(dup(0), 5);
		_exit(0);
	}
	int status;
	IS(waitpid(child, &status, 0), child);
	IS(status, 0);
	IS(close(soft - 1), 0);
	set(soft - 1);
	FAILS(dup(0), EMFILE);
	waits();
	set(soft);
	IS(dup(0), soft - 1);
	FAILS(dup(0), EMFILE);
	if (soft < 100) {
		set(soft + 20);
		fill(soft, soft + 20);
	}
	for (int fd = 5; fd < soft; fd++)
		IS(close(fd), 0);
	waits();
}

int main(int count, char **arguments)
{
	if (count > 1) {
		main_of_limited(atoi(arguments[1]));
		return 0;
	}
	const char *const limits[] = { "8", "-8", "64", "-64", "200", "1024", "-1024" };
	for (size_t i = 0; i < COUNT(limits); i++) {
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			struct rlimit limit;
			IS(getrlimit(RLIMIT_NOFILE, &limit), 0);
			limit.rlim_cur = (rlim_t)abs(atoi(limits[i]));
			for (int fd = 3; fd < 256; fd++)
				close(fd);
			IS(setrlimit(RLIMIT_NOFILE, &limit), 0);
			execl("/proc/self/exe", arguments[0], limits[i], (char *)NULL);
			_exit(99);
		}
		int status;
		IS(waitpid(child, &status, 0), child);
		printf("%s: %x\n", limits[i], (unsigned)status);
	}
	return 0;
}
