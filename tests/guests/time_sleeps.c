// sleep, usleep, nanosleep and clock_nanosleep last as long as asked while another thread ticks.
#include "guest.h"

#define SLEEPS(ms, call)                                                                           \
	do {                                                                                       \
		struct ticker ticker;                                                              \
		ticker_start(&ticker);                                                             \
		int64_t begin = now_ns(CLOCK_MONOTONIC);                                           \
		IS(call, 0);                                                                       \
		int64_t took = now_ns(CLOCK_MONOTONIC) - begin;                                    \
		ticker_check(&ticker, #call);                                                      \
		CHECK(took >= (ms) * MS);                                                          \
		CHECK(took < 20000 * MS);                                                          \
	} while (0)

int main(void)
{
	struct timespec quarter = { 0, 250 * MS }, until;
	SLEEPS(1000, sleep(1));
	SLEEPS(250, usleep(250000));
	SLEEPS(250, nanosleep(&quarter, NULL));
	SLEEPS(250, clock_nanosleep(CLOCK_MONOTONIC, 0, &quarter, NULL));
	SLEEPS(249, clock_nanosleep(CLOCK_REALTIME, 0, &quarter, NULL));
	until = in_ms(CLOCK_MONOTONIC, 250);
	SLEEPS(249, clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL));
	until = in_ms(CLOCK_REALTIME, 250);
	SLEEPS(200, clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL));
	until = in_ms(CLOCK_MONOTONIC, -1000);
	IS(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL), 0);
	struct timespec bad = { 0, 1000000000 }, negative = { -1, 0 };
	FAILS(nanosleep(&bad, NULL), EINVAL);
	FAILS(nanosleep(&negative, NULL), EINVAL);
	IS(clock_nanosleep(CLOCK_MONOTONIC, 0, &bad, NULL), EINVAL);
	IS(clock_nanosleep(12345, 0, &quarter, NULL), EINVAL);
	struct timespec zero = { 0, 0 };
	IS(nanosleep(&zero, NULL), 0);
	return 0;
}
