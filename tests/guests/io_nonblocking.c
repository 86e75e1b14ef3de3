// Descriptors the program made non-blocking answer EAGAIN, with other threads alive: pipe, eventfd, timerfd.
#include "guest.h"
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

int main(void)
{
	struct ticker ticker;
	int ends[2];
	char text[100];
	uint64_t value;
	ticker_start(&ticker);
	IS(pipe2(ends, O_NONBLOCK), 0);
	FAILS(read(ends[0], text, sizeof text), EAGAIN);
	IS(write(ends[1], "ab", 2), 2);
	IS(read(ends[0], text, sizeof text), 2);
	static char block[1 << 17];
	ssize_t part = write(ends[1], block, sizeof block);
	CHECK(part > 0 && part < (ssize_t)sizeof block);
	FAILS(write(ends[1], block, 4096), EAGAIN);
	close(ends[1]);
	while (read(ends[0], block, sizeof block) > 0)
		;
	IS(read(ends[0], text, 1), 0);
	puts("pipe");

	/* The flag belongs to the description: set through a duplicate, it holds for both. */
	IS(pipe(ends), 0);
	int copy = dup(ends[0]);
	IS(fcntl(copy, F_SETFL, O_NONBLOCK), 0);
	FAILS(read(ends[0], text, 1), EAGAIN);
	IS(fcntl(ends[0], F_SETFL, 0), 0);
	IS(write(ends[1], "x", 1), 1);
	IS(read(copy, text, 1), 1);
	puts("duplicate");

	int event = eventfd(3, EFD_NONBLOCK | EFD_SEMAPHORE);
	for (int i = 0; i < 3; i++) {
		IS(read(event, &value, 8), 8);
		IS(value, 1);
	}
	FAILS(read(event, &value, 8), EAGAIN);
	value = UINT64_MAX - 1;
	IS(write(event, &value, 8), 8);
	FAILS(write(event, &value, 8), EAGAIN);
	puts("eventfd");

	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	FAILS(read(timer, &value, 8), EAGAIN);
	struct itimerspec every = { { 0, 5 * MS }, { 0, 5 * MS } };
	IS(timerfd_settime(timer, 0, &every, NULL), 0);
	sleep_ms(250);
	IS(read(timer, &value, 8), 8);
	CHECK(value >= 40);
	puts("timerfd");
	ticker_check(&ticker, "none of them");
	return 0;
}
