// pthread_tryjoin_np, timedjoin_np and clockjoin_np: busy, timed out, and joined.
#include "guest.h"

static int ends[2];

static void *waits(void *argument)
{
	char byte;
	IS(read(ends[0], &byte, 1), 1);
	return argument;
}

int main(void)
{
	void *value;
	IS(pipe(ends), 0);
	pthread_t thread = start(waits, "value");
	IS(pthread_tryjoin_np(thread, &value), EBUSY);
	struct timespec until = in_ms(CLOCK_REALTIME, 50);
	IS(pthread_timedjoin_np(thread, &value, &until), ETIMEDOUT);
	CHECK(now_ns(CLOCK_REALTIME) >= until.tv_sec * INT64_C(1000000000) + until.tv_nsec);
	until = in_ms(CLOCK_MONOTONIC, 50);
	IS(pthread_clockjoin_np(thread, &value, CLOCK_MONOTONIC, &until), ETIMEDOUT);
	IS(write(ends[1], "x", 1), 1);
	until = in_ms(CLOCK_REALTIME, 30000);
	IS(pthread_timedjoin_np(thread, &value, &until), 0);
	CHECK(!strcmp(value, "value"));
	IS(pthread_join(pthread_self(), NULL), EDEADLK);

	thread = start(waits, "other");
	IS(write(ends[1], "x", 1), 1);
	int busy;
	while ((busy = pthread_tryjoin_np(thread, &value)) == EBUSY)
		sleep_ms(1);
	IS(busy, 0);
	CHECK(!strcmp(value, "other"));
	puts("joined");
	return 0;
}
