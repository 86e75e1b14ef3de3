// Robust mutexes: an owner's end gives EOWNERDEAD, then consistent or not recoverable.
#include "guest.h"

static pthread_mutex_t mutex, waited;

static void *dies_with(void *raw)
{
	OK(pthread_mutex_lock(raw));
	return NULL;
}

static pthread_barrier_t locked;

static void *dies_later(void *raw)
{
	OK(pthread_mutex_lock(raw));
	pthread_barrier_wait(&locked);
	sleep_ms(20); /* so that the other is likely to wait for the lock by now */
	return NULL;
}

static void make(pthread_mutex_t *which, int protocol)
{
	pthread_mutexattr_t attributes;
	OK(pthread_mutexattr_init(&attributes));
	OK(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST));
	OK(pthread_mutexattr_setprotocol(&attributes, protocol));
	OK(pthread_mutex_init(which, &attributes));
}

static void all(int protocol, const char *name)
{
	make(&mutex, protocol);
	make(&waited, protocol);
	join(start(dies_with, &mutex));
	IS(pthread_mutex_lock(&mutex), EOWNERDEAD);
	OK(pthread_mutex_consistent(&mutex));
	OK(pthread_mutex_unlock(&mutex));
	OK(pthread_mutex_lock(&mutex));
	OK(pthread_mutex_unlock(&mutex));
	printf("%s: made consistent\n", name);

	join(start(dies_with, &mutex));
	IS(pthread_mutex_trylock(&mutex), EOWNERDEAD);
	OK(pthread_mutex_unlock(&mutex));
	IS(pthread_mutex_lock(&mutex), ENOTRECOVERABLE);
	printf("%s: not recoverable\n", name);

	OK(pthread_barrier_init(&locked, NULL, 2));
	pthread_t owner = start(dies_later, &waited);
	pthread_barrier_wait(&locked);
	IS(pthread_mutex_lock(&waited), EOWNERDEAD);
	OK(pthread_mutex_consistent(&waited));
	OK(pthread_mutex_unlock(&waited));
	join(owner);
	printf("%s: a waiter inherits\n", name);
	OK(pthread_mutex_destroy(&waited));
}

int main(void)
{
	all(PTHREAD_PRIO_NONE, "plain");
	all(PTHREAD_PRIO_INHERIT, "inheriting");
	return 0;
}
