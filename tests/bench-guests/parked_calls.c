/* Two threads hand a turn to each other through a mutex and two conditions, in bursts with
 * a pause after each, so that whoever is told of the calls can keep up.
 *
 * usage: parked_calls [bursts [switches]]
 * Prints "least=X median=Y calls=N": nanoseconds a switch in the quickest and in the median
 * burst, and how many switches there were. At every switch one call waits.
 */
#include <pthread.h>
#include <unistd.h>

#include "bench.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed[2] = {PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER};
static int turn; /* whose turn it is; the mutex guards it */
static long bursts, rounds;
static double *each;

static void play(int me)
{
	for (long burst = 0; burst < bursts; burst++) {
		double start = now_ns();
		must("pthread_mutex_lock", pthread_mutex_lock(&mutex));
		for (long i = 0; i < rounds; i++) {
			while (turn != me)
				must("pthread_cond_wait", pthread_cond_wait(&changed[me], &mutex));
			turn = !me;
			must("pthread_cond_signal", pthread_cond_signal(&changed[!me]));
		}
		must("pthread_mutex_unlock", pthread_mutex_unlock(&mutex));
		if (me == 0) {
			each[burst] = (now_ns() - start) / (2.0 * rounds);
			usleep(20000);
		}
	}
}

static void *other(void *arg)
{
	play(1);
	return arg;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	pthread_t thread;

	bursts = count_argument(argc, argv, 1, 101);
	rounds = count_argument(argc, argv, 2, 2000) / 2;
	each = calloc(bursts, sizeof *each);
	if (each == NULL) {
		perror("parked_calls: calloc");
		return 1;
	}
	must("pthread_create", pthread_create(&thread, NULL, other, NULL));
	play(0);
	must("pthread_join", pthread_join(thread, NULL));
	qsort(each, bursts, sizeof *each, compare);
	printf("least=%.2f median=%.2f calls=%ld\n", each[0], each[bursts / 2], 2 * bursts * rounds);
	return 0;
}
