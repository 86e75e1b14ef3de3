// ITIMER_VIRTUAL and ITIMER_PROF count what threads compute, ITIMER_REAL what passes: rates, one shots, old values, errors.
#include "guest.h"
#include <signal.h>
#include <sys/time.h>

static atomic_int alarms[3];
static const int kinds[3] = { ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF };
static const int signals[3] = { SIGALRM, SIGVTALRM, SIGPROF };
static atomic_bool enough;

static void on_signal(int signal)
{
	for (int i = 0; i < 3; i++)
		if (signals[i] == signal)
			atomic_fetch_add(&alarms[i], 1);
}

static void *computes(void *unused)
{
	while (!atomic_load(&enough))
		;
	return unused;
}

static struct itimerval every_ms(int ms, bool again)
{
	return (struct itimerval){ .it_value = { 0, ms * 1000 }, .it_interval = { 0, again ? ms * 1000 : 0 } };
}

static void set(int i, int ms, bool again)
{
	struct itimerval value = every_ms(ms, again);
	IS(setitimer(kinds[i], &value, NULL), 0);
}

/* By itself, or while another thread computes for it. */
static void *each_kind(void *by_another)
{
	for (int i = 0; i < 3; i++) {
		atomic_store(&alarms[i], 0);
		set(i, 10, true);
		while (atomic_load(&alarms[i]) < 5)
			if (by_another)
				sleep_ms(1);
		struct itimerval off = { 0 }, old, now;
		IS(getitimer(kinds[i], &now), 0);
		CHECK(now.it_interval.tv_sec == 0 && now.it_interval.tv_usec > 0);
		IS(setitimer(kinds[i], &off, &old), 0);
		CHECK(old.it_interval.tv_usec == now.it_interval.tv_usec);
		IS(getitimer(kinds[i], &now), 0);
		CHECK(!now.it_value.tv_sec && !now.it_value.tv_usec);
		/* One that was on its way may still come; then a stopped one sends no more. */
		int last, looks = 0;
		do {
			CHECK(looks++ < 50);
			last = atomic_load(&alarms[i]);
			sleep_ms(30);
		} while (atomic_load(&alarms[i]) != last);
		atomic_store(&alarms[i], 0);
		set(i, 5, false);
		/* Late ones of before may be the first; once it has expired it is off. */
		do {
			if (by_another)
				sleep_ms(1);
			IS(getitimer(kinds[i], &now), 0);
			CHECK(!now.it_interval.tv_sec && !now.it_interval.tv_usec);
		} while (atomic_load(&alarms[i]) < 1 || now.it_value.tv_sec || now.it_value.tv_usec);
	}
	return NULL;
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	for (int i = 0; i < 3; i++)
		IS(sigaction(signals[i], &action, NULL), 0);

	join(start(each_kind, NULL));
	puts("by a thread that computes");
	pthread_t other = start(computes, NULL);
	join(start(each_kind, (void *)1));
	each_kind((void *)1);
	puts("by one that sleeps while another computes");

	/* Time that all threads sleep is not counted. */
	atomic_store(&enough, true);
	join(other);
	other = start(computes, NULL);
	join(other);
	set(1, 300, false);
	set(2, 300, false);
	atomic_store(&alarms[1], 0);
	atomic_store(&alarms[2], 0);
	sleep_ms(400);
	IS(atomic_load(&alarms[1]) + atomic_load(&alarms[2]), 0);
	puts("sleep is not counted");

	struct itimerval bad = { .it_value = { 0, 1000000 } };
	FAILS(setitimer(ITIMER_REAL, &bad, NULL), EINVAL);
	FAILS(setitimer(7, &bad, NULL), EINVAL);
	FAILS(getitimer(ITIMER_REAL, unmapped), EFAULT);

	/* alarm's and setitimer's timer is one. */
	struct itimerval now = { .it_value = { 20, 0 } };
	IS(setitimer(ITIMER_REAL, &now, NULL), 0);
	CHECK(alarm(10) > 1);
	IS(getitimer(ITIMER_REAL, &now), 0);
	CHECK(now.it_value.tv_sec < 10);
	CHECK(alarm(0) > 1);
	puts("alarm shares it");
	return 0;
}
