// Sleeps by clocks other than CLOCK_MONOTONIC: CPU time that other threads use up, and what is refused.
#include "guest.h"
#include <signal.h>

static atomic_bool enough;

static void *computes(void *unused)
{
	while (!atomic_load(&enough))
		;
	return unused;
}

static int sleeps(clockid_t clock, int flags, struct timespec time)
{
	return clock_nanosleep(clock, flags, &time, NULL);
}

static void *body(void *unused)
{
	clockid_t own;
	(void)unused;
	atomic_store(&enough, false);
	pthread_t other = start(computes, NULL);
	int64_t before = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	OK(sleeps(CLOCK_PROCESS_CPUTIME_ID, 0, timespec_of(100 * MS)));
	CHECK(now_ns(CLOCK_PROCESS_CPUTIME_ID) - before >= 100 * MS);
	OK(sleeps(CLOCK_PROCESS_CPUTIME_ID, TIMER_ABSTIME, timespec_of(before + 200 * MS)));
	CHECK(now_ns(CLOCK_PROCESS_CPUTIME_ID) - before >= 200 * MS);
	OK(clock_getcpuclockid(0, &own));
	OK(sleeps(own, 0, timespec_of(20 * MS)));
	atomic_store(&enough, true);
	join(other);
	OK(sleeps(CLOCK_PROCESS_CPUTIME_ID, TIMER_ABSTIME, timespec_of(1)));

	IS(sleeps(CLOCK_THREAD_CPUTIME_ID, 0, timespec_of(1)), EINVAL);
	IS(sleeps(CLOCK_MONOTONIC_COARSE, 0, timespec_of(1)), EOPNOTSUPP);
	IS(sleeps(12345, 0, timespec_of(1)), EINVAL);
	IS(sleeps(CLOCK_TAI, 0, (struct timespec){ 0, -1 }), EINVAL);
	IS(sleeps(CLOCK_PROCESS_CPUTIME_ID, 0, (struct timespec){ -1, 0 }), EINVAL);
	IS(clock_nanosleep(CLOCK_REALTIME, 0, unmapped, NULL), EFAULT);
	static const clockid_t clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI };
	for (size_t i = 0; i < COUNT(clocks); i++) {
		OK(sleeps(clocks[i], 0, timespec_of(1)));
		OK(sleeps(clocks[i], TIMER_ABSTIME, timespec_of(now_ns(clocks[i]) + 20 * MS)));
		OK(sleeps(clocks[i], TIMER_ABSTIME, timespec_of(0)));
	}
	return NULL;
}

int main(void)
{
	body(NULL);
	join(start(body, NULL));
	puts("every clock");
	return 0;
}
