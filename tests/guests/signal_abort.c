// abort from a thread: its handler runs first, then the process dies of SIGABRT.
// guest: dies=6
#include "guest.h"
#include <signal.h>
#include <sys/resource.h>

static pthread_t aborter;

static void handler(int signal)
{
	CHECK(signal == SIGABRT && pthread_equal(pthread_self(), aborter));
	if (write(1, "the handler ran\n", 16) != 16)
		_exit(1);
}

static void *aborts(void *unused)
{
	(void)unused;
	aborter = pthread_self();
	abort();
}

static void *sleeps(void *unused)
{
	(void)unused;
	sleep(100);
	return NULL;
}

int main(void)
{
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	signal(SIGABRT, handler);
	start(sleeps, NULL);
	join(start(aborts, NULL));
	return 0;
}
