// Starts and joins a thread when it is loaded, with the loader's lock held.
#include <pthread.h>

int joined;

static void *body(void *argument)
{
	return argument;
}

__attribute__((constructor)) static void load(void)
{
	pthread_t thread;
	void *result = 0;
	if (pthread_create(&thread, 0, body, &joined) == 0 && pthread_join(thread, &result) == 0)
		joined = result == &joined;
}
