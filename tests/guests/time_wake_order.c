// Sleepers wake in the order of their times, relative and absolute, and never early.
#include "guest.h"

enum { SLEEPERS = 8, STEP_MS = 80 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int order[SLEEPERS], awake;
static int64_t begin;

static void *first(void *nothing)
{
	return nothing;
}

static void *body(void *raw)
{
	int rank = (int)(intptr_t)raw;
	int64_t wanted = begin + (rank + 1) * STEP_MS * MS;
	if (rank % 2) {
		struct timespec until = timespec_of(wanted);
		OK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL));
	} else {
		struct timespec left = timespec_of(wanted - now_ns(CLOCK_MONOTONIC));
		CHECK(nanosleep(&left, NULL) == 0);
	}
	CHECK(now_ns(CLOCK_MONOTONIC) >= wanted);
	OK(pthread_mutex_lock(&lock));
	order[awake++] = rank;
	OK(pthread_mutex_unlock(&lock));
	return NULL;
}

/* Under load two neighbours may be late together; nobody may be overtaken by three steps. */
int main(void)
{
	pthread_t threads[SLEEPERS];
	int64_t late = 0;
	join(start(first, NULL)); /* what a first thread costs is not counted */
	begin = now_ns(CLOCK_MONOTONIC) + 50 * MS;
	for (intptr_t i = SLEEPERS; i-- > 0;)
		threads[i] = start(body, (void *)i);
	for (int i = 0; i < SLEEPERS; i++)
		join(threads[i]);
	late = now_ns(CLOCK_MONOTONIC) - begin - SLEEPERS * STEP_MS * MS;
	CHECK(late >= 0 && late < 20000 * MS);
	for (int i = 0; i < SLEEPERS; i++)
		CHECK(order[i] >= i - 3 && order[i] <= i + 3);
	puts("woke in order");
	return 0;
}
