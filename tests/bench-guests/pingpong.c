/* Two threads hand a turn to each other through a mutex and two conditions.
 *
 * usage: pingpong [rounds]
 * Prints "ns_per_switch=X"; a round is two switches.
 */
#include <pthread.h>

#include "bench.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed[2] = {PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER};
static int turn; /* whose turn it is; the mutex guards it */
static long rounds;

static void play(int me)
{
	must("pthread_mutex_lock", pthread_mutex_lock(&mutex));
	for (long i = 0; i < rounds; i++) {
		while (turn != me)
			must("pthread_cond_wait", pthread_cond_wait(&changed[me], &mutex));
		turn = !me;
		must("pthread_cond_signal", pthread_cond_signal(&changed[!me]));
	}
	must("pthread_mutex_unlock", pthread_mutex_unlock(&mutex));
}

static void *other(void *arg)
{
	play(1);
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	rounds = count_argument(argc, argv, 1, 200000);
	double start = now_ns();
	must("pthread_create", pthread_create(&thread, NULL, other, NULL));
	play(0);
	must("pthread_join", pthread_join(thread, NULL));
	printf("ns_per_switch=%.1f\n", (now_ns() - start) / (2.0 * rounds));
	return 0;
}
