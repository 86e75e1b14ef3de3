// Cancellation states: disabled until enabled, asynchronous, cleanup order, keys' destructors after.
#include "guest.h"
#include <semaphore.h>

static sem_t ready, go;
static pthread_key_t key;

static void say(void *text)
{
	puts(text);
}

static void *disabled(void *unused)
{
	int old;
	(void)unused;
	OK(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old));
	IS(old, PTHREAD_CANCEL_ENABLE);
	IS(sem_post(&ready), 0);
	IS(sem_wait(&go), 0); /* the request is there, and not looked at */
	sleep_ms(1);
	puts("still here");
	OK(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL));
	pthread_testcancel();
	puts("never printed");
	return NULL;
}

static void *asynchronous(void *unused)
{
	(void)unused;
	OK(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL));
	sem_post(&ready);
	for (;;)
		pause();
	return NULL;
}

static void *cleans_up(void *unused)
{
	(void)unused;
	OK(pthread_setspecific(key, "key's destructor"));
	pthread_cleanup_push(say, "pushed first");
	pthread_cleanup_push(say, "pushed second");
	pthread_cleanup_push(say, "popped and run");
	pthread_cleanup_pop(1);
	IS(sem_post(&ready), 0);
	for (;;)
		sleep(100);
	pthread_cleanup_pop(0);
	pthread_cleanup_pop(0);
	return NULL;
}

int main(void)
{
	IS(sem_init(&ready, 0, 0), 0);
	IS(sem_init(&go, 0, 0), 0);
	OK(pthread_key_create(&key, say));
	pthread_t thread = start(disabled, NULL);
	IS(sem_wait(&ready), 0);
	OK(pthread_cancel(thread));
	IS(sem_post(&go), 0);
	CHECK(join(thread) == PTHREAD_CANCELED);
	thread = start(asynchronous, NULL);
	IS(sem_wait(&ready), 0);
	OK(pthread_cancel(thread));
	CHECK(join(thread) == PTHREAD_CANCELED);
	puts("asynchronous");
	thread = start(cleans_up, NULL);
	IS(sem_wait(&ready), 0);
	OK(pthread_cancel(thread));
	CHECK(join(thread) == PTHREAD_CANCELED);
	return 0;
}
