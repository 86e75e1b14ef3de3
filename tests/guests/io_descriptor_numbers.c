// guest: limit=60
// A new descriptor gets the lowest free number, and a number stays free until the program takes it.
#include "guest.h"
#include <fcntl.h>

/* As many as there are in this time, on a slow machine. */
enum { ROUNDS = 200000, SECONDS = 15 };

static atomic_bool done;

static void *spin(void *unused)
{
	while (!atomic_load(&done))
		;
	return unused;
}

int main(void)
{
	int lowest = open("/dev/null", O_RDONLY);
	CHECK(lowest >= 0);
	int other = open("/dev/zero", O_RDONLY);
	CHECK(other > lowest);
	close(lowest);
	pthread_t thread = start(spin, NULL);
	int64_t end = now_ns(CLOCK_MONOTONIC) + SECONDS * 1000 * MS;
	for (int i = 0; i < ROUNDS && now_ns(CLOCK_MONOTONIC) < end; i++) {
		IS(dup(other), lowest);
		IS(close(lowest), 0);
		IS(dup2(other, lowest), lowest);
		IS(fcntl(lowest, F_GETFD), 0);
		IS(close(lowest), 0);
		FAILS(fcntl(lowest, F_GETFD), EBADF);
	}
	atomic_store(&done, true);
	join(thread);
	puts("every number was the lowest");
	return 0;
}
