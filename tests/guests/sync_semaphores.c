// Semaphores: unnamed and named, counting, try, timed on both clocks, overflow.
#include "guest.h"
#include <fcntl.h>
#include <limits.h>
#include <semaphore.h>

static sem_t room, done;
static atomic_int inside, most;

static void *body(void *unused)
{
	(void)unused;
	for (int i = 0; i < 20; i++) {
		IS(sem_wait(&room), 0);
		int now = atomic_fetch_add(&inside, 1) + 1;
		CHECK(now <= 3);
		int seen = atomic_load(&most);
		while (now > seen && !atomic_compare_exchange_weak(&most, &seen, now))
			;
		sched_yield();
		atomic_fetch_sub(&inside, 1);
		IS(sem_post(&room), 0);
	}
	IS(sem_post(&done), 0);
	return NULL;
}

int main(void)
{
	int value;
	IS(sem_init(&room, 0, 3), 0);
	IS(sem_init(&done, 0, 0), 0);
	pthread_t threads[12];
	for (int i = 0; i < 12; i++)
		threads[i] = start(body, NULL);
	for (int i = 0; i < 12; i++)
		IS(sem_wait(&done), 0);
	for (int i = 0; i < 12; i++)
		join(threads[i]);
	IS(sem_getvalue(&room, &value), 0);
	printf("value %d\n", value);

	FAILS(sem_trywait(&done), EAGAIN);
	struct timespec until = in_ms(CLOCK_REALTIME, 30);
	FAILS(sem_timedwait(&done, &until), ETIMEDOUT);
	int64_t begin = now_ns(CLOCK_MONOTONIC);
	until = in_ms(CLOCK_MONOTONIC, 30);
	FAILS(sem_clockwait(&done, CLOCK_MONOTONIC, &until), ETIMEDOUT);
	CHECK(now_ns(CLOCK_MONOTONIC) - begin >= 29 * MS);
	until.tv_nsec = -1;
	FAILS(sem_timedwait(&done, &until), EINVAL);
	sem_t full;
	IS(sem_init(&full, 0, SEM_VALUE_MAX), 0);
	FAILS(sem_post(&full), EOVERFLOW);

	char name[64];
	snprintf(name, sizeof name, "/guest-%d", getpid());
	sem_t *named = sem_open(name, O_CREAT | O_EXCL, 0600, 1);
	CHECK(named != SEM_FAILED);
	IS(sem_unlink(name), 0);
	IS(sem_wait(named), 0);
	FAILS(sem_trywait(named), EAGAIN);
	IS(sem_post(named), 0);
	IS(sem_close(named), 0);
	puts("named");
	return 0;
}
