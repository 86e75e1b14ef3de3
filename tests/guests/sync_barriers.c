// Barriers: rounds of 16 threads in step, one serial thread each round; barriers used again.
#include "guest.h"

enum { THREADS = 16, ROUNDS = 200 };

static pthread_barrier_t barrier;
static atomic_int serial;
static int step[THREADS];

static void *body(void *raw)
{
	int index = (int)(intptr_t)raw;
	for (int round = 0; round < ROUNDS; round++) {
		step[index] = round;
		if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
			atomic_fetch_add(&serial, 1);
		for (int i = 0; i < THREADS; i++)
			CHECK(step[i] == round);
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];
	CHECK(pthread_barrier_init(&barrier, NULL, 0) == EINVAL);
	OK(pthread_barrier_init(&barrier, NULL, THREADS));
	for (intptr_t i = 0; i < THREADS; i++)
		threads[i] = start(body, (void *)i);
	for (int i = 0; i < THREADS; i++)
		join(threads[i]);
	OK(pthread_barrier_destroy(&barrier));
	printf("%d serial threads\n", atomic_load(&serial));
	return 0;
}
