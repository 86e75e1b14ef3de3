// A thread's name is its own, set and read by itself and by another thread.
#include "guest.h"
#include <sys/prctl.h>

static pthread_barrier_t barrier;

static void *body(void *raw)
{
	char name[16], expected[16];
	snprintf(expected, sizeof expected, "worker-%ld", (long)(intptr_t)raw);
	OK(pthread_setname_np(pthread_self(), expected));
	pthread_barrier_wait(&barrier);
	OK(pthread_getname_np(pthread_self(), name, sizeof name));
	CHECK(!strcmp(name, expected));
	IS(prctl(PR_GET_NAME, name), 0);
	CHECK(!strcmp(name, expected));
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	OK(pthread_getname_np(pthread_self(), name, sizeof name));
	CHECK(!strcmp(name, "renamed"));
	return NULL;
}

int main(void)
{
	pthread_t threads[5];
	char before[16], name[16];
	OK(pthread_getname_np(pthread_self(), before, sizeof before));
	OK(pthread_barrier_init(&barrier, NULL, 6));
	for (intptr_t i = 0; i < 5; i++)
		threads[i] = start(body, (void *)i);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < 5; i++) {
		OK(pthread_getname_np(threads[i], name, sizeof name));
		puts(name);
		OK(pthread_setname_np(threads[i], "renamed"));
	}
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < 5; i++)
		join(threads[i]);
	OK(pthread_getname_np(pthread_self(), name, sizeof name));
	CHECK(!strcmp(name, before));
	CHECK(pthread_setname_np(pthread_self(), "a name of more than fifteen") == ERANGE);
	return 0;
}
