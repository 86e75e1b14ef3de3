// CPU time of threads: their own, each other's, what was used before anyone asked, and that of ended ones.
#include "guest.h"
#include <signal.h>
#include <sys/resource.h>

enum { MANY = 50 };
static pthread_barrier_t barrier;
static atomic_bool enough;

/* By the process's clock, for times when nobody else computes. */
static void compute_ms(int64_t ms)
{
	int64_t until = now_ns(CLOCK_PROCESS_CPUTIME_ID) + ms * MS;
	while (now_ns(CLOCK_PROCESS_CPUTIME_ID) < until)
		;
}

static void compute_own_ms(int64_t ms)
{
	int64_t until = now_ns(CLOCK_THREAD_CPUTIME_ID) + ms * MS;
	while (now_ns(CLOCK_THREAD_CPUTIME_ID) < until)
		;
}

static int64_t usage_ns(void)
{
	struct rusage usage;
	IS(getrusage(RUSAGE_THREAD, &usage), 0);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000000) +
	       (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * INT64_C(1000);
}

static void *asks_late(void *unused)
{
	compute_ms(60);
	CHECK(now_ns(CLOCK_THREAD_CPUTIME_ID) >= 50 * MS);
	return unused;
}

static void *asks_at_once(void *unused)
{
	CHECK(now_ns(CLOCK_THREAD_CPUTIME_ID) < 20 * MS);
	CHECK(usage_ns() < 20 * MS);
	return unused;
}

