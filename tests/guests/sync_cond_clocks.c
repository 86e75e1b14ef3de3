// Condition time-outs on both clocks, by attribute and by clockwait; signal before time-out wins.
#include "guest.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t monotonic, realtime = PTHREAD_COND_INITIALIZER;
static bool set;

static void *sets(void *raw)
{
	OK(pthread_mutex_lock(&mutex));
	set = true;
	OK(pthread_cond_signal(raw));
	OK(pthread_mutex_unlock(&mutex));
	return NULL;
}

static void in_time(pthread_cond_t *condition, clockid_t clock)
{
	struct timespec until = in_ms(clock, 30000);
	set = false;
	pthread_t thread = start(sets, condition);
	while (!set)
		OK(pthread_cond_timedwait(condition, &mutex, &until));
	OK(pthread_mutex_unlock(&mutex));
	join(thread);
	OK(pthread_mutex_lock(&mutex));
}

static void too_late(pthread_cond_t *condition, clockid_t clock, bool by_attribute)
{
	struct timespec until = in_ms(clock, 40);
	int64_t wanted = until.tv_sec * INT64_C(1000000000) + until.tv_nsec;
	int result;
	do /* a wake-up without a reason is allowed */
		result = by_attribute ? pthread_cond_timedwait(condition, &mutex, &until) :
					pthread_cond_clockwait(condition, &mutex, clock, &until);
	while (result == 0);
	IS(result, ETIMEDOUT);
	CHECK(now_ns(clock) >= wanted);
	IS(pthread_mutex_trylock(&mutex), EBUSY); /* it is ours again */
}

int main(void)
{
	pthread_condattr_t attributes;
	OK(pthread_condattr_init(&attributes));
	OK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC));
	OK(pthread_cond_init(&monotonic, &attributes));
	OK(pthread_mutex_lock(&mutex));
	too_late(&monotonic, CLOCK_MONOTONIC, true);
	too_late(&realtime, CLOCK_REALTIME, true);
	too_late(&realtime, CLOCK_MONOTONIC, false);
	too_late(&monotonic, CLOCK_REALTIME, false);
	puts("timed out");
	in_time(&monotonic, CLOCK_MONOTONIC);
	in_time(&realtime, CLOCK_REALTIME);
	struct timespec bad = { 0, 1000000000 }, past = { 1, 0 };
	IS(pthread_cond_timedwait(&realtime, &mutex, &bad), EINVAL);
	IS(pthread_cond_timedwait(&realtime, &mutex, &past), ETIMEDOUT);
	puts("in time");
	return 0;
}
