// A SIGPIPE of kill that was ignored says nothing about the next one, which goes to the thread that wrote.
#include "guest.h"
#include <signal.h>

static int ends[2];
static atomic_int handled_by;

static void handler(int signal)
{
	(void)signal;
	atomic_store(&handled_by, gettid());
}

static void *writes(void *unused)
{
	atomic_store(&handled_by, 0);
	FAILS(write(ends[1], "x", 1), EPIPE);
	IS(atomic_load(&handled_by), gettid());
	return unused;
}

int main(void)
{
	IS(pipe(ends), 0);
	IS(close(ends[0]), 0);
	signal(SIGPIPE, SIG_IGN);
	IS(kill(getpid(), SIGPIPE), 0);
	signal(SIGPIPE, handler);
	join(start(writes, NULL));
	puts("the writer's");
	sigset_t pipe_only;
	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	IS(sigprocmask(SIG_BLOCK, &pipe_only, NULL), 0);
	IS(kill(getpid(), SIGPIPE), 0);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGPIPE, handler);
	IS(sigprocmask(SIG_UNBLOCK, &pipe_only, NULL), 0);
	join(start(writes, NULL));
	puts("the writer's, when one that waited was dropped");
	return 0;
}
