// Thread-local variables of a megabyte: each thread has its own, and what the library keeps below a thread pointer is elsewhere.
#include "guest.h"

enum { SIZE = 1 << 20, THREADS = 20 };

static _Thread_local char large[SIZE];
static pthread_barrier_t barrier;

static void *fills(void *number)
{
	memset(large, (int)(intptr_t)number, SIZE);
	int result = pthread_barrier_wait(&barrier);
	CHECK(result == 0 || result == PTHREAD_BARRIER_SERIAL_THREAD);
	for (int i = 0; i < SIZE; i++)
		CHECK(large[i] == (char)(intptr_t)number);
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];
	OK(pthread_barrier_init(&barrier, NULL, THREADS));
	for (int i = 0; i < THREADS; i++)
		threads[i] = start(fills, (void *)(intptr_t)(i + 1));
	for (int i = 0; i < THREADS; i++)
		OK(pthread_join(threads[i], NULL));
	printf("%d\n", large[SIZE / 2]);
	return 0;
}
