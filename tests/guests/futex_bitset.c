// FUTEX_WAIT_BITSET and WAKE_BITSET: bits select the waiters; time-outs are absolute, on two clocks.
#include "futex.h"

static uint32_t word;
static atomic_int woken[3];

static void *waits(void *raw)
{
	int index = (int)(intptr_t)raw;
	IS(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, 1u << index), 0);
	atomic_store(&woken[index], 1);
	return NULL;
}

int main(void)
{
	pthread_t threads[3];
	for (intptr_t i = 0; i < 3; i++)
		threads[i] = start(waits, (void *)i);
	while (futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 1u << 1) == 0)
		sleep_ms(1);
	join(threads[1]);
	CHECK(!atomic_load(&woken[0]) && !atomic_load(&woken[2]));
	IS(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 1u << 9), 0);
	wake_exactly(&word, 2);
	join(threads[0]);
	join(threads[2]);
	puts("selected by bits");

	struct timespec until = in_ms(CLOCK_MONOTONIC, 30);
	FAILS(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, &until, NULL, FUTEX_BITSET_MATCH_ANY),
	      ETIMEDOUT);
	CHECK(now_ns(CLOCK_MONOTONIC) >= until.tv_sec * INT64_C(1000000000) + until.tv_nsec);
	until = in_ms(CLOCK_REALTIME, 30);
	FAILS(futex(&word, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 0, &until, NULL, 1),
	      ETIMEDOUT);
	CHECK(now_ns(CLOCK_REALTIME) >= until.tv_sec * INT64_C(1000000000) + until.tv_nsec);
	struct timespec past = { 1, 0 };
	FAILS(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, &past, NULL, 1), ETIMEDOUT);
	FAILS(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 1, &past, NULL, 1), EAGAIN);
	FAILS(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, 0), EINVAL);
	FAILS(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 1, NULL, NULL, 0), EINVAL);
	FAILS(futex(&word, FUTEX_WAIT_PRIVATE | FUTEX_CLOCK_REALTIME, 0, &past, NULL, 0), ENOSYS);
	puts("timed out");
	return 0;
}
