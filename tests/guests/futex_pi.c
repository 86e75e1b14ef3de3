// FUTEX_LOCK_PI, TRYLOCK_PI, UNLOCK_PI: the word holds the owner's id, deadlock and ownership errors.
#include "futex.h"
#include <signal.h>
#include <sys/wait.h>

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

/* The word names a holder that is none: a process that has no part in it, or nobody at all. */
static void held_by(uint32_t holder, int error)
{
	struct timespec until = in_ms(CLOCK_REALTIME, 30);
	uint32_t held = holder;
	FAILS(futex(&held, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0), error);
	held = holder;
	FAILS(futex(&held, FUTEX_LOCK_PI_PRIVATE, 0, &until, NULL, 0), error);
}

int main(void)
{
	pid_t child = fork();
	if (child == 0) {
		alarm(20); /* should a check fail */
		for (;;)
			pause();
	}
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
	held_by((uint32_t)child, EPERM);
	IS(kill(child, SIGKILL), 0);
	IS(waitpid(child, NULL, 0), child);
	held_by((uint32_t)child, ESRCH);
	puts("errors");
	return 0;
}
