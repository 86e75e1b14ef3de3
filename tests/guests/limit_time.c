/*
 * RLIMIT_CPU, RLIMIT_RTTIME and RLIMIT_CORE in a program with threads: SIGXCPU comes after the soft
 * limit, SIGKILL after the hard one, and abort ends as bare.
 */
#include <signal.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "guest.h"

static atomic_int told;

static void handler(int signal)
{
	CHECK(signal == SIGXCPU);
	atomic_fetch_add(&told, 1);
}

static void *spins(void *unused)
{
	while (!atomic_load(&told))
		;
	return unused;
}

static void *spins_for_ever(void *unused)
{
	(void)unused;
	for (;;)
		atomic_load(&told);
}

static void *sleeps(void *unused)
{
	sleep_ms(20);
	return unused;
}

static void is_told(void)
{
	struct sigaction action = { .sa_handler = handler };
	IS(sigaction(SIGXCPU, &action, NULL), 0);
	const struct rlimit limit = { 1, 20 };
	IS(setrlimit(RLIMIT_CPU, &limit), 0);
	join(start(spins, NULL));
	CHECK(atomic_load(&told) > 0);
	CHECK(now_ns(CLOCK_PROCESS_CPUTIME_ID) >= INT64_C(800000000));
	struct rlimit now;
	IS(getrlimit(RLIMIT_CPU, &now), 0);
	printf("limit now %d, ", (int)now.rlim_cur);
}

static void is_ended(void)
{
	const struct rlimit limit = { 1, 20 };
	IS(setrlimit(RLIMIT_CPU, &limit), 0);
	join(start(spins_for_ever, NULL));
}

static void is_killed(void)
{
	const struct rlimit limit = { 1, 1 };
	IS(setrlimit(RLIMIT_CPU, &limit), 0);
	join(start(spins_for_ever, NULL));
}

/* Without a real-time policy it means nothing. */
static void has_real_time(void)
{
	const struct rlimit limit = { 1000, 2000 };
	IS(setrlimit(RLIMIT_RTTIME, &limit), 0);
	pthread_t thread = start(sleeps, NULL);
	int64_t end = now_ns(CLOCK_MONOTONIC) + 30000000;
	while (now_ns(CLOCK_MONOTONIC) < end)
		;
	join(thread);
}

static void aborts(void)
{
	const struct rlimit limit = { 0, 0 };
	IS(setrlimit(RLIMIT_CORE, &limit), 0);
	join(start(sleeps, NULL));
	abort();
}

int main(void)
{
	void (*const all[])(void) = { is_told, is_ended, is_killed, has_real_time, aborts };
	for (size_t i = 0; i < COUNT(all); i++) {
		fflush(stdout);
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			all[i]();
			fflush(stdout);
			_exit(0);
		}
		int status;
		IS(waitpid(child, &status, 0), child);
		printf("%zu: %x\n", i, (unsigned)status & 0xff7f);
	}
	return 0;
}
