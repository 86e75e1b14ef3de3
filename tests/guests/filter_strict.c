// guest: limit=20
// A thread in strict mode, beside others that are not: it writes and ends, and they go on.
#include "guest.h"
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void say(const char *text)
{
	if (write(1, text, strlen(text)) < 0)
		syscall(SYS_exit, 1);
}

static void *strict(void *ends)
{
	int *both = ends;
	char byte;
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		return ends;
	say("strict\n");
	if (read(both[0], &byte, 1) == 1)
		say("read\n");
	/* pthread_exit would unmap its stack. */
	syscall(SYS_exit, 0);
	return NULL;
}

static void in_child(const char *name, void (*body)(void))
{
	fflush(stdout);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0)
		body();
	int status;
	IS(waitpid(child, &status, 0), child);
	printf("%s: exit %d, signal %d\n", name, WIFEXITED(status) ? WEXITSTATUS(status) : -1,
	       WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

static void *nothing(void *unused)
{
	return unused;
}

/* The only thread left. */
static void alone(void)
{
	join(start(nothing, NULL));
	prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
	say("alone\n");
	syscall(SYS_exit, 7);
}

static void alone_killed(void)
{
	join(start(nothing, NULL));
	prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
	syscall(SYS_getpid);
	_exit(9);
}

int main(void)
{
	int ends[2];
	in_child("alone", alone);
	in_child("killed", alone_killed);
	IS(pipe(ends), 0);
	pthread_t thread = start(strict, ends);
	struct ticker ticker;
	ticker_start(&ticker);
	sleep_ms(20);
	IS(write(ends[1], "x", 1), 1);
	join(thread);
	atomic_store(&ticker.stop, true);
	join(ticker.thread);
	puts("joined");
	IS(getpid() > 1, 1);
	void *memory = malloc(1 << 20);
	CHECK(memory != NULL);
	free(memory);
	puts("end");
}
