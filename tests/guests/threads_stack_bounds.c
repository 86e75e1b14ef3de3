// Many parked threads: their stacks are writable, disjoint, and contain their own locals.
#include "guest.h"

enum { THREADS = 64 };

static struct bounds {
	char *low, *high;
} bounds[THREADS];
static pthread_barrier_t barrier;

static void *body(void *raw)
{
	int index = (int)(intptr_t)raw;
	char block[32 << 10];
	memset(block, index, sizeof block);
	bounds[index].low = block;
	bounds[index].high = block + sizeof block;
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	for (size_t i = 0; i < sizeof block; i++)
		CHECK(block[i] == (char)index);
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];
	OK(pthread_barrier_init(&barrier, NULL, THREADS + 1));
	for (intptr_t i = 0; i < THREADS; i++)
		threads[i] = start(body, (void *)i);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < THREADS; i++)
		for (int j = 0; j < i; j++)
			CHECK(bounds[i].high <= bounds[j].low || bounds[j].high <= bounds[i].low);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < THREADS; i++)
		join(threads[i]);
	puts("stacks are disjoint");
	return 0;
}
