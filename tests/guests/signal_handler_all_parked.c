// A process signal's handler runs in main while every thread is parked and nobody wakes by itself.
#include "shared.h"
#include <signal.h>

static int ends[2];
static pthread_t main_thread;
static atomic_int *handled; /* -1: main still blocks signals, in fork */

static void handler(int signal)
{
	CHECK(signal == SIGTERM);
	CHECK(pthread_equal(pthread_self(), main_thread));
	IS(gettid(), getpid());
	atomic_fetch_add(handled, 1);
}

static void *reads(void *unused)
{
	char byte;
	(void)unused;
	IS(read(ends[0], &byte, 1), 1);
	return NULL;
}

int main(void)
{
	struct sigaction action = { .sa_handler = handler };
	main_thread = pthread_self();
	handled = map_shared(sizeof *handled);
	atomic_store(handled, -1);
	IS(sigaction(SIGTERM, &action, NULL), 0);
	IS(pipe(ends), 0);
	pthread_t threads[10];
	for (int i = 0; i < 10; i++)
		threads[i] = start(reads, NULL);
	pid_t me = getpid(), child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		/* Until we are killed: a signal before the pause is lost on it. One that came while
		 * main still handled the last one would be another thread's. */
		for (int sent = 0;; usleep(100000))
			if (atomic_load(handled) == sent && (sent++, kill(me, SIGTERM) != 0))
				_exit(0);
	}
	atomic_store(handled, 0);
	FAILS(pause(), EINTR);
	CHECK(atomic_load(handled) >= 1);
	puts("paused until the signal");
	char byte;
	int other[2];
	IS(pipe(other), 0);
	FAILS(read(other[0], &byte, 1), EINTR);
	puts("read until the signal");
	IS(kill(child, SIGKILL), 0);
	IS(write(ends[1], "0123456789", 10), 10);
	for (int i = 0; i < 10; i++)
		join(threads[i]);
	return 0;
}
