// Two threads hand a turn back and forth 20,000 times over one mutex and one condition.
#include "guest.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int turn, rounds;

static void *body(void *raw)
{
	int me = (int)(intptr_t)raw;
	OK(pthread_mutex_lock(&lock));
	for (int i = 0; i < 10000; i++) {
		while (turn != me)
			OK(pthread_cond_wait(&changed, &lock));
		turn = !me;
		rounds++;
		OK(pthread_cond_signal(&changed));
	}
	OK(pthread_mutex_unlock(&lock));
	return NULL;
}

int main(void)
{
	pthread_t one = start(body, (void *)0), two = start(body, (void *)1);
	join(one);
	join(two);
	printf("%d rounds\n", rounds);
	return 0;
}
