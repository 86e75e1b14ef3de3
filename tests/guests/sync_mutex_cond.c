// A mutex and two conditions carry a bounded queue between producers and consumers.
#include "guest.h"

enum { PRODUCERS = 8, CONSUMERS = 5, EACH = 500, ROOM = 4 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t not_full = PTHREAD_COND_INITIALIZER, not_empty = PTHREAD_COND_INITIALIZER;
static int queue[ROOM], length, produced;

static void *produce(void *raw)
{
	int base = (int)(intptr_t)raw * EACH;
	for (int i = 0; i < EACH; i++) {
		OK(pthread_mutex_lock(&lock));
		while (length == ROOM)
			OK(pthread_cond_wait(&not_full, &lock));
		queue[length++] = base + i;
		OK(pthread_cond_signal(&not_empty));
		OK(pthread_mutex_unlock(&lock));
	}
	return NULL;
}

static void *consume(void *unused)
{
	long sum = 0;
	(void)unused;
	for (;;) {
		OK(pthread_mutex_lock(&lock));
		while (length == 0 && produced < PRODUCERS)
			OK(pthread_cond_wait(&not_empty, &lock));
		if (length == 0) {
			OK(pthread_mutex_unlock(&lock));
			return (void *)sum;
		}
		sum += queue[--length];
		OK(pthread_cond_signal(&not_full));
		OK(pthread_mutex_unlock(&lock));
	}
}

int main(void)
{
	pthread_t producers[PRODUCERS], consumers[CONSUMERS];
	long sum = 0;
	for (int i = 0; i < CONSUMERS; i++)
		consumers[i] = start(consume, NULL);
	for (intptr_t i = 0; i < PRODUCERS; i++)
		producers[i] = start(produce, (void *)i);
	for (int i = 0; i < PRODUCERS; i++)
		join(producers[i]);
	OK(pthread_mutex_lock(&lock));
	produced = PRODUCERS;
	OK(pthread_cond_broadcast(&not_empty));
	OK(pthread_mutex_unlock(&lock));
	for (int i = 0; i < CONSUMERS; i++)
		sum += (long)join(consumers[i]);
	printf("sum %ld\n", sum);
	return 0;
}
