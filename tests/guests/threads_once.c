// pthread_once and call_once: one thread runs a blocking initialiser, the others wait for it.
#include "guest.h"
#include <threads.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static once_flag flag = ONCE_FLAG_INIT;
static int runs, flag_runs;
static atomic_int entered;

static void initialise(void)
{
	while (atomic_load(&entered) < 20)
		sleep_ms(1);
	sleep_ms(5);
	runs++;
}

static void initialise_flag(void)
{
	sleep_ms(5);
	flag_runs++;
}

static void *body(void *unused)
{
	(void)unused;
	atomic_fetch_add(&entered, 1);
	OK(pthread_once(&once, initialise));
	CHECK(runs == 1);
	call_once(&flag, initialise_flag);
	CHECK(flag_runs == 1);
	return NULL;
}

int main(void)
{
	pthread_t threads[20];
	for (int i = 0; i < 20; i++)
		threads[i] = start(body, NULL);
	for (int i = 0; i < 20; i++)
		join(threads[i]);
	printf("runs %d %d\n", runs, flag_runs);
	return 0;
}
