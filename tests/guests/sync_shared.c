// Process-shared mutex, condition, semaphore and barrier between a parent's threads and its child.
#include "shared.h"
#include <semaphore.h>
#include <sys/wait.h>

static struct shared {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	pthread_barrier_t barrier;
	sem_t ping, pong;
	int turn, counter;
} *shared;

static void *alternates(void *raw)
{
	int me = (int)(intptr_t)raw;
	for (int i = 0; i < 100; i++) {
		OK(pthread_mutex_lock(&shared->mutex));
		while (shared->turn != me)
			OK(pthread_cond_wait(&shared->changed, &shared->mutex));
		shared->turn = !me;
		shared->counter++;
		OK(pthread_cond_broadcast(&shared->changed));
		OK(pthread_mutex_unlock(&shared->mutex));
	}
	return NULL;
}

static void *ticks(void *stop)
{
	while (!atomic_load((atomic_bool *)stop))
		sleep_ms(1);
	return NULL;
}

int main(void)
{
	shared = map_shared(sizeof *shared);
	init_shared_mutex(&shared->mutex, PTHREAD_MUTEX_DEFAULT, PTHREAD_MUTEX_STALLED);
	init_shared_condition(&shared->changed);
	init_shared_barrier(&shared->barrier, 2);
	IS(sem_init(&shared->ping, 1, 0), 0);
	IS(sem_init(&shared->pong, 1, 0), 0);

	atomic_bool stop = false;
	pthread_t ticker = start(ticks, &stop);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		pthread_barrier_wait(&shared->barrier);
		join(start(alternates, (void *)1));
		for (int i = 0; i < 100; i++) {
			IS(sem_wait(&shared->ping), 0);
			shared->counter++;
			IS(sem_post(&shared->pong), 0);
		}
		_exit(0);
	}
	pthread_barrier_wait(&shared->barrier);
	join(start(alternates, (void *)0));
	for (int i = 0; i < 100; i++) {
		IS(sem_post(&shared->ping), 0);
		IS(sem_wait(&shared->pong), 0);
		shared->counter++;
	}
	int status;
	IS(waitpid(child, &status, 0), child);
	IS(status, 0);
	atomic_store(&stop, true);
	join(ticker);
	printf("counter %d\n", shared->counter);
	return 0;
}
