// 200,000 threads parked at once, at most 12 KiB resident each; bare, the kernel refuses so many.
// guest: preloaded-only hold limit=300
#include "guest.h"

enum { THREADS = 200000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int alive;
static bool go;

static void *body(void *argument)
{
	OK(pthread_mutex_lock(&lock));
	if (++alive == THREADS)
		OK(pthread_cond_broadcast(&changed));
	while (!go)
		OK(pthread_cond_wait(&changed, &lock));
	OK(pthread_mutex_unlock(&lock));
	return argument;
}

static long resident_kib(void)
{
	long total, resident;
	FILE *file = fopen("/proc/self/statm", "r");
	CHECK(file != NULL);
	CHECK(fscanf(file, "%ld %ld", &total, &resident) == 2);
	fclose(file);
	return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

int main(void)
{
	static pthread_t threads[THREADS];
	pthread_attr_t attributes;
	OK(pthread_attr_init(&attributes));
	OK(pthread_attr_setstacksize(&attributes, 64 << 10));
	for (uintptr_t i = 0; i < THREADS; i++)
		OK(pthread_create(&threads[i], &attributes, body, (void *)i));
	OK(pthread_mutex_lock(&lock));
	while (alive < THREADS)
		OK(pthread_cond_wait(&changed, &lock));
	OK(pthread_mutex_unlock(&lock));
	hold();
	long each = resident_kib() * 1024 / THREADS;
	if (each > 12 * 1024)
		fprintf(stderr, "%ld bytes resident each\n", each);
	OK(pthread_mutex_lock(&lock));
	go = true;
	OK(pthread_cond_broadcast(&changed));
	OK(pthread_mutex_unlock(&lock));
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK((uintptr_t)join(threads[i]) == i);
	puts("200000 joined");
	return 0;
}
