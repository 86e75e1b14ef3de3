// Threads that fork, wait with a time limit and hand bytes to each other.
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int ends[2], children, late, bytes;

static void *forks(void *unused)
{
	int status;
	pid_t child = fork();
	if (child == 0)
		_exit(3);
	if (waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 3)
		__atomic_add_fetch(&children, 1, __ATOMIC_RELAXED);
	return unused;
}

static void *waits(void *unused)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 20000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	pthread_mutex_lock(&mutex);
	int error;
	while (!(error = pthread_cond_timedwait(&condition, &mutex, &until)))
		;
	late += error == ETIMEDOUT;
	pthread_mutex_unlock(&mutex);
	poll(NULL, 0, 5);
	return unused;
}

static void *reads(void *unused)
{
	char byte;
	for (int i = 0; i < 100; i++)
		if (read(ends[0], &byte, 1) == 1)
			__atomic_add_fetch(&bytes, 1, __ATOMIC_RELAXED);
	return unused;
}

static void *writes(void *unused)
{
	for (int i = 0; i < 100; i++)
		if (write(ends[1], "x", 1) != 1)
			abort();
	return unused;
}

int main(void)
{
	void *(*const bodies[])(void *) = {forks, waits, reads, writes};
	pthread_t threads[16];
	if (pipe(ends))
		return 1;
	for (int i = 0; i < 16; i++)
		if (pthread_create(&threads[i], NULL, bodies[i % 4], NULL))
			return 1;
	for (int i = 0; i < 16; i++)
		pthread_join(threads[i], NULL);
	printf("children %d, late %d, bytes %d\n", children, late, bytes);
	return 0;
}
