// close of a socket that lingers waits, alone, until what was sent has arrived or the time is over.
#include "net.h"

static int ends[2];

static void drain(void *unused)
{
	(void)unused;
	static char sink[1 << 16];
	while (recv(ends[0], sink, sizeof sink, 0) > 0)
		;
}

static void *body(void *unused)
{
	struct linger two_seconds = { 1, 2 }, one_second = { 1, 1 }, none = { 1, 0 };
	struct release release;
	struct ticker ticker;
	char byte;
	(void)unused;
	tcp_pair(ends);
	tcp_fill(ends[1]);
	IS(setsockopt(ends[1], SOL_SOCKET, SO_LINGER, &two_seconds, sizeof two_seconds), 0);
	release_start(&release, drain, NULL);
	IS(close(ends[1]), 0);
	join(release.thread);
	close(ends[0]);
	puts("waits for what was sent");

	tcp_pair(ends);
	tcp_fill(ends[1]);
	IS(setsockopt(ends[1], SOL_SOCKET, SO_LINGER, &one_second, sizeof one_second), 0);
	ticker_start(&ticker);
	int64_t before = now_ns(CLOCK_MONOTONIC);
	IS(close(ends[1]), 0);
	CHECK(now_ns(CLOCK_MONOTONIC) - before >= 900 * MS);
	ticker_check(&ticker, "close");
	close(ends[0]);

	/* The number is free before, and a copy keeps the connection. */
	tcp_pair(ends);
	IS(send(ends[1], "x", 1, 0), 1);
	IS(setsockopt(ends[1], SOL_SOCKET, SO_LINGER, &two_seconds, sizeof two_seconds), 0);
	int copy = dup(ends[1]);
	IS(close(ends[1]), 0);
	FAILS(send(ends[1], "x", 1, 0), EBADF);
	IS(send(copy, "y", 1, 0), 1);
	IS(setsockopt(copy, SOL_SOCKET, SO_LINGER, &none, sizeof none), 0);
	IS(close(copy), 0);
	FAILS(close(copy), EBADF);
	CHECK(recv(ends[0], &byte, 1, 0) != 0);
	close(ends[0]);
	puts("copies");
	return NULL;
}

int main(void)
{
	body(NULL);
	join(start(body, NULL));
	return 0;
}
