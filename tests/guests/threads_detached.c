// Detached threads: by attribute, by pthread_detach, by themselves; none can be joined.
#include "guest.h"
#include <semaphore.h>

static sem_t done, go;

static void *body(void *unused)
{
	(void)unused;
	CHECK(sem_wait(&go) == 0);
	CHECK(sem_post(&done) == 0);
	return NULL;
}

static void *detaches_itself(void *unused)
{
	OK(pthread_detach(pthread_self()));
	return body(unused);
}

int main(void)
{
	pthread_attr_t attributes;
	pthread_t thread;
	CHECK(sem_init(&done, 0, 0) == 0 && sem_init(&go, 0, 0) == 0);
	OK(pthread_attr_init(&attributes));
	OK(pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED));
	OK(pthread_create(&thread, &attributes, body, NULL));
	IS(pthread_join(thread, NULL), EINVAL);
	thread = start(body, NULL);
	OK(pthread_detach(thread));
	IS(pthread_detach(thread), EINVAL);
	start(detaches_itself, NULL);
	for (int i = 0; i < 3; i++)
		CHECK(sem_post(&go) == 0);
	for (int i = 0; i < 3; i++)
		CHECK(sem_wait(&done) == 0);
	puts("3 detached threads done");

	for (int round = 0; round < 2000; round++) {
		OK(pthread_create(&thread, &attributes, body, NULL));
		CHECK(sem_post(&go) == 0);
		CHECK(sem_wait(&done) == 0);
	}
	puts("2000 more");
	return 0;
}
