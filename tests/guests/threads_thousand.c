// A thousand threads alive at once, counted by the harness while all are parked.
// guest: hold
#include "guest.h"

enum { THREADS = 1000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int alive;
static bool go;

static void *body(void *argument)
{
	OK(pthread_mutex_lock(&lock));
	alive++;
	OK(pthread_cond_broadcast(&changed));
	while (!go)
		OK(pthread_cond_wait(&changed, &lock));
	OK(pthread_mutex_unlock(&lock));
	return argument;
}

int main(void)
{
	static pthread_t threads[THREADS];
	for (uintptr_t i = 0; i < THREADS; i++)
		threads[i] = start(body, (void *)i);
	OK(pthread_mutex_lock(&lock));
	while (alive < THREADS)
		OK(pthread_cond_wait(&changed, &lock));
	OK(pthread_mutex_unlock(&lock));
	printf("%d alive\n", alive);
	hold();
	OK(pthread_mutex_lock(&lock));
	go = true;
	OK(pthread_cond_broadcast(&changed));
	OK(pthread_mutex_unlock(&lock));
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK((uintptr_t)join(threads[i]) == i);
	puts("all joined");
	return 0;
}
