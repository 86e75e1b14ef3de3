/*
 * No descriptor left, or just a few, below the hard limit, when the first thread is made and later:
 * threads wait for pipes, sockets, each other, children, times of day and files as ever.
 * guest: limit=60
 */
#include "limit.h"

enum { MOST = 24, LIMIT = 128 };

/* So that not more than `count` can be opened. */
static void leave(int count)
{
	struct rlimit limit = { LIMIT, LIMIT };
	IS(setrlimit(RLIMIT_NOFILE, &limit), 0);
	int last = -1;
	for (int fd; (fd = dup(0)) >= 0;)
		last = fd;
	IS(errno, EMFILE);
	for (; count > 0 && last > again; count--)
		close(last--);
}

static void *nothing(void *unused)
{
	return unused;
}

static void in_child(int count, bool running)
{
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		if (running)
			join(start(nothing, NULL));
		leave(count);
		everything();
		_exit(0);
	}
	int status;
	IS(waitpid(child, &status, 0), child);
	printf("%d left %s: status %d\n", count, running ? "later" : "at first", status);
}

int main(void)
{
	prepare();
	for (int count = 0; count < MOST; count++) {
		in_child(count, false);
		in_child(count, true);
	}
	return 0;
}
