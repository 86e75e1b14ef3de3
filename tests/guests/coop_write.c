// write, writev and fwrite wait for room while other threads run: pipe, socket, eventfd.
#include "guest.h"
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

static char block[1 << 16];

/* Reads until there is nothing left. */
static void drain(void *fd)
{
	static char sink[1 << 16];
	int left;
	do {
		CHECK(read(*(int *)fd, sink, sizeof sink) > 0);
		IS(ioctl(*(int *)fd, FIONREAD, &left), 0);
	} while (left > 0);
}

static void read_eight(void *fd)
{
	uint64_t value;
	IS(read(*(int *)fd, &value, 8), 8);
}

/* Fills it up, until not even one more byte fits. */
static void fill(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	IS(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
	while (write(fd, block, sizeof block) > 0)
		;
	while (write(fd, block, 1) > 0)
		;
	CHECK(errno == EAGAIN);
	IS(fcntl(fd, F_SETFL, flags), 0);
}

#define BLOCKS(name, action, argument, expected, call)                                             \
	do {                                                                                       \
		struct release release;                                                            \
		release_start(&release, action, argument);                                         \
		IS(call, expected);                                                                \
		release_check(&release, name);                                                     \
	} while (0)

int main(void)
{
	int ends[2], pair[2];
	struct iovec parts[2] = { { block, 10 }, { block, 20 } };

	IS(pipe(ends), 0);
	fill(ends[1]);
	BLOCKS("write to a pipe", drain, &ends[0], 100, write(ends[1], block, 100));
	fill(ends[1]);
	BLOCKS("writev to a pipe", drain, &ends[0], 30, writev(ends[1], parts, 2));
	fill(ends[1]);
	FILE *stream = fdopen(ends[1], "w");
	setvbuf(stream, NULL, _IONBF, 0);
	BLOCKS("fwrite to a pipe", drain, &ends[0], 50, fwrite(block, 1, 50, stream));
	fclose(stream);
	close(ends[0]);

	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fill(pair[1]);
	BLOCKS("write to a socket", drain, &pair[0], 100, write(pair[1], block, 100));
	fill(pair[1]);
	BLOCKS("writev to a socket", drain, &pair[0], 30, writev(pair[1], parts, 2));

	int event = eventfd(0, 0);
	uint64_t most = UINT64_MAX - 1, one = 1;
	IS(write(event, &most, 8), 8);
	BLOCKS("write to an eventfd", read_eight, &event, 8, write(event, &one, 8));
	most = UINT64_MAX;
	FAILS(write(event, &most, 8), EINVAL);
	return 0;
}
