// Lock and wait calls of pthreads block their own thread only.
#include "guest.h"
#include <semaphore.h>

static pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t barrier;
static sem_t semaphore;
static bool set;
static int ends[2];

static void signal_condition(void *unused)
{
	(void)unused;
	OK(pthread_mutex_lock(&plain));
	set = true;
	OK(pthread_cond_signal(&changed));
	OK(pthread_mutex_unlock(&plain));
}

static void post(void *unused)
{
	(void)unused;
	IS(sem_post(&semaphore), 0);
}

static void arrive(void *unused)
{
	(void)unused;
	pthread_barrier_wait(&barrier);
}

static void end_thread(void *unused)
{
	(void)unused;
	IS(write(ends[1], "x", 1), 1);
}

static void *ends_when_told(void *argument)
{
	char byte;
	IS(read(ends[0], &byte, 1), 1);
	return argument;
}

/* A thread that takes a lock, and gives it back when it is released. */
struct owner {
	int (*lock)(void *), (*unlock)(void *);
	void *what;
	pthread_barrier_t owned;
	atomic_int ticks;
};

static void *owner_body(void *raw)
{
	struct owner *owner = raw;
	OK(owner->lock(owner->what));
	pthread_barrier_wait(&owner->owned);
	for (int i = 0; i < RELEASE_TICKS; i++) {
		sleep_ms(1);
		atomic_fetch_add(&owner->ticks, 1);
	}
	OK(owner->unlock(owner->what));
	return NULL;
}

static void contend(int (*lock)(void *), int (*mine)(void *), int (*unlock)(void *), void *what,
		    const char *name)
{
	struct owner owner = { lock, unlock, what, .ticks = 0 };
	OK(pthread_barrier_init(&owner.owned, NULL, 2));
	pthread_t thread = start(owner_body, &owner);
	pthread_barrier_wait(&owner.owned);
	OK(mine(what));
	CHECK(atomic_load(&owner.ticks) == RELEASE_TICKS);
	OK(unlock(what));
	join(thread);
	printf("%s blocks alone\n", name);
}

#define AS(function) ((int (*)(void *))(void (*)(void))(function))

int main(void)
{
	struct release release;
	IS(sem_init(&semaphore, 0, 0), 0);
	OK(pthread_barrier_init(&barrier, NULL, 2));
	IS(pipe(ends), 0);

	release_start(&release, signal_condition, NULL);
	OK(pthread_mutex_lock(&plain));
	while (!set)
		OK(pthread_cond_wait(&changed, &plain));
	OK(pthread_mutex_unlock(&plain));
	release_check(&release, "cond_wait");

	release_start(&release, post, NULL);
	IS(sem_wait(&semaphore), 0);
	release_check(&release, "sem_wait");

	release_start(&release, arrive, NULL);
	pthread_barrier_wait(&barrier);
	release_check(&release, "barrier_wait");

	pthread_t thread = start(ends_when_told, NULL);
	release_start(&release, end_thread, NULL);
	join(thread);
	release_check(&release, "join");

	contend(AS(pthread_mutex_lock), AS(pthread_mutex_lock), AS(pthread_mutex_unlock), &plain,
		"mutex_lock");
	contend(AS(pthread_rwlock_wrlock), AS(pthread_rwlock_rdlock), AS(pthread_rwlock_unlock),
		&rwlock, "rdlock");
	contend(AS(pthread_rwlock_rdlock), AS(pthread_rwlock_wrlock), AS(pthread_rwlock_unlock),
		&rwlock, "wrlock");
	return 0;
}
