// A library whose constructor makes a thread that makes others all the time, until the process ends.
#include <pthread.h>
#include <stddef.h>

static void *ends(void *unused) { return unused; }

static void *makes(void *unused)
{
	pthread_t thread;
	for (;;)
		if (!pthread_create(&thread, NULL, ends, NULL))
			pthread_join(thread, NULL);
	return unused;
}

__attribute__((constructor)) static void begin(void)
{
	pthread_t thread;
	pthread_create(&thread, NULL, makes, NULL);
}
