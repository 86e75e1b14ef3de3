// A read parked on a pipe goes on when another thread closes its descriptor and the number is used again.
#include "guest.h"

static int ends[2];
static atomic_bool reading;

static void *reads(void *unused)
{
	char byte;
	(void)unused;
	atomic_store(&reading, true);
	IS(read(ends[0], &byte, 1), 1);
	return (void *)(intptr_t)byte;
}

/* False when the read began only after the descriptor was closed, which proves nothing. */
static bool goes_on(void)
{
	int other[2];
	IS(pipe(ends), 0);
	atomic_store(&reading, false);
	pthread_t reader = start(reads, NULL);
	while (!atomic_load(&reading))
		sched_yield();
	sleep_ms(20);
	int number = ends[0];
	int keeper = dup(number); /* keeps the pipe open for reading */
	IS(close(number), 0);
	IS(pipe(other), 0);
	CHECK(other[0] == number);
	IS(write(other[1], "w", 1), 1);
	IS(write(ends[1], "r", 1), 1);
	char byte = (char)(intptr_t)join(reader);
	CHECK(byte == 'r' || byte == 'w');
	close(keeper);
	close(ends[1]);
	close(other[0]);
	close(other[1]);
	return byte == 'r';
}

int main(void)
{
	for (int attempt = 0; attempt < 10; attempt++)
		if (goes_on()) {
			puts("read the pipe it was called for");
			return 0;
		}
	puts("always read the other pipe");
	return 1;
}
