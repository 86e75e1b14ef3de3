// What poll and select report: bad and closed descriptors, hang-up, errors, writability, many at once.
#include "net.h"
#include <limits.h>
#include <poll.h>
#include <sys/select.h>

static int ends[2];

static void *closes_writer(void *unused)
{
	(void)unused;
	sleep_ms(5);
	close(ends[1]);
	return NULL;
}

static void write_one(void *fd)
{
	IS(write(*(int *)fd, "x", 1), 1);
}

static void *body(void *unused)
{
	char byte;
	(void)unused;
	struct pollfd fds[3];
	fds[0] = (struct pollfd){ -1, POLLIN, 77 };
	IS(poll(fds, 1, 0), 0);
	IS(fds[0].revents, 0);
	IS(poll(fds, 1, 20), 0);
	int gone = dup(0);
	close(gone);
	fds[0] = (struct pollfd){ gone, POLLIN, 0 };
	IS(poll(fds, 1, -1), 1);
	IS(fds[0].revents, POLLNVAL);

	IS(pipe(ends), 0);
	fds[0] = (struct pollfd){ ends[0], POLLIN, 0 };
	fds[1] = (struct pollfd){ ends[1], POLLOUT, 0 };
	fds[2] = (struct pollfd){ gone, POLLIN, 0 };
	if (gone == ends[0] || gone == ends[1])
		fds[2].fd = 9999;
	IS(poll(fds, 3, -1), 2);
	CHECK(fds[0].revents == 0 && fds[1].revents == POLLOUT && fds[2].revents == POLLNVAL);
	fds[1].events = 0;
	IS(poll(fds, 2, 20), 0);

	pthread_t closer = start(closes_writer, NULL);
	IS(poll(fds, 1, -1), 1);
	IS(fds[0].revents, POLLHUP);
	join(closer);
	IS(read(ends[0], &byte, 1), 0);
	fds[0].events = 0; /* hang-up is reported unasked */
	IS(poll(fds, 1, -1), 1);
	IS(fds[0].revents, POLLHUP);
	close(ends[0]);

	IS(pipe(ends), 0);
	close(ends[0]);
	fds[0] = (struct pollfd){ ends[1], POLLOUT, 0 };
	IS(poll(fds, 1, -1), 1);
	IS(fds[0].revents, POLLOUT | POLLERR);
	close(ends[1]);

	int pair[2];
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	IS(shutdown(pair[1], SHUT_WR), 0);
	fds[0] = (struct pollfd){ pair[0], POLLIN | POLLRDHUP, 0 };
	IS(poll(fds, 1, -1), 1);
	IS(fds[0].revents, POLLIN | POLLRDHUP);
	close(pair[1]);
	IS(poll(fds, 1, -1), 1);
	IS(fds[0].revents, POLLIN | POLLRDHUP | POLLHUP);
	close(pair[0]);

	FAILS(poll(unmapped, 1, 10), EFAULT);
	FAILS(poll(unmapped, UINT_MAX, 10), EINVAL);
	struct timespec bad = { 0, 1000000000 };
	FAILS(ppoll(NULL, 0, &bad, NULL), EINVAL);

	fd_set reading, writing;
	IS(pipe(ends), 0);
	FD_ZERO(&reading);
	FD_ZERO(&writing);
	FD_SET(ends[0], &reading);
	FD_SET(ends[1], &writing);
	int highest = (ends[0] > ends[1] ? ends[0] : ends[1]) + 1;
	IS(select(highest, &reading, &writing, NULL, NULL), 1);
	CHECK(!FD_ISSET(ends[0], &reading) && FD_ISSET(ends[1], &writing));
	IS(write(ends[1], "x", 1), 1);
	FD_SET(ends[0], &reading);
	IS(select(highest, &reading, &writing, NULL, NULL), 2);
	IS(select(ends[0], &reading, NULL, NULL, &(struct timeval){ 0, 10000 }), 0); /* not below nfds */
	close(ends[0]);
	FD_SET(ends[0], &reading);
	FAILS(select(highest, &reading, NULL, NULL, NULL), EBADF);
	FAILS(select(-1, NULL, NULL, NULL, NULL), EINVAL);
	FAILS(select(0, NULL, NULL, NULL, &(struct timeval){ -1, 0 }), EINVAL);
	close(ends[1]);

	/* Data has several names. */
	struct release release;
	IS(pipe(ends), 0);
	fds[0] = (struct pollfd){ ends[0], POLLRDNORM, 0 };
	release_start(&release, write_one, &ends[1]);
	IS(poll(fds, 1, -1), 1);
	release_check(&release, "poll for POLLRDNORM");
	IS(fds[0].revents, POLLRDNORM);
	close(ends[0]);
	close(ends[1]);

	/* Regular files are always ready. */
	int file = open("/proc/self/exe", O_RDONLY);
	fds[0] = (struct pollfd){ file, POLLIN | POLLOUT, 0 };
	IS(poll(fds, 1, -1), 1);
	IS(fds[0].revents, POLLIN | POLLOUT);
	close(file);
	return NULL;
}

int main(void)
{
	struct ticker ticker;
	body(NULL);
	ticker_start(&ticker);
	body(NULL);
	join(start(body, NULL));
	sleep_ms(200);
	ticker_check(&ticker, "all together");
	return 0;
}
