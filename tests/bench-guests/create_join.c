/* The initial thread creates a thread and joins it, again and again.
 *
 * usage: create_join [times]
 * Prints "ns_each=X".
 */
#include <pthread.h>

#include "bench.h"

static void *body(void *arg)
{
	++*(long *)arg;
	return NULL;
}

int main(int argc, char **argv)
{
	long times = count_argument(argc, argv, 1, 20000);
	long ran = 0;

	double start = now_ns();
	for (long i = 0; i < times; i++) {
		pthread_t thread;
		must("pthread_create", pthread_create(&thread, NULL, body, &ran));
		must("pthread_join", pthread_join(thread, NULL));
	}
	double each = (now_ns() - start) / times;
	if (ran != times) {
		fprintf(stderr, "create_join: %ld of %ld threads ran\n", ran, times);
		return 1;
	}
	printf("ns_each=%.1f\n", each);
	return 0;
}
