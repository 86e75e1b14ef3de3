// Mutex kinds: normal, recursive, errorcheck, with trylock, timedlock and clocklock.
#include "guest.h"

static pthread_mutex_t mutex;

static void make(int kind)
{
	pthread_mutexattr_t attributes;
	OK(pthread_mutexattr_init(&attributes));
	OK(pthread_mutexattr_settype(&attributes, kind));
	OK(pthread_mutex_init(&mutex, &attributes));
	OK(pthread_mutexattr_destroy(&attributes));
}

/* What another thread sees of a mutex that is locked: busy, and timed out on both clocks. */
static void *finds_locked(void *unused)
{
	(void)unused;
	IS(pthread_mutex_trylock(&mutex), EBUSY);
	struct timespec until = in_ms(CLOCK_REALTIME, 30);
	IS(pthread_mutex_timedlock(&mutex, &until), ETIMEDOUT);
	until = in_ms(CLOCK_MONOTONIC, 30);
	int64_t begin = now_ns(CLOCK_MONOTONIC);
	IS(pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &until), ETIMEDOUT);
	CHECK(now_ns(CLOCK_MONOTONIC) - begin >= 29 * MS);
	until = in_ms(CLOCK_REALTIME, -1000);
	IS(pthread_mutex_timedlock(&mutex, &until), ETIMEDOUT);
	until.tv_nsec = 1000000000;
	IS(pthread_mutex_timedlock(&mutex, &until), EINVAL);
	return NULL;
}

static void *finds_free(void *unused)
{
	(void)unused;
	struct timespec until = in_ms(CLOCK_REALTIME, 30000);
	OK(pthread_mutex_timedlock(&mutex, &until));
	OK(pthread_mutex_unlock(&mutex));
	return NULL;
}

static void *may_not_unlock(void *unused)
{
	(void)unused;
	IS(pthread_mutex_unlock(&mutex), EPERM);
	return NULL;
}

int main(void)
{
	make(PTHREAD_MUTEX_NORMAL);
	OK(pthread_mutex_lock(&mutex));
	join(start(finds_locked, NULL));
	struct timespec until = in_ms(CLOCK_REALTIME, 20);
	IS(pthread_mutex_timedlock(&mutex, &until), ETIMEDOUT); /* by its own owner */
	pthread_t waiting = start(finds_free, NULL);
	sleep_ms(5);
	OK(pthread_mutex_unlock(&mutex));
	join(waiting);
	OK(pthread_mutex_destroy(&mutex));
	puts("normal");

	make(PTHREAD_MUTEX_RECURSIVE);
	for (int i = 0; i < 3; i++)
		OK(pthread_mutex_lock(&mutex));
	OK(pthread_mutex_trylock(&mutex));
	join(start(finds_locked, NULL));
	join(start(may_not_unlock, NULL));
	for (int i = 0; i < 3; i++)
		OK(pthread_mutex_unlock(&mutex));
	join(start(finds_locked, NULL));
	OK(pthread_mutex_unlock(&mutex));
	IS(pthread_mutex_unlock(&mutex), EPERM);
	join(start(finds_free, NULL));
	OK(pthread_mutex_destroy(&mutex));
	puts("recursive");

	make(PTHREAD_MUTEX_ERRORCHECK);
	OK(pthread_mutex_lock(&mutex));
	IS(pthread_mutex_lock(&mutex), EDEADLK);
	IS(pthread_mutex_trylock(&mutex), EBUSY);
	join(start(finds_locked, NULL));
	join(start(may_not_unlock, NULL));
	OK(pthread_mutex_unlock(&mutex));
	IS(pthread_mutex_unlock(&mutex), EPERM);
	join(start(finds_free, NULL));
	puts("errorcheck");
	return 0;
}
