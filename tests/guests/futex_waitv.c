// futex_waitv: any of several words wakes it, and it says which; time-outs and errors.
#include "futex.h"

static uint32_t words[5];
static struct futex_waitv vector[5];

static long waitv(unsigned count, struct timespec *until, clockid_t clock)
{
	return syscall(SYS_futex_waitv, vector, count, 0, until, clock);
}

static void *waits(void *unused)
{
	(void)unused;
	return (void *)waitv(5, NULL, CLOCK_MONOTONIC);
}

int main(void)
{
	for (int i = 0; i < 5; i++)
		vector[i] = (struct futex_waitv){ .uaddr = (uintptr_t)&words[i],
						  .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG };
	if (waitv(0, NULL, 0) == -1 && errno == ENOSYS) {
		puts("this kernel has no futex_waitv");
		return 0;
	}
	for (int which = 0; which < 5; which++) {
		pthread_t thread = start(waits, NULL);
		wake_exactly(&words[which], 1);
		IS((long)join(thread), which);
	}
	puts("each word wakes it");
	struct timespec until = in_ms(CLOCK_MONOTONIC, 30);
	FAILS(waitv(5, &until, CLOCK_MONOTONIC), ETIMEDOUT);
	until = in_ms(CLOCK_REALTIME, 30);
	FAILS(waitv(5, &until, CLOCK_REALTIME), ETIMEDOUT);
	words[3] = 1;
	FAILS(waitv(5, NULL, CLOCK_MONOTONIC), EAGAIN);
	FAILS(waitv(0, NULL, CLOCK_MONOTONIC), EINVAL);
	FAILS(waitv(129, NULL, CLOCK_MONOTONIC), EINVAL);
	vector[0].flags = 0xff;
	FAILS(waitv(5, NULL, CLOCK_MONOTONIC), EINVAL);
	puts("errors");
	return 0;
}
