// With two hubs and no preemption a thread that computes keeps nobody from what comes from the kernel.
// guest: set=GEVENT_SHIM_HUBS=2 set=GEVENT_SHIM_PREEMPT=0 limit=60
#include "guest.h"
#include <sys/wait.h>

enum { ENOUGH = 20 };

static atomic_int sleeps, bytes;
static atomic_bool stop;
static int ends[2];

static void *sleeps_often(void *unused)
{
	while (!atomic_load(&stop)) {
		sleep_ms(1);
		atomic_fetch_add(&sleeps, 1);
	}
	return unused;
}

static void *reads(void *unused)
{
	char byte;
	while (read(ends[0], &byte, 1) == 1)
		atomic_fetch_add(&bytes, 1);
	return unused;
}

int main(void)
{
	CHECK(pipe(ends) == 0);
	pid_t writer = fork();
	CHECK(writer >= 0);
	if (writer == 0) {
		close(ends[0]);
		signal(SIGPIPE, SIG_IGN);
		do
			usleep(1000);
		while (write(ends[1], "x", 1) == 1);
		_exit(0);
	}
	close(ends[1]);
	pthread_t sleeper = start(sleeps_often, NULL), reader = start(reads, NULL);
	for (int round = 1; round <= 3; round++) {
		/* Both wait again; then nothing is called. */
		sleep_ms(5);
		int sleeps_before = atomic_load(&sleeps), bytes_before = atomic_load(&bytes);
		while (atomic_load(&sleeps) < sleeps_before + ENOUGH ||
		       atomic_load(&bytes) < bytes_before + ENOUGH)
			;
		printf("round %d\n", round);
		fflush(stdout);
	}
	atomic_store(&stop, true);
	join(sleeper);
	CHECK(kill(writer, SIGKILL) == 0);
	CHECK(waitpid(writer, NULL, 0) == writer);
	join(reader);
	return 0;
}
