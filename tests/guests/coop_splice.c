// splice, tee, vmsplice and sendfile block their own thread only, and move what they move bare.
#include "guest.h"
#include "net.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

static int in[2], out[2], sockets[2], file;
static char data[256 * 1024];

static void feed(void *unused)
{
	(void)unused;
	IS(write(in[1], "fed", 3), 3);
}

static size_t drained;

/* Empties the pipe until it is empty. */
static void drain(int fd)
{
	char bytes[65536];
	int flags = fcntl(fd, F_GETFL);
	IS(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
	for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) > 0;)
		drained += (size_t)n;
	IS(errno, EAGAIN);
	IS(fcntl(fd, F_SETFL, flags), 0);
}

static void make_room(void *unused)
{
	(void)unused;
	drain(out[0]);
}

static void fill(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	IS(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
	while (write(fd, data, 4096) > 0)
		;
	IS(errno, EAGAIN);
	IS(fcntl(fd, F_SETFL, flags), 0);
}

static void pipes(void)
{
	struct release release;
	release_start(&release, feed, NULL);
	IS(splice(in[0], NULL, out[1], NULL, 100, 0), 3);
	release_check(&release, "splice out of an empty pipe");
	FAILS(splice(in[0], NULL, out[1], NULL, 100, SPLICE_F_NONBLOCK), EAGAIN);
	fill(out[1]);
	feed(NULL);
	release_start(&release, make_room, NULL);
	IS(splice(in[0], NULL, out[1], NULL, 100, 0), 3);
	release_check(&release, "splice into a full pipe");
	drain(out[0]);

	release_start(&release, feed, NULL);
	IS(tee(in[0], out[1], 100, 0), 3);
	release_check(&release, "tee out of an empty pipe");
	drain(in[0]);
	fill(out[1]);
	feed(NULL);
	release_start(&release, make_room, NULL);
	IS(tee(in[0], out[1], 100, 0), 3);
	release_check(&release, "tee into a full pipe");
	drain(in[0]);
	drain(out[0]);

	struct iovec iov = { data, 4096 };
	fill(out[1]);
	release_start(&release, make_room, NULL);
	IS(vmsplice(out[1], &iov, 1, 0), 4096);
	release_check(&release, "vmsplice into a full pipe");
	drain(out[0]);
	char back[4096];
	struct iovec to = { back, sizeof back };
	release_start(&release, feed, NULL);
	IS(vmsplice(in[0], &to, 1, 0), 3);
	release_check(&release, "vmsplice out of an empty pipe");
	CHECK(memcmp(back, "fed", 3) == 0);

	FAILS(splice(in[0], NULL, file, NULL, 0x7fffffff, SPLICE_F_NONBLOCK), EAGAIN);
	release_start(&release, feed, NULL);
	IS(splice(in[0], NULL, file, NULL, 100, 0), 3);
	release_check(&release, "splice into a file");
	fill(out[1]);
	loff_t offset = 0;
	release_start(&release, make_room, NULL);
	IS(splice(file, &offset, out[1], NULL, 3, 0), 3);
	release_check(&release, "splice out of a file");
	IS(offset, 3);
	drain(out[0]);
	FAILS(splice(-1, NULL, out[1], NULL, 1, 0), EBADF);
	FAILS(splice(file, NULL, file, NULL, 1, 0), EINVAL);
	FAILS(tee(in[0], file, 1, 0), EINVAL);
	FAILS(vmsplice(file, &iov, 1, 0), EBADF);
}

/* Reads a whole megabyte's worth from the far end, slowly at first. */
static size_t want;

static void *consume(void *unused)
{
	size_t have = 0;
	char bytes[65536];
	sleep_ms(20);
	while (have < want) {
		ssize_t n = read(sockets[1], bytes, sizeof bytes);
		CHECK(n > 0);
		for (ssize_t i = 0; i < n; i++)
			CHECK(bytes[i] == data[(have + (size_t)i) % sizeof data]);
		have += (size_t)n;
	}
	return unused;
}

static void send_word(void *unused)
{
	(void)unused;
	IS(write(sockets[1], "word", 4), 4);
}

static void empty_socket(void *unused)
{
	(void)unused;
	drain(sockets[1]);
}

static int tcp_end;

static void send_tcp_word(void *unused)
{
	(void)unused;
	IS(write(tcp_end, "word", 4), 4);
}

static void stream(void)
{
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	for (size_t at = 0; at < sizeof data; at++)
		data[at] = (char)(at * 31 % 251);
	IS(ftruncate(file, 0), 0);
	for (int i = 0; i < 8; i++)
		IS(pwrite(file, data, sizeof data, (off_t)(i * sizeof data)), sizeof data);
	want = 8 * sizeof data;
	struct ticker ticker;
	ticker_start(&ticker);
	pthread_t reader = start(consume, NULL);
	off_t offset = 0;
	IS(sendfile(sockets[0], file, &offset, want), want);
	IS(offset, want);
	join(reader);
	atomic_store(&ticker.stop, true);
	join(ticker.thread);
	IS(fcntl(sockets[0], F_GETFL) & O_NONBLOCK, 0);
	puts("sendfile sends all of it");

	/* From a file of no more than that. */
	want = sizeof data;
	reader = start(consume, NULL);
	offset = 7 * (off_t)sizeof data;
	IS(sendfile(sockets[0], file, &offset, 3 * sizeof data), sizeof data);
	join(reader);
	IS(sendfile(sockets[0], file, &offset, 10), 0);

	struct release release;
	release_start(&release, send_word, NULL);
	IS(splice(sockets[0], NULL, out[1], NULL, 100, 0), 4);
	release_check(&release, "splice out of a socket");
	drain(out[0]);
	FAILS(splice(sockets[0], NULL, out[1], NULL, 100, SPLICE_F_NONBLOCK), EAGAIN);
	int pair[2];
	tcp_pair(pair);
	tcp_end = pair[1];
	release_start(&release, send_tcp_word, NULL);
	IS(splice(pair[0], NULL, out[1], NULL, 100, SPLICE_F_NONBLOCK), 4);
	release_check(&release, "splice out of a TCP socket into a pipe that is not to wait");
	drain(out[0]);

	/* A socket takes all that the pipe holds, however long it is full. */
	drained = 0;
	fill(sockets[0]);
	IS(write(in[1], data, 60000), 60000);
	release_start(&release, empty_socket, NULL);
	IS(splice(in[0], NULL, sockets[0], NULL, 60000, 0), 60000);
	release_check(&release, "splice into a full socket");
	drain(sockets[1]);
	IS(fcntl(sockets[0], F_GETFL) & O_NONBLOCK, 0);
}

static atomic_int pipe_signals;

static void count(int signal)
{
	(void)signal;
	atomic_fetch_add(&pipe_signals, 1);
}

static void broken(void)
{
	struct sigaction action = { .sa_handler = count };
	IS(sigaction(SIGPIPE, &action, NULL), 0);
	int dead[2];
	IS(pipe(dead), 0);
	IS(close(dead[0]), 0);
	feed(NULL);
	FAILS(splice(in[0], NULL, dead[1], NULL, 3, 0), EPIPE);
	IS(atomic_load(&pipe_signals), 1);
	off_t offset = 0;
	FAILS(sendfile(dead[1], file, &offset, 3), EPIPE);
	IS(atomic_load(&pipe_signals), 2);
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	IS(close(sockets[1]), 0);
	FAILS(sendfile(sockets[0], file, &offset, 3), EPIPE);
	FAILS(sendfile(sockets[0], -1, &offset, 3), EBADF);
	FAILS(sendfile(sockets[0], file, unmapped, 3), EFAULT);
	printf("%d signals for broken pipes\n", atomic_load(&pipe_signals));
}

int main(void)
{
	char name[] = "/tmp/coop_splice_XXXXXX";
	file = mkstemp(name);
	CHECK(file >= 0);
	IS(unlink(name), 0);
	IS(pipe(in), 0);
	IS(pipe(out), 0);
	pipes();
	stream();
	broken();
	return 0;
}
