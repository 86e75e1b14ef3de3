// Descriptors that never change, such as files and /dev/null, in sets that are waited for all the same.
#include "net.h"
#include <poll.h>
#include <sys/select.h>

static void write_one(void *fd)
{
	IS(write(*(int *)fd, "x", 1), 1);
}

static void *body(void *unused)
{
	struct ticker ticker;
	int ends[2];
	char byte;
	(void)unused;
	int file = open("/proc/self/exe", O_RDONLY), null = open("/dev/null", O_RDWR);
	CHECK(file >= 0 && null >= 0);
	IS(pipe(ends), 0);
	fd_set reading, except;
	FD_ZERO(&except);
	FD_SET(file, &except);
	FD_SET(null, &except);
	struct timeval quarter = { 0, 250000 };
	ticker_start(&ticker);
	IS(select(null + 1, NULL, NULL, &except, &quarter), 0);
	ticker_check(&ticker, "select");
	CHECK(!FD_ISSET(file, &except));

	struct pollfd fds[3] = { { file, POLLPRI, 0 }, { null, 0, 0 }, { ends[0], POLLIN, 0 } };
	ticker_start(&ticker);
	IS(poll(fds, 3, 250), 0);
	ticker_check(&ticker, "poll");
	BLOCKS("poll", write_one, &ends[1], 1, poll(fds, 3, -1));
	CHECK(fds[0].revents == 0 && fds[1].revents == 0 && fds[2].revents == POLLIN);
	IS(read(ends[0], &byte, 1), 1);
	FD_ZERO(&reading);
	FD_SET(ends[0], &reading);
	FD_SET(file, &except);
	BLOCKS("select", write_one, &ends[1], 1, select(ends[0] + 1, &reading, NULL, &except, NULL));
	CHECK(FD_ISSET(ends[0], &reading) && !FD_ISSET(file, &except));
	for (int i = 0; i < 2; i++)
		close(ends[i]);
	close(file);
	close(null);
	return NULL;
}

int main(void)
{
	body(NULL);
	join(start(body, NULL));
	return 0;
}
