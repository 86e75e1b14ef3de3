// Preferences of read-write locks: who gets in while a writer waits, recursion of readers, process-shared ones.
#include "guest.h"
#include <sched.h>

static pthread_rwlock_t lock;
static atomic_int wanting, order, reader_at, writer_at;

static void *writes(void *unused)
{
	atomic_store(&wanting, 1);
	OK(pthread_rwlock_wrlock(&lock));
	atomic_store(&writer_at, atomic_fetch_add(&order, 1));
	OK(pthread_rwlock_unlock(&lock));
	return unused;
}

static void *reads(void *unused)
{
	OK(pthread_rwlock_rdlock(&lock));
	atomic_store(&reader_at, atomic_fetch_add(&order, 1));
	OK(pthread_rwlock_unlock(&lock));
	return unused;
}

static void with(int kind, const char *name, int shared)
{
	pthread_rwlockattr_t attributes;
	int got;
	OK(pthread_rwlockattr_init(&attributes));
	OK(pthread_rwlockattr_setkind_np(&attributes, kind));
	OK(pthread_rwlockattr_getkind_np(&attributes, &got));
	IS(got, kind);
	OK(pthread_rwlockattr_setpshared(&attributes, shared));
	OK(pthread_rwlock_init(&lock, &attributes));
	OK(pthread_rwlock_rdlock(&lock));
	atomic_store(&wanting, 0);
	atomic_store(&order, 0);
	pthread_t writer = start(writes, NULL);
	while (!atomic_load(&wanting))
		sched_yield();
	sleep_ms(20);
	/* A writer waits. */
	int try = pthread_rwlock_tryrdlock(&lock);
	printf("%s, shared %d: tryrdlock %d, ", name, shared, try);
	if (!try)
		OK(pthread_rwlock_unlock(&lock));
	struct timespec soon = in_ms(CLOCK_REALTIME, 20);
	int timed = pthread_rwlock_timedrdlock(&lock, &soon);
	printf("timedrdlock %d, ", timed);
	if (!timed)
		OK(pthread_rwlock_unlock(&lock));
	pthread_t reader = start(reads, NULL);
	sleep_ms(20);
	OK(pthread_rwlock_unlock(&lock));
	join(writer);
	join(reader);
	printf("first in: %s\n", atomic_load(&writer_at) < atomic_load(&reader_at) ? "writer" : "reader");
	OK(pthread_rwlock_wrlock(&lock));
	IS(pthread_rwlock_wrlock(&lock), EDEADLK);
	IS(pthread_rwlock_rdlock(&lock), EDEADLK);
	IS(pthread_rwlock_trywrlock(&lock), EBUSY);
	OK(pthread_rwlock_unlock(&lock));
	OK(pthread_rwlock_destroy(&lock));
}

int main(void)
{
	for (int shared = 0; shared < 2; shared++) {
		with(PTHREAD_RWLOCK_PREFER_READER_NP, "readers", shared);
		with(PTHREAD_RWLOCK_PREFER_WRITER_NP, "writers", shared);
		with(PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP, "writers not recursive", shared);
	}
	return 0;
}
