// For a debugger: a thread dies of a bad pointer, three calls deep, while others are parked.
#include <pthread.h>
#include <semaphore.h>

static sem_t never;
static int *volatile nowhere = (int *)8;

__attribute__((noipa)) static int follows_pointer(const int *pointer)
{
	return *pointer + 1;
}

__attribute__((noipa)) static int looks_around(int depth)
{
	return follows_pointer(nowhere) + depth;
}

__attribute__((noipa)) static void *works(void *depth)
{
	return looks_around(7) ? depth : NULL;
}

static void *waits(void *unused)
{
	sem_wait(&never);
	return unused;
}

int main(void)
{
	pthread_t thread;
	pthread_create(&thread, NULL, waits, NULL);
	pthread_create(&thread, NULL, works, NULL);
	pthread_join(thread, NULL);
	return 0;
}
