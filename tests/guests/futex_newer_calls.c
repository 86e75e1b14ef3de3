// futex_wait, futex_wake and futex_requeue, the newer calls: how many are woken, and what they refuse.
#include "futex.h"

enum { PRIVATE = FUTEX_32 | FUTEX_PRIVATE_FLAG, ANY = -1 };

static uint32_t one, two;

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

static void refused(void)
{
	struct timespec past = { 0, 1 };
	struct futex_waitv words[2] = { { 0, (uintptr_t)&one, PRIVATE, 0 }, { 0, (uintptr_t)&two, PRIVATE, 0 } };
	FAILS(wait_for(&one, UINT64_C(1) << 32, 1, &past), EINVAL);
	FAILS(wait_for(&one, 0, 0, &past), EINVAL);
	FAILS(wait_for(&one, 1, 1, &past), EAGAIN);
	FAILS(wait_for(&one, 0, 1, &past), ETIMEDOUT);
	IS(syscall(456, words, 0, 1, 1), 0);
	FAILS(syscall(456, words, 1, 1, 1), EINVAL);
	FAILS(syscall(456, words, 0, -1, 1), EINVAL);
	FAILS(syscall(456, NULL, 0, 1, 1), EINVAL);
	FAILS(syscall(456, unmapped, 0, 1, 1), EFAULT);
	FAILS(syscall(SYS_futex_waitv, NULL, 1, 0, &past, CLOCK_MONOTONIC), EINVAL);
	FAILS(syscall(SYS_futex_waitv, NULL, 1, 0, unmapped, CLOCK_MONOTONIC), EINVAL);
	words[0].val = 1;
	FAILS(syscall(456, words, 0, 1, 1), EAGAIN);
	FAILS(syscall(SYS_futex_waitv, words, 2, 0, &past, CLOCK_MONOTONIC), EAGAIN);
	words[1].uaddr++;
	FAILS(syscall(456, words, 0, 1, 1), EINVAL);
	FAILS(syscall(SYS_futex_waitv, words, 2, 0, &past, CLOCK_MONOTONIC), EINVAL);
	words[1] = words[0];
	words[1].__reserved = 1;
	FAILS(syscall(456, words, 0, 1, 1), EINVAL);
	FAILS(syscall(SYS_futex_waitv, words, 2, 0, &past, CLOCK_MONOTONIC), EINVAL);
	words[1].__reserved = 0;
	words[1].val = UINT64_C(1) << 32;
	FAILS(syscall(456, words, 0, 1, 1), EINVAL);
	FAILS(syscall(SYS_futex_waitv, words, 2, 0, &past, CLOCK_MONOTONIC), EINVAL);
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
	refused();
	puts("errors");
	return 0;
}
