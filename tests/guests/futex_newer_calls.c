// futex_wait and futex_wake, the newer calls: how many are woken, and what they refuse.
#include "futex.h"

enum { PRIVATE = FUTEX_32 | FUTEX_PRIVATE_FLAG, ANY = -1 };

static uint32_t one;

static long wait_for(uint32_t *word, uint64_t value, uint64_t mask, const struct timespec *until)
{
	return syscall(455, word, value, mask, PRIVATE, until, CLOCK_MONOTONIC);
}

static long wake(uint32_t *word, uint64_t mask, int count)
{
	return syscall(454, word, mask, count, PRIVATE);
}

static void *waits(void *raw)
{
	return (void *)wait_for(raw, 0, 0xffffffff, NULL);
}

/* A thread that is asleep on the first word. */
static pthread_t asleep(void)
{
	pthread_t thread = start(waits, &one);
	while (futex(&one, FUTEX_CMP_REQUEUE_PRIVATE, 0, (void *)1, &one, 0) != 1)
		sleep_ms(1);
	return thread;
}

int main(void)
{
	if (wake(&one, 1, 1) == -1 && errno == ENOSYS) {
		puts("this kernel has none of them");
		return 0;
	}
	pthread_t thread = asleep();
	IS(wake(&one, 0xffffffff, 0), 0);
	IS(wake(&one, 0xffffffff, -1), 1);
	IS((long)join(thread), 0);
	thread = asleep();
	IS(futex(&one, FUTEX_WAKE_PRIVATE, 0, NULL, NULL, 0), 1); /* the older call wakes one */
	IS((long)join(thread), 0);
	FAILS(wake((uint32_t *)((char *)&one + 1), 1, 0), EINVAL);
	FAILS(wake(&one, 0, 0), EINVAL);
	FAILS(wake(&one, UINT64_C(1) << 32, 1), EINVAL);
	puts("counts");
	return 0;
}
