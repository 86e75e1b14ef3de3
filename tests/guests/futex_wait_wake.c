// FUTEX_WAIT and FUTEX_WAKE: values, counts, time-outs, private and shared.
#include "futex.h"

static uint32_t word;
static atomic_int woken;

static void *waits(void *raw)
{
	IS(futex(&word, (int)(intptr_t)raw, 0, NULL, NULL, 0), 0);
	atomic_fetch_add(&woken, 1);
	return NULL;
}

static void waits_and_wakes(int wait, int wake, const char *name)
{
	pthread_t threads[10];
	int total = 0;
	atomic_store(&woken, 0);
	for (int i = 0; i < 10; i++)
		threads[i] = start(waits, (void *)(intptr_t)wait);
	while (total < 10) {
		long count = futex(&word, wake, 3, NULL, NULL, 0);
		CHECK(count >= 0 && count <= 3);
		total += (int)count;
		if (count == 0)
			sleep_ms(1);
	}
	for (int i = 0; i < 10; i++)
		join(threads[i]);
	IS(futex(&word, wake, 1, NULL, NULL, 0), 0);
	printf("%s: %d woken\n", name, atomic_load(&woken));
}

int main(void)
{
	struct timespec soon = { 0, 30 * MS }, zero = { 0, 0 }, bad = { 0, 1000000000 };
	FAILS(futex(&word, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0), EAGAIN);
	FAILS(futex(&word, FUTEX_WAIT_PRIVATE, 1, &soon, NULL, 0), EAGAIN);
	int64_t begin = now_ns(CLOCK_MONOTONIC);
	FAILS(futex(&word, FUTEX_WAIT_PRIVATE, 0, &soon, NULL, 0), ETIMEDOUT);
	CHECK(now_ns(CLOCK_MONOTONIC) - begin >= 30 * MS);
	FAILS(futex(&word, FUTEX_WAIT_PRIVATE, 0, &zero, NULL, 0), ETIMEDOUT);
	FAILS(futex(&word, FUTEX_WAIT_PRIVATE, 0, &bad, NULL, 0), EINVAL);
	FAILS(futex(&word, FUTEX_WAIT, 0, &soon, NULL, 0), ETIMEDOUT);
	IS(futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0);
	waits_and_wakes(FUTEX_WAIT_PRIVATE, FUTEX_WAKE_PRIVATE, "private");
	waits_and_wakes(FUTEX_WAIT, FUTEX_WAKE, "shared");

	pthread_t thread = start(waits, (void *)(intptr_t)FUTEX_WAIT_PRIVATE);
	wake_exactly(&word, 1);
	join(thread);
	FAILS(syscall(SYS_futex, (char *)&word + 1, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), EINVAL);
	FAILS(syscall(SYS_futex, (char *)&word + 1, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), EINVAL);
	FAILS(futex(NULL, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), EFAULT);
	FAILS(futex((uint32_t *)8, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), EFAULT);
	FAILS(futex(&word, FUTEX_WAIT_PRIVATE, 0, (void *)8, NULL, 0), EFAULT);
	FAILS(futex(&word, 127, 0, NULL, NULL, 0), ENOSYS);
	FAILS(futex(&word, FUTEX_WAIT_PRIVATE | 512, 1, NULL, NULL, 0), ENOSYS);
	puts("errors");
	return 0;
}
