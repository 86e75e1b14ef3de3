// A number that is closed where no site sees it, and used again, is the new file's for whoever waits.
// guest: limit=120
#include "jit.h"
#include <fcntl.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

enum { NUMBER = 77, FULL = 1 << 21 };

static raw_call *raw;

/* Ways to close the number. */

static void by_made_code(void)
{
	IS(raw(SYS_close, NUMBER, 0, 0, 0, 0, 0), 0);
}

/* False: the kernel lets nobody have such a ring. */
static bool by_ring(void)
{
	struct io_uring_params params = { 0 };
	int ring = (int)syscall(SYS_io_uring_setup, 8, &params);
	if (ring < 0)
		return false;
	char *queue = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	struct io_uring_sqe *entry =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	CHECK(queue != MAP_FAILED && (void *)entry != MAP_FAILED);
	memset(entry, 0, sizeof *entry);
	entry->opcode = IORING_OP_CLOSE;
	entry->fd = NUMBER;
	*(unsigned *)(queue + params.sq_off.array) = 0;
	__atomic_store_n((unsigned *)(queue + params.sq_off.tail), 1, __ATOMIC_RELEASE);
	IS(syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0), 1);
	IS(munmap(queue, 65536), 0);
	IS(munmap(entry, 4096), 0);
	IS(close(ring), 0);
	return true;
}

static void by_other_process(void)
{
	pid_t child = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	CHECK(child >= 0);
	if (child == 0) {
		close(NUMBER);
		_exit(0);
	}
	IS(waitpid(child, NULL, 0), child);
}

static bool by_range(void)
{
	if (syscall(SYS_close_range, NUMBER, NUMBER, 2 /* CLOSE_RANGE_UNSHARE */) == 0)
		return true;
	CHECK(errno == ENOSYS);
	return false;
}

/* Puts a new file at the number, where another one is. */
static void replace(int way, int with)
{
	bool closed = true;
	switch (way) {
	case 0:
		IS(raw(SYS_dup2, with, NUMBER, 0, 0, 0, 0), NUMBER);
		IS(close(with), 0);
		return;
	case 1:
		by_made_code();
		IS(raw(SYS_fcntl, with, F_DUPFD, NUMBER, 0, 0, 0), NUMBER);
		IS(close(with), 0);
		return;
	case 2:
		by_made_code();
		break;
	case 3:
		closed = by_range();
		break;
	case 4:
		by_other_process();
		break;
	default:
		closed = by_ring();
		break;
	}
	if (!closed)
		by_made_code();
	IS(fcntl(with, F_DUPFD, NUMBER), NUMBER);
	IS(close(with), 0);
}

/* What was at the number before, and was used there. */

static char first_bytes[16];

static void *reads(void *unused)
{
	(void)unused;
	return (void *)read(NUMBER, first_bytes, sizeof first_bytes);
}

static void use_first(int kind)
{
	int ends[2] = { -1, -1 };
	switch (kind) {
	case 0:
	case 1:
		IS(socketpair(AF_UNIX, SOCK_STREAM | (kind ? SOCK_NONBLOCK : 0), 0, ends), 0);
		break;
	case 2:
		IS(pipe(ends), 0);
		break;
	default:
		ends[0] = open("/dev/null", O_RDWR);
		CHECK(ends[0] >= 0);
	}
	IS(dup2(ends[0], NUMBER), NUMBER);
	IS(close(ends[0]), 0);
	if (kind == 3) {
		IS(write(NUMBER, "x", 1), 1);
		return;
	}
	struct pollfd one = { .fd = NUMBER, .events = POLLIN };
	IS(poll(&one, 1, 0), 0);
	if (kind == 1)
		FAILS(read(NUMBER, first_bytes, 1), EAGAIN);
	pthread_t thread = start(reads, NULL);
	if (kind == 1) {
		join(thread);
	} else {
		sleep_ms(2);
		IS(write(ends[1], "x", 1), 1);
		IS((long)join(thread), 1);
	}
	IS(close(ends[1]), 0);
}

/* Waits: each makes a pair of ends, of which one waits at the number. */

struct wait {
	const char *name;
	int (*make)(int *other);	/* the end for the number */
	long (*wait)(void);
	void (*end)(int other);
};

static int make_pipe(int *other)
{
	int ends[2];
	IS(pipe(ends), 0);
	*other = ends[1];
	return ends[0];
}

static int make_full_pipe(int *other)
{
	int ends[2];
	static char bytes[4096];
	IS(pipe(ends), 0);
	IS(fcntl(ends[1], F_SETPIPE_SZ, sizeof bytes), sizeof bytes);
	IS(write(ends[1], bytes, sizeof bytes), sizeof bytes);
	*other = ends[0];
	return ends[1];
}

