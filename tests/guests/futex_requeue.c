// FUTEX_REQUEUE and CMP_REQUEUE: some waiters wake, the rest move to another word.
#include "futex.h"

enum { WAITERS = 8 };

static uint32_t here, there;
static atomic_int asleep;

static void *waits(void *unused)
{
	(void)unused;
	atomic_fetch_add(&asleep, 1);
	IS(futex(&here, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), 0);
	return NULL;
}

/* Requeues all to the same word, waking none, until as many as there should be are found there. */
static void all_asleep(void)
{
	long found;
	do {
		sleep_ms(1);
		found = futex(&here, FUTEX_CMP_REQUEUE_PRIVATE, 0, (void *)(uintptr_t)WAITERS, &here, 0);
		CHECK(found >= 0 && found <= WAITERS);
	} while (found < WAITERS);
}

int main(void)
{
	pthread_t threads[WAITERS];
	for (int i = 0; i < WAITERS; i++)
		threads[i] = start(waits, NULL);
	all_asleep();
	FAILS(futex(&here, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2, &there, 77), EAGAIN);
	IS(futex(&here, FUTEX_CMP_REQUEUE_PRIVATE, 2, (void *)3, &there, 0), 5);
	IS(futex(&here, FUTEX_REQUEUE_PRIVATE, 1, (void *)1, &there, 0), 2);
	IS(futex(&here, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0), 1);
	IS(futex(&here, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0), 0);
	IS(futex(&there, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 1);
	IS(futex(&there, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0), 3);
	for (int i = 0; i < WAITERS; i++)
		join(threads[i]);
	puts("woken and moved");
	return 0;
}
