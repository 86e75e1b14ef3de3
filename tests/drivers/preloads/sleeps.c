// A thread sleeps for two seconds, and waits for two seconds.
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static void *waits(void *unused)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
	struct timespec until;
	sleep(2);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 2;
	pthread_mutex_lock(&mutex);
	int error;
	while (!(error = pthread_cond_timedwait(&condition, &mutex, &until)))
		;
	puts(error == ETIMEDOUT ? "timed out" : "failed");
	return unused;
}

int main(void)
{
	pthread_t thread;
	if (pthread_create(&thread, NULL, waits, NULL))
		return 1;
	pthread_join(thread, NULL);
	return 0;
}
