// Spin locks: exclusion among threads that yield between, and trylock from another thread.
#include "guest.h"

static pthread_spinlock_t lock;
static int counter;

static void *body(void *unused)
{
	(void)unused;
	for (int i = 0; i < 1000; i++) {
		OK(pthread_spin_lock(&lock));
		counter++;
		OK(pthread_spin_unlock(&lock));
		if (i % 50 == 0)
			sched_yield();
	}
	return NULL;
}

static void *finds_locked(void *unused)
{
	(void)unused;
	IS(pthread_spin_trylock(&lock), EBUSY);
	return NULL;
}

int main(void)
{
	pthread_t threads[8];
	OK(pthread_spin_init(&lock, PTHREAD_PROCESS_PRIVATE));
	for (int i = 0; i < 8; i++)
		threads[i] = start(body, NULL);
	for (int i = 0; i < 8; i++)
		join(threads[i]);
	OK(pthread_spin_lock(&lock));
	join(start(finds_locked, NULL));
	OK(pthread_spin_unlock(&lock));
	printf("counter %d\n", counter);
	return 0;
}
