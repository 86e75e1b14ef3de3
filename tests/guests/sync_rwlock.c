// Read-write locks: many readers, one writer, preference, try and timed on both clocks.
#include "guest.h"

static pthread_rwlock_t lock;
static pthread_barrier_t barrier;
static int left, right, reads;

static void *reader(void *unused)
{
	(void)unused;
	for (int i = 0; i < 100; i++) {
		OK(pthread_rwlock_rdlock(&lock));
		CHECK(left == right);
		sched_yield();
		CHECK(left == right);
		OK(pthread_rwlock_unlock(&lock));
		__atomic_fetch_add(&reads, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *writer(void *unused)
{
	(void)unused;
	for (int i = 0; i < 100; i++) {
		OK(pthread_rwlock_wrlock(&lock));
		left++;
		sched_yield();
		right++;
		OK(pthread_rwlock_unlock(&lock));
	}
	return NULL;
}

static void *reads_together(void *unused)
{
	(void)unused;
	OK(pthread_rwlock_rdlock(&lock));
	pthread_barrier_wait(&barrier); /* all hold it at once */
	OK(pthread_rwlock_unlock(&lock));
	return NULL;
}

static void *finds_it(void *raw)
{
	bool written = raw != NULL;
	IS(pthread_rwlock_tryrdlock(&lock), written ? EBUSY : 0);
	if (!written)
		OK(pthread_rwlock_unlock(&lock));
	IS(pthread_rwlock_trywrlock(&lock), EBUSY);
	struct timespec until = in_ms(CLOCK_REALTIME, 20);
	IS(pthread_rwlock_timedwrlock(&lock, &until), ETIMEDOUT);
	until = in_ms(CLOCK_MONOTONIC, 20);
	IS(pthread_rwlock_clockrdlock(&lock, CLOCK_MONOTONIC, &until), written ? ETIMEDOUT : 0);
	if (!written)
		OK(pthread_rwlock_unlock(&lock));
	return NULL;
}

static void kind(int kind, const char *name)
{
	pthread_rwlockattr_t attributes;
	pthread_t threads[16];
	OK(pthread_rwlockattr_init(&attributes));
	OK(pthread_rwlockattr_setkind_np(&attributes, kind));
	OK(pthread_rwlock_init(&lock, &attributes));
	left = right = reads = 0;
	for (int i = 0; i < 16; i++)
		threads[i] = start(i % 4 ? reader : writer, NULL);
	for (int i = 0; i < 16; i++)
		join(threads[i]);
	printf("%s: %d reads, %d writes\n", name, reads, left);

	OK(pthread_barrier_init(&barrier, NULL, 8));
	for (int i = 0; i < 8; i++)
		threads[i] = start(reads_together, NULL);
	for (int i = 0; i < 8; i++)
		join(threads[i]);

	OK(pthread_rwlock_rdlock(&lock));
	join(start(finds_it, NULL));
	OK(pthread_rwlock_unlock(&lock));
	OK(pthread_rwlock_wrlock(&lock));
	join(start(finds_it, "written"));
	OK(pthread_rwlock_unlock(&lock));
	OK(pthread_rwlock_destroy(&lock));
}

int main(void)
{
	kind(PTHREAD_RWLOCK_PREFER_READER_NP, "readers first");
	kind(PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP, "writers first");
	return 0;
}