/* Two run at the same time and need different amounts. */
static void *computes(void *ms)
{
	int64_t before = now_ns(CLOCK_THREAD_CPUTIME_ID);
	pthread_barrier_wait(&barrier);
	compute_own_ms((intptr_t)ms);
	int64_t used = now_ns(CLOCK_THREAD_CPUTIME_ID) - before;
	CHECK(used >= (intptr_t)ms * MS && used < ((intptr_t)ms + 50) * MS);
	int64_t usage = usage_ns();
	/* The kernel brings this one up to date at its ticks. */
	CHECK(usage > used - 20 * MS && usage <= now_ns(CLOCK_THREAD_CPUTIME_ID));
	pthread_barrier_wait(&barrier);
	return (void *)(intptr_t)now_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void *spins(void *unused)
{
	pthread_barrier_wait(&barrier);
	while (!atomic_load(&enough))
		;
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return unused;
}

static void *takes_turns(void *unused)
{
	for (int i = 0; i < 20; i++) {
		compute_own_ms(1);
		sleep_ms(1);
	}
	(void)unused;
	return (void *)(intptr_t)now_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void *sleeps(void *unused)
{
	sleep_ms(100);
	CHECK(now_ns(CLOCK_THREAD_CPUTIME_ID) < 50 * MS);
	return unused;
}

static int64_t of(pthread_t thread)
{
	clockid_t clock;
	OK(pthread_getcpuclockid(thread, &clock));
	return now_ns(clock);
}

static atomic_int expired;

static void on_expiry(int signal)
{
	(void)signal;
	atomic_fetch_add(&expired, 1);
}

/* A timer by one's own CPU time goes on while one computes. */
static void *times_itself(void *unused)
{
	struct sigaction action = { .sa_handler = on_expiry };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec often = { { 0, 10 * MS }, { 0, 10 * MS } };
	clockid_t own;
	timer_t timers[2];
	OK(pthread_getcpuclockid(pthread_self(), &own));
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	IS(timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timers[0]), 0);
	IS(timer_create(own, &event, &timers[1]), 0);
	for (int i = 0; i < 2; i++) {
		int before = atomic_load(&expired);
		IS(timer_settime(timers[i], 0, &often, NULL), 0);
		while (atomic_load(&expired) < before + 3)
			;
		IS(timer_delete(timers[i]), 0);
	}
	FAILS(timer_create(-1, &event, &timers[0]), EINVAL);
	return unused;
}

int main(void)
{
	clockid_t clock, own;
	struct timespec time;

	compute_ms(60);
	join(start(asks_late, NULL));
	puts("a thread sees what it used before it asked");
	CHECK(now_ns(CLOCK_THREAD_CPUTIME_ID) >= 50 * MS);
	CHECK(usage_ns() >= 30 * MS);
	puts("so does the initial thread, from before there was another");
	join(start(asks_at_once, NULL));
	puts("a new thread has used nothing");

	int64_t first = now_ns(CLOCK_THREAD_CPUTIME_ID);
	int64_t process = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	OK(pthread_barrier_init(&barrier, NULL, 3));
	pthread_t little = start(computes, (void *)20), much = start(computes, (void *)120);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	int64_t sum = (intptr_t)join(little) + (intptr_t)join(much);
	first = now_ns(CLOCK_THREAD_CPUTIME_ID) - first;
	process = now_ns(CLOCK_PROCESS_CPUTIME_ID) - process;
	CHECK(first < 50 * MS);
	CHECK(sum >= 140 * MS && sum + first <= process + 2 * MS);
	puts("each is charged for itself, and all together for no more than the process");

	OK(pthread_barrier_init(&barrier, NULL, 2));
	pthread_t other = start(spins, NULL);
	OK(pthread_getcpuclockid(other, &clock));
	OK(pthread_getcpuclockid(pthread_self(), &own));
	int64_t before = now_ns(clock);
	CHECK(before < 20 * MS);
	CHECK(now_ns(own) <= now_ns(CLOCK_THREAD_CPUTIME_ID));
	pthread_barrier_wait(&barrier);
	OK(clock_nanosleep(clock, 0, &(struct timespec){ 0, 30 * MS }, NULL));
	CHECK(now_ns(clock) >= before + 30 * MS);
	int64_t last = before;
	for (int i = 0; i < 1000; i++) {
		int64_t now = now_ns(clock);
		CHECK(now >= last);
		last = now;
	}
	atomic_store(&enough, true);
	pthread_barrier_wait(&barrier);
	/* It waits now: at most its way there can be added. */
	before = of(other);
	compute_own_ms(40);
	CHECK(of(other) < before + 20 * MS);
	puts("another thread's clock goes when that runs");
	IS(clock_nanosleep(own, 0, &(struct timespec){ 0, 1 }, NULL), EINVAL);
	IS(clock_getres(clock, &time), 0);
	IS(time.tv_nsec, 1);
	IS(clock_getres(own, NULL), 0);
	IS(clock_getres(CLOCK_THREAD_CPUTIME_ID, &time), 0);
	IS(time.tv_nsec, 1);
	FAILS(clock_settime(clock, &time), EPERM);
	FAILS(clock_gettime(clock, unmapped), EFAULT);
	FAILS(clock_gettime(CLOCK_THREAD_CPUTIME_ID, unmapped), EFAULT);
	FAILS(getrusage(RUSAGE_THREAD, unmapped), EFAULT);
	FAILS(getrusage(12345, unmapped), EINVAL);
	FAILS(clock_gettime(-1, &time), EINVAL);
	FAILS(clock_gettime(12345, &time), EINVAL);
	pthread_barrier_wait(&barrier);
	join(other);
	/* The kernel tells of the end of a thread before that is over. */
	while (clock_gettime(clock, &time) == 0)
		sleep_ms(1);
	FAILS(clock_gettime(clock, &time), EINVAL);
	FAILS(clock_getres(clock, &time), EINVAL);
	IS(clock_nanosleep(clock, 0, &time, NULL), EINVAL);
	puts("an ended thread has no clock");

	join(start(times_itself, NULL));
	puts("timers by a thread's clock");
	join(start(sleeps, NULL));
	puts("sleep is free");
	pthread_t many[MANY];
	first = now_ns(CLOCK_THREAD_CPUTIME_ID);
	process = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	for (int i = 0; i < MANY; i++)
		many[i] = start(takes_turns, NULL);
	sum = 0;
	for (int i = 0; i < MANY; i++)
		sum += (intptr_t)join(many[i]);
	first = now_ns(CLOCK_THREAD_CPUTIME_ID) - first;
	process = now_ns(CLOCK_PROCESS_CPUTIME_ID) - process;
	CHECK(sum >= MANY * 20 * MS && sum + first <= process + process / 20);
	CHECK(sum + first >= process / 2);
	puts("many add up");
	return 0;
}
