// 200 threads contend for three locks and yield while they hold them: nothing is lost.
#include "guest.h"

static pthread_mutex_t locks[3] = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
				    PTHREAD_MUTEX_INITIALIZER };
static int counters[3];

static void *body(void *raw)
{
	for (int i = 0; i < 60; i++) {
		int which = (int)((intptr_t)raw + i) % 3;
		OK(pthread_mutex_lock(&locks[which]));
		int seen = counters[which];
		if (i % 10 == 0)
			sleep_ms(0);
		else if (i % 3 == 0)
			sched_yield();
		counters[which] = seen + 1;
		OK(pthread_mutex_unlock(&locks[which]));
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[200];
	for (intptr_t i = 0; i < 200; i++)
		threads[i] = start(body, (void *)i);
	for (int i = 0; i < 200; i++)
		join(threads[i]);
	printf("%d %d %d\n", counters[0], counters[1], counters[2]);
	return 0;
}