static int make_pair(int *other)
{
	int ends[2];
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	*other = ends[1];
	return ends[0];
}

static int make_nonblocking(int *other)
{
	int end = make_pair(other);
	IS(fcntl(end, F_SETFL, O_NONBLOCK), 0);
	return end;
}

static int make_listening(int *other)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int end = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(end >= 0);
	IS(bind(end, (struct sockaddr *)&address, sizeof(sa_family_t)), 0);
	IS(listen(end, 5), 0);
	*other = fcntl(end, F_DUPFD, 0);
	return end;
}

static int make_set(int *other)
{
	struct epoll_event event = { .events = EPOLLIN };
	int end = epoll_create1(0), inner = eventfd(0, 0);
	CHECK(end >= 0 && inner >= 0);
	IS(epoll_ctl(end, EPOLL_CTL_ADD, inner, &event), 0);
	*other = inner;
	return end;
}

static int make_counter(int *other)
{
	int end = eventfd(0, 0);
	*other = fcntl(end, F_DUPFD, 0);
	return end;
}

static long wait_read(void)
{
	char bytes[8];
	return read(NUMBER, bytes, sizeof bytes);
}

static long wait_write(void)
{
	return write(NUMBER, "y", 1);
}

static long wait_recv(void)
{
	char byte;
	return recv(NUMBER, &byte, 1, 0);
}

static long wait_recvmsg(void)
{
	char byte;
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	return recvmsg(NUMBER, &message, 0);
}

static long wait_poll(void)
{
	struct pollfd one = { .fd = NUMBER, .events = POLLIN };
	return poll(&one, 1, 20000);
}

static long wait_select(void)
{
	fd_set set;
	struct timeval limit = { .tv_sec = 20 };
	FD_ZERO(&set);
	FD_SET(NUMBER, &set);
	return select(NUMBER + 1, &set, NULL, NULL, &limit);
}

static long wait_epoll(void)
{
	struct epoll_event event;
	return epoll_wait(NUMBER, &event, 1, 20000);
}

static long wait_accept(void)
{
	int fd = accept(NUMBER, NULL, NULL);
	CHECK(fd >= 0);
	IS(close(fd), 0);
	return 1;
}

static long wait_refused(void)
{
	char byte;
	errno = 0;
	return recv(NUMBER, &byte, 1, 0) < 0 && errno == EAGAIN;
}

static void end_write(int other)
{
	IS(write(other, "y", 1), 1);
}

static void end_count(int other)
{
	uint64_t one = 1;
	IS(write(other, &one, sizeof one), sizeof one);
}

static void end_read(int other)
{
	static char bytes[4096];
	IS(read(other, bytes, sizeof bytes), sizeof bytes);
}

static void end_connect(int other)
{
	struct sockaddr_un address;
	socklen_t length = sizeof address;
	IS(getsockname(other, (struct sockaddr *)&address, &length), 0);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	IS(connect(fd, (struct sockaddr *)&address, length), 0);
	IS(close(fd), 0);
}

static void end_not(int other)
{
	(void)other;
}

static const struct wait waits[] = {
	{ "read of a pipe", make_pipe, wait_read, end_write },
	{ "read of a socket", make_pair, wait_read, end_write },
	{ "read of a counter", make_counter, wait_read, end_count },
	{ "write", make_full_pipe, wait_write, end_read },
	{ "recv", make_pair, wait_recv, end_write },
	{ "recvmsg", make_pair, wait_recvmsg, end_write },
	{ "recv that does not wait", make_nonblocking, wait_refused, end_not },
	{ "poll of a socket", make_pair, wait_poll, end_write },
	{ "poll of a pipe", make_pipe, wait_poll, end_write },
	{ "select", make_pipe, wait_select, end_write },
	{ "accept", make_listening, wait_accept, end_connect },
	{ "epoll_wait", make_set, wait_epoll, end_count },
};

static atomic_bool waiting;

static void *body(void *raw_wait)
{
	const struct wait *wait = raw_wait;
	atomic_store(&waiting, true);
	return (void *)wait->wait();
}

int main(void)
{
	raw = jit_call();
	/* The ring comes last: from then on everything is doubted most. */
	for (int way = 0; way < 6; way++) {
		for (size_t i = 0; i < COUNT(waits); i++) {
			for (int first = 0; first < 4; first++) {
				int other;
				use_first(first);
				int end = waits[i].make(&other);
				replace(way, end);
				atomic_store(&waiting, false);
				pthread_t thread = start(body, (void *)&waits[i]);
				while (!atomic_load(&waiting))
					sched_yield();
				sleep_ms(1);
				waits[i].end(other);
				long result = (long)join(thread);
				CHECK(result >= 1);
				IS(close(NUMBER), 0);
				IS(close(other), 0);
			}
		}
		printf("way %d\n", way);
	}
	return 0;
}
