// Priority-inheritance mutexes: contention, hand-over, time-outs, errorcheck and recursion.
#include "guest.h"

static pthread_mutex_t mutex, checked;
static int counter;

static void *counts(void *unused)
{
	(void)unused;
	for (int i = 0; i < 200; i++) {
		OK(pthread_mutex_lock(&mutex));
		int seen = counter;
		if (i % 20 == 0)
			sched_yield();
		counter = seen + 1;
		OK(pthread_mutex_unlock(&mutex));
	}
	return NULL;
}

static void *finds_locked(void *unused)
{
	(void)unused;
	IS(pthread_mutex_trylock(&mutex), EBUSY);
	struct timespec until = in_ms(CLOCK_REALTIME, 30);
	IS(pthread_mutex_timedlock(&mutex, &until), ETIMEDOUT);
	until = in_ms(CLOCK_REALTIME, -10);
	IS(pthread_mutex_timedlock(&mutex, &until), ETIMEDOUT);
	return NULL;
}

static void unlock(void *unused)
{
	(void)unused;
	OK(pthread_mutex_unlock(&mutex));
}

static pthread_barrier_t owned;

static void *owns_for_a_while(void *unused)
{
	OK(pthread_mutex_lock(&mutex));
	pthread_barrier_wait(&owned);
	for (int i = 0; i < RELEASE_TICKS; i++)
		sleep_ms(1);
	unlock(unused);
	return NULL;
}

int main(void)
{
	pthread_mutexattr_t attributes;
	OK(pthread_mutexattr_init(&attributes));
	OK(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT));
	OK(pthread_mutex_init(&mutex, &attributes));
	OK(pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK));
	OK(pthread_mutex_init(&checked, &attributes));

	pthread_t threads[20];
	for (int i = 0; i < 20; i++)
		threads[i] = start(counts, NULL);
	for (int i = 0; i < 20; i++)
		join(threads[i]);
	printf("counter %d\n", counter);

	OK(pthread_mutex_lock(&mutex));
	join(start(finds_locked, NULL));
	OK(pthread_mutex_unlock(&mutex));

	OK(pthread_barrier_init(&owned, NULL, 2));
	pthread_t owner = start(owns_for_a_while, NULL);
	pthread_barrier_wait(&owned);
	OK(pthread_mutex_lock(&mutex));
	OK(pthread_mutex_unlock(&mutex));
	join(owner);
	puts("handed over");

	OK(pthread_mutex_lock(&checked));
	IS(pthread_mutex_lock(&checked), EDEADLK);
	OK(pthread_mutex_unlock(&checked));
	IS(pthread_mutex_unlock(&checked), EPERM);
	puts("checked");
	return 0;
}
