// FUTEX_LOCK_PI, TRYLOCK_PI, UNLOCK_PI: the word holds the owner's id, deadlock and ownership errors.
#include "futex.h"

static uint32_t word;
static int inside;

static void *contends(void *unused)
{
	(void)unused;
	for (int i = 0; i < 50; i++) {
		IS(futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0), 0);
		CHECK((word & FUTEX_TID_MASK) == (uint32_t)gettid());
		CHECK(inside++ == 0);
		sched_yield();
		inside--;
		IS(futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0), 0);
	}
	return NULL;
}

static void *finds_locked(void *unused)
{
	(void)unused;
	struct timespec until = in_ms(CLOCK_REALTIME, 30);
	FAILS(futex(&word, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0), EAGAIN);
	FAILS(futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, &until, NULL, 0), ETIMEDOUT);
	FAILS(futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0), EPERM);
	return NULL;
}

int main(void)
{
	pthread_t threads[8];
	for (int i = 0; i < 8; i++)
		threads[i] = start(contends, NULL);
	for (int i = 0; i < 8; i++)
		join(threads[i]);
	CHECK((word & FUTEX_TID_MASK) == 0);
	puts("contended");
	IS(futex(&word, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0), 0);
	FAILS(futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0), EDEADLK);
	join(start(finds_locked, NULL));
	IS(futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0), 0);
	FAILS(futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0), EPERM);
	uint32_t pair[2] = { 0 };
	FAILS(syscall(SYS_futex, (char *)pair + 1, FUTEX_UNLOCK_PI_PRIVATE), EPERM);
	FAILS(syscall(SYS_futex, (char *)pair + 1, FUTEX_LOCK_PI_PRIVATE, 0, NULL), EINVAL);
	FAILS(syscall(SYS_futex, NULL, FUTEX_UNLOCK_PI_PRIVATE), EFAULT);
	puts("errors");
	return 0;
}
