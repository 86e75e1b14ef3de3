// Under a limit of address space threads are made until EAGAIN, and again when some have ended.
#include "guest.h"
#include <sys/resource.h>

enum { MOST = 2000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *body(void *argument)
{
	OK(pthread_mutex_lock(&lock));
	OK(pthread_mutex_unlock(&lock));
	return argument;
}

/* How many threads there was room for, all alive at once; every one is joined. */
static int make(void)
{
	static pthread_t threads[MOST];
	pthread_attr_t attributes;
	int made = 0, error = 0;
	OK(pthread_attr_init(&attributes));
	OK(pthread_attr_setstacksize(&attributes, 8 << 20));
	OK(pthread_mutex_lock(&lock));
	while (made < MOST) {
		error = pthread_create(&threads[made], &attributes, body,
				       (void *)(intptr_t)made);
		if (error)
			break;
		made++;
	}
	OK(pthread_mutex_unlock(&lock));
	IS(error, EAGAIN);
	for (int i = 0; i < made; i++)
		IS((intptr_t)join(threads[i]), i);
	return made;
}

int main(void)
{
	struct rlimit limit = { (rlim_t)1 << 30, (rlim_t)1 << 30 };
	IS(setrlimit(RLIMIT_AS, &limit), 0);
	CHECK(make() >= 10);
	CHECK(make() >= 10);
	puts("until there was no room, twice");
	return 0;
}
