// SIGTERM's default action kills the process with all its threads parked.
// guest: dies=15
#include "guest.h"
#include <signal.h>
#include <sys/wait.h>

static int ends[2];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *reads(void *unused)
{
	char byte;
	(void)unused;
	CHECK(read(ends[0], &byte, 1) == 1);
	return NULL;
}

static void *locks(void *unused)
{
	OK(pthread_mutex_lock(&lock));
	return unused;
}

/* Another process, so that nobody of ours is running when the signal comes. */
static void kill_me_later(void)
{
	pid_t me = getpid();
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		usleep(100000);
		kill(me, SIGTERM);
		_exit(0);
	}
}

int main(void)
{
	IS(pipe(ends), 0);
	OK(pthread_mutex_lock(&lock));
	for (int i = 0; i < 10; i++) {
		start(reads, NULL);
		start(locks, NULL);
	}
	puts("all parked");
	fflush(stdout);
	kill_me_later();
	reads(NULL);
	return 0;
}
