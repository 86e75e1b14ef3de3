// read, readv and getc wait for data while other threads run: pipe, socket, eventfd, timerfd, FIFO.
#include "guest.h"
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

static void write_abc(void *fd)
{
	IS(write(*(int *)fd, "abc", 3), 3);
}

static void write_eight(void *fd)
{
	uint64_t value = 8;
	IS(write(*(int *)fd, &value, 8), 8);
}

static void arm(void *fd)
{
	struct itimerspec soon = { .it_value = { 0, MS } };
	IS(timerfd_settime(*(int *)fd, 0, &soon, NULL), 0);
}

static void close_it(void *fd)
{
	IS(close(*(int *)fd), 0);
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
	char text[64];
	uint64_t value = 0;
	struct iovec parts[2] = { { text, 2 }, { text + 2, 60 } };

	IS(pipe(ends), 0);
	BLOCKS("read of a pipe", write_abc, &ends[1], 3, read(ends[0], text, sizeof text));
	CHECK(!memcmp(text, "abc", 3));
	memset(text, 0, sizeof text);
	BLOCKS("readv of a pipe", write_abc, &ends[1], 3, readv(ends[0], parts, 2));
	CHECK(!memcmp(text, "abc", 3));
	FAILS(pread(ends[0], text, 1, 0), ESPIPE);
	BLOCKS("read of a pipe at its end", close_it, &ends[1], 0, read(ends[0], text, 1));
	close(ends[0]);

	IS(pipe(ends), 0);
	FILE *stream = fdopen(ends[0], "r");
	BLOCKS("getc of a pipe", write_abc, &ends[1], 'a', getc(stream));
	IS(getc(stream), 'b');
	IS(getc(stream), 'c');
	fclose(stream);
	close(ends[1]);

	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	BLOCKS("read of a socket", write_abc, &pair[1], 3, read(pair[0], text, sizeof text));
	BLOCKS("readv of a socket", write_abc, &pair[1], 3, readv(pair[0], parts, 2));
	BLOCKS("read of a socket at its end", close_it, &pair[1], 0, read(pair[0], text, 1));
	close(pair[0]);

	int event = eventfd(0, 0);
	BLOCKS("read of an eventfd", write_eight, &event, 8, read(event, &value, 8));
	CHECK(value == 8);
	FAILS(read(event, &value, 4), EINVAL);
	close(event);

	int timer = timerfd_create(CLOCK_MONOTONIC, 0);
	BLOCKS("read of a timerfd", arm, &timer, 8, read(timer, &value, 8));
	CHECK(value == 1);
	close(timer);

	char path[] = "/tmp/guest-fifo-XXXXXX";
	CHECK(mkdtemp(path) != NULL);
	char fifo[sizeof path + 5];
	snprintf(fifo, sizeof fifo, "%s/fifo", path);
	IS(mkfifo(fifo, 0600), 0);
	int both = open(fifo, O_RDWR);
	CHECK(both >= 0);
	BLOCKS("read of a FIFO", write_abc, &both, 3, read(both, text, sizeof text));
	close(both);
	unlink(fifo);
	rmdir(path);
	return 0;
}
