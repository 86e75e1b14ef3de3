// Writing to a pipe nobody reads dies of SIGPIPE, from a thread with others parked.
// guest: dies=13
#include "guest.h"
#include <signal.h>

static int ends[2];

static void *writes(void *unused)
{
	(void)unused;
	IS(write(ends[1], "x", 1), 1);
	return NULL;
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	IS(pipe(ends), 0);
	IS(close(ends[0]), 0);
	FAILS(write(ends[1], "x", 1), EPIPE);
	puts("EPIPE when ignored");
	fflush(stdout);
	signal(SIGPIPE, SIG_DFL);
	join(start(writes, NULL));
	puts("never printed");
	return 0;
}
