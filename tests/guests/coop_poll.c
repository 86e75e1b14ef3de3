// poll, ppoll, select, pselect, epoll_wait, epoll_pwait and epoll_pwait2 block their own thread only.
#include "net.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

static void write_one(void *fd)
{
	IS(write(*(int *)fd, "x", 1), 1);
}

static void take(int fd)
{
	char byte;
	IS(read(fd, &byte, 1), 1);
}

static struct pollfd one(int fd)
{
	return (struct pollfd){ fd, POLLIN, 0 };
}

static void through(int reader, int writer)
{
	struct pollfd wanted = one(reader);
	struct timespec long_time = { 100, 0 };
	struct timeval long_timeval = { 100, 0 };
	fd_set set;
	BLOCKS("poll", write_one, &writer, 1, poll(&wanted, 1, -1));
	IS(wanted.revents, POLLIN);
	take(reader);
	BLOCKS("poll with a time-out", write_one, &writer, 1, poll(&wanted, 1, 100000));
	take(reader);
	BLOCKS("ppoll", write_one, &writer, 1, ppoll(&wanted, 1, NULL, NULL));
	take(reader);
	BLOCKS("ppoll with a time-out", write_one, &writer, 1, ppoll(&wanted, 1, &long_time, NULL));
	take(reader);
	FD_ZERO(&set);
	FD_SET(reader, &set);
	BLOCKS("select", write_one, &writer, 1, select(reader + 1, &set, NULL, NULL, NULL));
	CHECK(FD_ISSET(reader, &set));
	take(reader);
	BLOCKS("select with a time-out", write_one, &writer, 1,
	       select(reader + 1, &set, NULL, NULL, &long_timeval));
	CHECK(long_timeval.tv_sec < 100); /* Linux says how much is left */
	take(reader);
	BLOCKS("pselect", write_one, &writer, 1, pselect(reader + 1, &set, NULL, NULL, &long_time, NULL));
	CHECK(long_time.tv_sec == 100);
	take(reader);

	int epoll = epoll_create1(0);
	struct epoll_event event = { EPOLLIN, { .u64 = 0x1234567890 } }, got;
	IS(epoll_ctl(epoll, EPOLL_CTL_ADD, reader, &event), 0);
	BLOCKS("epoll_wait", write_one, &writer, 1, epoll_wait(epoll, &got, 1, -1));
	CHECK(got.events == EPOLLIN && got.data.u64 == 0x1234567890);
	take(reader);
	BLOCKS("epoll_pwait", write_one, &writer, 1, epoll_pwait(epoll, &got, 1, 100000, NULL));
	take(reader);
	BLOCKS("epoll_pwait2", write_one, &writer, 1, epoll_pwait2(epoll, &got, 1, &long_time, NULL));
	take(reader);
	close(epoll);
}

int main(void)
{
	int ends[2];
	struct ticker ticker;
	struct timespec quarter = { 0, 250 * MS };
	struct timeval quarter_timeval = { 0, 250000 };
	IS(pipe(ends), 0);
	through(ends[0], ends[1]);
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	through(ends[0], ends[1]);

	struct pollfd wanted = one(ends[0]);
	fd_set set;
	ticker_start(&ticker);
	IS(poll(&wanted, 1, 250), 0);
	ticker_check(&ticker, "poll");
	ticker_start(&ticker);
	IS(poll(NULL, 0, 250), 0);
	ticker_check(&ticker, "poll of nothing");
	ticker_start(&ticker);
	IS(ppoll(&wanted, 1, &quarter, NULL), 0);
	ticker_check(&ticker, "ppoll");
	FD_ZERO(&set);
	FD_SET(ends[0], &set);
	ticker_start(&ticker);
	IS(select(ends[0] + 1, &set, NULL, NULL, &quarter_timeval), 0);
	CHECK(!FD_ISSET(ends[0], &set));
	CHECK(quarter_timeval.tv_sec == 0 && quarter_timeval.tv_usec == 0);
	ticker_check(&ticker, "select");
	quarter_timeval.tv_usec = 250000;
	ticker_start(&ticker);
	IS(select(0, NULL, NULL, NULL, &quarter_timeval), 0);
	ticker_check(&ticker, "select of nothing");
	ticker_start(&ticker);
	IS(pselect(ends[0] + 1, &set, NULL, NULL, &quarter, NULL), 0);
	ticker_check(&ticker, "pselect");
	int epoll = epoll_create1(0);
	struct epoll_event event;
	ticker_start(&ticker);
	IS(epoll_wait(epoll, &event, 1, 250), 0);
	ticker_check(&ticker, "epoll_wait");
	ticker_start(&ticker);
	IS(epoll_pwait2(epoll, &event, 1, &quarter, NULL), 0);
	ticker_check(&ticker, "epoll_pwait2");
	return 0;
}
