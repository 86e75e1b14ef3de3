// Threads that compute for ever, some in malloc, stdio, the loader and qsort, do not stop a ticker, and none of them hangs.
// guest: limit=60
#include "guest.h"
#include <dlfcn.h>
#include <sched.h>

static atomic_bool stop;
static atomic_int rounds[6];
static FILE *sink;
static volatile unsigned long result;

static void *computes(void *unused)
{
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		for (int i = 0; i < 1000; i++)
			result += (unsigned long)i * result;
		atomic_fetch_add(&rounds[0], 1);
	}
	return unused;
}

static void *allocates(void *unused)
{
	while (!atomic_load(&stop)) {
		void *blocks[20];
		for (int i = 0; i < 20; i++)
			blocks[i] = malloc((size_t)(100 + i * 977));
		for (int i = 0; i < 20; i++)
			free(blocks[i]);
		atomic_fetch_add(&rounds[1], 1);
	}
	return unused;
}

static void *prints(void *unused)
{
	while (!atomic_load(&stop)) {
		fprintf(sink, "%d %s %f\n", 1, "two", 3.0);
		atomic_fetch_add(&rounds[2], 1);
	}
	return unused;
}

static void *opens(void *unused)
{
	while (!atomic_load(&stop)) {
		void *handle = dlopen("libm.so.6", RTLD_NOW);
		CHECK(handle && dlsym(handle, "cos"));
		dlclose(handle);
		atomic_fetch_add(&rounds[3], 1);
	}
	return unused;
}

static int compare(const void *left, const void *right)
{
	return *(const int *)left - *(const int *)right;
}

static void *sorts(void *unused)
{
	static _Thread_local int numbers[3000];
	while (!atomic_load(&stop)) {
		for (int i = 0; i < 3000; i++)
			numbers[i] = (i * 7919) % 3001;
		qsort(numbers, 3000, sizeof numbers[0], compare);
		atomic_fetch_add(&rounds[4], 1);
	}
	return unused;
}

static void *nothing(void *unused)
{
	return unused;
}

static void *creates(void *unused)
{
	while (!atomic_load(&stop)) {
		join(start(nothing, NULL));
		atomic_fetch_add(&rounds[5], 1);
	}
	return unused;
}

int main(void)
{
	sink = fopen("/dev/null", "w");
	CHECK(sink);
	void *(*const bodies[])(void *) = { computes, allocates, prints, opens, sorts, creates };
	pthread_t threads[2 * COUNT(bodies)];
	struct ticker ticker;
	ticker_start(&ticker);
	for (size_t i = 0; i < COUNT(threads); i++)
		threads[i] = start(bodies[i % COUNT(bodies)], NULL);
	/* Everybody gets somewhere, the ticker too. */
	for (bool all = false; !all;) {
		sleep_ms(20);
		all = atomic_load(&ticker.ticks) >= 20;
		for (size_t i = 0; i < COUNT(bodies); i++)
			all = all && atomic_load(&rounds[i]) >= 3;
	}
	atomic_store(&stop, true);
	for (size_t i = 0; i < COUNT(threads); i++)
		join(threads[i]);
	ticker_check(&ticker, "computing");
	return 0;
}
