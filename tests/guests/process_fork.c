// fork from the main thread and from a thread, with others parked; each child makes threads of its own.
#include "guest.h"
#include <sys/wait.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool go;
static int forks;

static void *parked(void *argument)
{
	OK(pthread_mutex_lock(&lock));
	while (!go)
		OK(pthread_cond_wait(&changed, &lock));
	OK(pthread_mutex_unlock(&lock));
	return argument;
}

static void *doubles(void *raw)
{
	sleep_ms(2);
	return (void *)(2 * (intptr_t)raw);
}

static void *forker(void *raw)
{
	pid_t parent = getpid();
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		CHECK(getppid() == parent && getpid() != parent);
		intptr_t sum = 0;
		pthread_t threads[10];
		for (intptr_t i = 0; i < 10; i++)
			threads[i] = start(doubles, (void *)i);
		for (int i = 0; i < 10; i++)
			sum += (intptr_t)join(threads[i]);
		_exit((int)(sum + (intptr_t)raw));
	}
	int status;
	IS(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status));
	IS(WEXITSTATUS(status), 90 + (intptr_t)raw);
	__atomic_fetch_add(&forks, 1, __ATOMIC_RELAXED);
	return NULL;
}

int main(void)
{
	forker((void *)0);
	pthread_t waiting[20];
	for (int i = 0; i < 20; i++)
		waiting[i] = start(parked, NULL);
	forker((void *)1);
	join(start(forker, (void *)2));
	pthread_t storm[8];
	for (intptr_t i = 0; i < 8; i++)
		storm[i] = start(forker, (void *)(3 + i));
	for (int i = 0; i < 8; i++)
		join(storm[i]);
	OK(pthread_mutex_lock(&lock));
	go = true;
	OK(pthread_cond_broadcast(&changed));
	OK(pthread_mutex_unlock(&lock));
	for (int i = 0; i < 20; i++)
		join(waiting[i]);
	printf("%d forks\n", forks);
	return 0;
}
