// Asynchronous cancellation of threads that compute, wait, and have not run yet; of oneself; and changes of the type.
#include "guest.h"
#include <poll.h>
#include <semaphore.h>

static sem_t ready;
static pthread_barrier_t barrier;
static atomic_int cleaned;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int ends[2];

static void clean(void *count)
{
	atomic_fetch_add(&cleaned, (int)(intptr_t)count);
}

static void be_asynchronous(void)
{
	int old;
	OK(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old));
	IS(old, PTHREAD_CANCEL_DEFERRED);
	IS(sem_post(&ready), 0);
}

static void *computes(void *unused)
{
	pthread_cleanup_push(clean, (void *)1);
	be_asynchronous();
	for (;;)
		atomic_signal_fence(memory_order_seq_cst);
	pthread_cleanup_pop(0);
	return unused;
}

static void computes_below(void)
{
	char frame[200];
	memset(frame, 0, sizeof frame);
	pthread_cleanup_push(clean, (void *)1);
	be_asynchronous();
	for (volatile size_t i = 0;; i++)
		frame[i % sizeof frame]++;
	pthread_cleanup_pop(0);
}

static void *computes_deep(void *unused)
{
	pthread_cleanup_push(clean, (void *)1);
	computes_below();
	pthread_cleanup_pop(0);
	return unused;
}

static void *polls(void *unused)
{
	pthread_cleanup_push(clean, (void *)1);
	be_asynchronous();
	for (;;)
		poll(NULL, 0, -1);
	pthread_cleanup_pop(0);
	return unused;
}

static void *reads(void *unused)
{
	char byte;
	pthread_cleanup_push(clean, (void *)1);
	be_asynchronous();
	for (;;)
		CHECK(read(ends[0], &byte, 1) < 1);
	pthread_cleanup_pop(0);
	return unused;
}

/* The request comes while it is deferred, and takes effect with the change. */
static void *changes(void *unused)
{
	pthread_cleanup_push(clean, (void *)1);
	IS(sem_post(&ready), 0);
	pthread_barrier_wait(&barrier);
	OK(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL));
	CHECK(false);
	pthread_cleanup_pop(0);
	return unused;
}

/* Asynchronous, but disabled: nothing happens until it is enabled. */
static void *enables(void *unused)
{
	pthread_cleanup_push(clean, (void *)1);
	OK(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL));
	be_asynchronous();
	pthread_barrier_wait(&barrier);
	for (volatile int i = 0; i < 1000000; i++)
		;
	OK(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL));
	CHECK(false);
	pthread_cleanup_pop(0);
	return unused;
}

static void *cancels_itself(void *unused)
{
	pthread_cleanup_push(clean, (void *)1);
	be_asynchronous();
	pthread_cancel(pthread_self());
	CHECK(false);
	pthread_cleanup_pop(0);
	return unused;
}

/* Deferred: it meets a cancellation point at once, and nothing before that is left out. */
static void *not_yet_run(void *unused)
{
	atomic_fetch_add(&cleaned, 1);
	sem_wait(&(sem_t){ 0 });
	CHECK(false);
	return unused;
}

static void unlock(void *held)
{
	/* It is locked, by us. */
	IS(pthread_mutex_trylock(held), EBUSY);
	OK(pthread_mutex_unlock(held));
	atomic_fetch_add(&cleaned, 1);
}

static void *waits_for_condition(void *unused)
{
	OK(pthread_mutex_lock(&mutex));
	pthread_cleanup_push(unlock, &mutex);
	IS(sem_post(&ready), 0);
	for (;;)
		pthread_cond_wait(&condition, &mutex);
	pthread_cleanup_pop(0);
	return unused;
}

static void cancelled(pthread_t thread)
{
	CHECK(join(thread) == PTHREAD_CANCELED);
}

static void check(const char *what, int count)
{
	IS(atomic_exchange(&cleaned, 0), count);
	puts(what);
}

int main(void)
{
	IS(sem_init(&ready, 0, 0), 0);
	OK(pthread_barrier_init(&barrier, NULL, 2));
	IS(pipe(ends), 0);
	static void *(*const bodies[])(void *) = { computes, computes_deep, polls, reads };
	static const char *const names[] = { "computes", "computes deep below", "polls", "reads" };
	for (size_t i = 0; i < COUNT(bodies); i++) {
		for (int round = 0; round < 20; round++) {
			pthread_t thread = start(bodies[i], NULL);
			IS(sem_wait(&ready), 0);
			OK(pthread_cancel(thread));
			cancelled(thread);
		}
		check(names[i], bodies[i] == computes_deep ? 40 : 20);
	}

	pthread_t thread = start(changes, NULL);
	IS(sem_wait(&ready), 0);
	OK(pthread_cancel(thread));
	pthread_barrier_wait(&barrier);
	cancelled(thread);
	check("changes its type", 1);
	thread = start(enables, NULL);
	IS(sem_wait(&ready), 0);
	OK(pthread_cancel(thread));
	pthread_barrier_wait(&barrier);
	cancelled(thread);
	check("enables it", 1);
	thread = start(cancels_itself, NULL);
	cancelled(thread);
	IS(sem_wait(&ready), 0);
	check("cancels itself", 1);

	for (int round = 0; round < 100; round++) {
		thread = start(not_yet_run, NULL);
		OK(pthread_cancel(thread));
		cancelled(thread);
	}
	check("has hardly begun", 100);

	/* The mutex is held by another when the request comes: the waiter ends with it all the same. */
	thread = start(waits_for_condition, NULL);
	IS(sem_wait(&ready), 0);
	OK(pthread_mutex_lock(&mutex));
	OK(pthread_cancel(thread));
	sleep_ms(20);
	IS(atomic_load(&cleaned), 0);
	OK(pthread_mutex_unlock(&mutex));
	cancelled(thread);
	check("has its mutex again", 1);
	return 0;
}
