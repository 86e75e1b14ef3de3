// A thread that holds a lock most of the time, and takes it again soon, does not keep it from another that waits for it.
// guest: limit=60
#include "guest.h"
#include <semaphore.h>

enum { TURNS = 20 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static sem_t semaphore;

static void mutex_lock(void) { CHECK(pthread_mutex_lock(&mutex) == 0); }
static void mutex_unlock(void) { CHECK(pthread_mutex_unlock(&mutex) == 0); }
static void rwlock_lock(void) { CHECK(pthread_rwlock_wrlock(&rwlock) == 0); }
static void rwlock_unlock(void) { CHECK(pthread_rwlock_unlock(&rwlock) == 0); }
static void semaphore_lock(void) { CHECK(sem_wait(&semaphore) == 0); }
static void semaphore_unlock(void) { CHECK(sem_post(&semaphore) == 0); }

static const struct lock {
	const char *name;
	void (*lock)(void), (*unlock)(void);
} locks[] = {
	{ "a mutex", mutex_lock, mutex_unlock },
	{ "a read-write lock", rwlock_lock, rwlock_unlock },
	{ "a semaphore", semaphore_lock, semaphore_unlock },
};

static atomic_bool held, done;

static void *holds(void *raw)
{
	const struct lock *lock = raw;
	while (!atomic_load(&done)) {
		lock->lock();
		atomic_store(&held, true);
		CHECK(usleep(100) == 0);
		lock->unlock();
		/* Long enough for a kernel thread to wake, short for whoever shares its processor. */
		for (int64_t end = now_ns(CLOCK_MONOTONIC) + 300000; now_ns(CLOCK_MONOTONIC) < end;)
			;
	}
	return NULL;
}

int main(void)
{
	CHECK(sem_init(&semaphore, 0, 1) == 0);
	for (size_t i = 0; i < COUNT(locks); i++) {
		atomic_store(&held, false);
		atomic_store(&done, false);
		pthread_t holder = start(holds, (void *)&locks[i]);
		while (!atomic_load(&held))
			CHECK(usleep(100) == 0);
		for (int turn = 0; turn < TURNS; turn++) {
			locks[i].lock();
			locks[i].unlock();
		}
		atomic_store(&done, true);
		join(holder);
		printf("%s goes round\n", locks[i].name);
	}
	return 0;
}
