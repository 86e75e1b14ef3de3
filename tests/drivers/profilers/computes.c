// Two threads compute for so many rounds, one three times as much as the other and each in a
// function of its own, beside four that wait. With a second argument it samples itself by each
// timer that counts the CPU time of the process, and says how many samples the two threads took,
// and how many the others.
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define CHECK(it) ((it) ? (void)0 : (perror(#it), exit(1)))

enum { READING = 2, WAITING = 4, COMPUTING = 2 };
enum { STEPS = 5000000 };

/* Each step needs the one before, so that a thread is hardly slower while another one computes on
   the same core. */
#define COMPUTES(name)                                                   \
	__attribute__((noipa)) static uint64_t computes_##name(uint64_t value) \
	{                                                                \
		for (long step = 0; step < STEPS; step++) {              \
			value ^= value << 13;                            \
			value ^= value >> 7;                             \
			value ^= value << 17;                            \
		}                                                        \
		return value;                                            \
	}

COMPUTES(three)
COMPUTES(one)

enum { THREE, ONE, OTHER };
static __thread int self = OTHER;

static int rounds;
static pthread_barrier_t begin, next, end;
static int ends[2];

/* The threads go on together from round to round: when the machine is slow, it is for both. */
static void *runs_three(void *result)
{
	uint64_t value = 1;
	self = THREE;
	pthread_barrier_wait(&begin);
	for (int round = 0; round < rounds; round++) {
		pthread_barrier_wait(&next);
		for (int part = 0; part < 3; part++)
			value = computes_three(value);
	}
	*(uint64_t *)result = value;
	return NULL;
}

static void *runs_one(void *result)
{
	uint64_t value = 1;
	self = ONE;
	pthread_barrier_wait(&begin);
	for (int round = 0; round < rounds; round++) {
		pthread_barrier_wait(&next);
		value = computes_one(value);
	}
	*(uint64_t *)result = value;
	return NULL;
}

static void *reads(void *unused)
{
	char byte;
	pthread_barrier_wait(&begin);
	CHECK(read(ends[0], &byte, 1) == 1);
	return unused;
}

static void *waits(void *unused)
{
	pthread_barrier_wait(&begin);
	pthread_barrier_wait(&end);
	return unused;
}

enum { TIMERS = 3 };
static int signals[TIMERS] = { SIGPROF, SIGVTALRM };
static const char *const names[TIMERS] = { "ITIMER_PROF", "ITIMER_VIRTUAL", "CLOCK_PROCESS_CPUTIME_ID" };
/* By the thread that took them. */
static long samples[TIMERS][OTHER + 1];

static void sample(int signal)
{
	for (int timer = 0; timer < TIMERS; timer++)
		if (signals[timer] == signal)
			__atomic_fetch_add(&samples[timer][self], 1, __ATOMIC_RELAXED);
}

static timer_t process_timer;

/* Finer than the kernel's ticks, so there is one sample a tick. */
static void set_timers(long ns)
{
	struct itimerval often = { .it_value.tv_usec = ns / 1000, .it_interval.tv_usec = ns / 1000 };
	struct itimerspec by_clock = { .it_value.tv_nsec = ns, .it_interval.tv_nsec = ns };
	CHECK(setitimer(ITIMER_PROF, &often, NULL) == 0);
	CHECK(setitimer(ITIMER_VIRTUAL, &often, NULL) == 0);
	CHECK(timer_settime(process_timer, 0, &by_clock, NULL) == 0);
}

static void begin_samples(void)
{
	/* Several come at a tick. The kernel would give another thread those that are blocked while
	   the first is handled. */
	struct sigaction action = { .sa_handler = sample, .sa_flags = SA_RESTART };
	signals[2] = SIGRTMIN + 1;
	for (int timer = 0; timer < TIMERS; timer++)
		CHECK(sigaction(signals[timer], &action, NULL) == 0);
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = signals[2] };
	CHECK(timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &process_timer) == 0);
	set_timers(1000000);
}

int main(int count, char **words)
{
	CHECK(count > 1);
	rounds = atoi(words[1]);
	const int is_sampled = count > 2;
	pthread_t waiting[WAITING], computing[COMPUTING];
	uint64_t results[COMPUTING];
	CHECK(pipe(ends) == 0);
	pthread_barrier_init(&begin, NULL, WAITING + COMPUTING);
	pthread_barrier_init(&next, NULL, COMPUTING);
	pthread_barrier_init(&end, NULL, WAITING - READING + 1);
	if (is_sampled)
		begin_samples();
	for (int i = 0; i < WAITING; i++)
		CHECK(pthread_create(&waiting[i], NULL, i < READING ? reads : waits, NULL) == 0);
	CHECK(pthread_create(&computing[0], NULL, runs_three, &results[0]) == 0);
	CHECK(pthread_create(&computing[1], NULL, runs_one, &results[1]) == 0);
	for (int i = 0; i < COMPUTING; i++)
		pthread_join(computing[i], NULL);
	if (is_sampled)
		set_timers(0);
	CHECK(write(ends[1], "ab", READING) == READING);
	pthread_barrier_wait(&end);
	for (int i = 0; i < WAITING; i++)
		pthread_join(waiting[i], NULL);
	for (int timer = 0; is_sampled && timer < TIMERS; timer++)
		printf("%s %ld %ld %ld\n", names[timer], samples[timer][THREE], samples[timer][ONE], samples[timer][OTHER]);
	return results[0] == results[1];
}
