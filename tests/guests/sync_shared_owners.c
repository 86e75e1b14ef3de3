// A lock that a thread of another process holds is not taken for the caller's own, nor is it lost with that process.
// guest: limit=60
#include "shared.h"
#include <signal.h>
#include <sys/wait.h>

enum { RECURSIVE, CHECKED, ROBUST, LOCKS, ROUNDS = 300 };

static struct shared {
	pthread_mutex_t locks[LOCKS], killed;
	pthread_rwlock_t written;
	pthread_barrier_t barrier;
	atomic_int holds;
	int inside, twice, count;
} *shared;

static void meet(void)
{
	int result = pthread_barrier_wait(&shared->barrier);
	CHECK(result == 0 || result == PTHREAD_BARRIER_SERIAL_THREAD);
}

static void *holds_all(void *unused)
{
	for (int i = 0; i < LOCKS; i++)
		OK(pthread_mutex_lock(&shared->locks[i]));
	OK(pthread_rwlock_wrlock(&shared->written));
	meet();
	meet();
	for (int i = 0; i < LOCKS; i++)
		OK(pthread_mutex_unlock(&shared->locks[i]));
	OK(pthread_rwlock_unlock(&shared->written));
	return unused;
}

static void *tries_all(void *unused)
{
	meet();
	for (int i = 0; i < LOCKS; i++) {
		struct timespec soon = in_ms(CLOCK_REALTIME, 2);
		IS(pthread_mutex_trylock(&shared->locks[i]), EBUSY);
		IS(pthread_mutex_timedlock(&shared->locks[i], &soon), ETIMEDOUT);
		IS(pthread_mutex_unlock(&shared->locks[i]), EPERM);
	}
	struct timespec soon = in_ms(CLOCK_REALTIME, 2);
	IS(pthread_rwlock_timedrdlock(&shared->written, &soon), ETIMEDOUT);
	IS(pthread_rwlock_timedwrlock(&shared->written, &soon), ETIMEDOUT);
	meet();
	return unused;
}

/* One at a time, of either process. */
static void *counts(void *unused)
{
	for (int i = 0; i < ROUNDS; i++) {
		OK(pthread_mutex_lock(&shared->locks[RECURSIVE]));
		OK(pthread_mutex_lock(&shared->locks[RECURSIVE]));
		if (shared->inside++ != 0)
			shared->twice++;
		int count = shared->count;
		if (i % 10 == 0)
			sched_yield();
		shared->count = count + 1;
		shared->inside--;
		OK(pthread_mutex_unlock(&shared->locks[RECURSIVE]));
		OK(pthread_mutex_unlock(&shared->locks[RECURSIVE]));
	}
	return unused;
}

/* It makes no call any more, until it is killed. */
static void *holds_for_ever(void *unused)
{
	OK(pthread_mutex_lock(&shared->killed));
	atomic_store(&shared->holds, 1);
	for (;;)
		;
	return unused;
}

/* It has computed for so long, however many others want the processor. */
static void wait_for_cpu_time(pid_t process, int ms)
{
	clockid_t clock;
	struct timespec used;
	OK(clock_getcpuclockid(process, &clock));
	do {
		sleep_ms(1);
		IS(clock_gettime(clock, &used), 0);
	} while (used.tv_sec * 1000 + used.tv_nsec / 1000000 < ms);
}

static void both(void *(*childs)(void *), void *(*parents)(void *), bool killed)
{
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		join(start(childs, NULL));
		_exit(0);
	}
	if (parents)
		join(start(parents, NULL));
	int status;
	if (killed) {
		while (!atomic_load(&shared->holds))
			sleep_ms(1);
		wait_for_cpu_time(child, 200);
		IS(kill(child, SIGKILL), 0);
	}
	IS(waitpid(child, &status, 0), child);
	IS(status, killed ? SIGKILL : 0);
}

static void *inherits(void *unused)
{
	struct timespec until = in_ms(CLOCK_REALTIME, 20000);
	IS(pthread_mutex_timedlock(&shared->killed, &until), EOWNERDEAD);
	OK(pthread_mutex_consistent(&shared->killed));
	OK(pthread_mutex_unlock(&shared->killed));
	return unused;
}

int main(void)
{
	pthread_rwlockattr_t rwlock;
	shared = map_shared(sizeof *shared);
	init_shared_mutex(&shared->locks[RECURSIVE], PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_STALLED);
	init_shared_mutex(&shared->locks[CHECKED], PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_STALLED);
	init_shared_mutex(&shared->locks[ROBUST], PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ROBUST);
	init_shared_mutex(&shared->killed, PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ROBUST);
	OK(pthread_rwlockattr_init(&rwlock));
	OK(pthread_rwlockattr_setpshared(&rwlock, PTHREAD_PROCESS_SHARED));
	OK(pthread_rwlock_init(&shared->written, &rwlock));
	init_shared_barrier(&shared->barrier, 2);

	both(holds_all, tries_all, false);
	puts("another's locks");
	both(counts, counts, false);
	IS(shared->twice, 0);
	IS(shared->count, 2 * ROUNDS);
	puts("one at a time");
	both(holds_for_ever, NULL, true);
	join(start(inherits, NULL));
	puts("a killed one's lock");
	return 0;
}
