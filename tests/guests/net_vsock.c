/*
 * Sockets of virtual machines. Where the machine can reach itself (vsock_loopback): a listener,
 * connections, data both ways, more than the buffers hold. Where it cannot: how long a connect
 * that nobody answers waits, and what ends it.
 */
#include "net.h"
#include <linux/vm_sockets.h>
#include <poll.h>
#include <signal.h>

static struct sockaddr_vm itself(unsigned port)
{
	return (struct sockaddr_vm){ .svm_family = AF_VSOCK,
				     .svm_cid = VMADDR_CID_LOCAL,
				     .svm_port = port };
}

static int try_connect(int fd, unsigned port)
{
	struct sockaddr_vm address = itself(port);
	return connect(fd, (struct sockaddr *)&address, sizeof address);
}

static int vsock(int kind, int connect_ms)
{
	int fd = socket(AF_VSOCK, kind, 0);
	CHECK(fd >= 0);
	struct timeval time = { connect_ms / 1000, connect_ms % 1000 * 1000 };
	IS(setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD, &time, sizeof time), 0);
	return fd;
}

enum { LARGE = 4 << 20 };

/* Gives back all that comes, until the other side has no more. */
static void *echoes(void *raw)
{
	int fd = accept(*(int *)raw, NULL, NULL);
	static char block[1 << 16];
	ssize_t length;
	CHECK(fd >= 0);
	while ((length = recv(fd, block, sizeof block, 0)) > 0)
		for (ssize_t sent = 0; sent < length;) {
			ssize_t part = send(fd, block + sent, (size_t)(length - sent), 0);
			CHECK(part > 0);
			sent += part;
		}
	IS(length, 0);
	IS(close(fd), 0);
	return NULL;
}

static void *sends_much(void *raw)
{
	static char block[1 << 16];
	int fd = *(int *)raw;
	for (long sent = 0; sent < LARGE;) {
		ssize_t part = send(fd, block, sizeof block, 0);
		CHECK(part > 0);
		sent += part;
	}
	IS(shutdown(fd, SHUT_WR), 0);
	return NULL;
}

static void connect_now(void *raw)
{
	int *fds = raw;
	struct sockaddr_vm bound;
	socklen_t length = sizeof bound;
	IS(getsockname(fds[0], (struct sockaddr *)&bound, &length), 0);
	IS(try_connect(fds[1], bound.svm_port), 0);
}

static void send_now(void *raw)
{
	IS(send(*(int *)raw, "x", 1, 0), 1);
}

static void with_itself(int listener)
{
	struct release release;
	char byte;
	int fds[2] = { listener, vsock(SOCK_STREAM, 2000) };
	release_start(&release, connect_now, fds);
	int accepted = accept(listener, NULL, NULL);
	release_check(&release, "accept");
	CHECK(accepted >= 0);
	release_start(&release, send_now, &accepted);
	IS(recv(fds[1], &byte, 1, 0), 1);
	release_check(&release, "recv");
	IS(close(accepted), 0);
	IS(recv(fds[1], &byte, 1, 0), 0);
	IS(close(fds[1]), 0);

	struct sockaddr_vm bound;
	socklen_t length = sizeof bound;
	pthread_t echo = start(echoes, &listener);
	int fd = vsock(SOCK_STREAM, 2000);
	IS(getsockname(listener, (struct sockaddr *)&bound, &length), 0);
	IS(try_connect(fd, bound.svm_port), 0);
	pthread_t sender = start(sends_much, &fd);
	static char block[1 << 16];
	long total = 0;
	ssize_t got;
	while ((got = recv(fd, block, sizeof block, 0)) > 0)
		total += got;
	IS(got, 0);
	IS(total, LARGE);
	join(sender);
	join(echo);
	IS(close(fd), 0);
	puts("more than the buffers hold");

	IS(close(listener), 0);
	fd = vsock(SOCK_STREAM, 2000);
	FAILS(try_connect(fd, bound.svm_port), ECONNRESET);
	IS(close(fd), 0);
	puts("nobody listens");
}

/* A wait of at least that long while others run. */
static void unanswered(const char *what, int fd, int ms)
{
	struct ticker ticker;
	ticker_start(&ticker);
	int64_t begin = now_ns(CLOCK_MONOTONIC);
	FAILS(try_connect(fd, 4711), ETIMEDOUT);
	CHECK(now_ns(CLOCK_MONOTONIC) - begin >= (ms - 20) * MS);
	ticker_check(&ticker, what);
}

static void ignore(int signal)
{
	(void)signal;
}

static void *interrupts(void *raw)
{
	sleep_ms(100);
	OK(pthread_kill(*(pthread_t *)raw, SIGUSR1));
	return NULL;
}

static void with_nobody(int errno_of_connect)
{
	if (errno_of_connect != ETIMEDOUT) {
		printf("connect fails at once: %s\n", strerrorname_np(errno_of_connect));
		return;
	}
	int fd = vsock(SOCK_STREAM, 300);
	unanswered("connect", fd, 300);
	unanswered("connect again", fd, 300);
	/* It is none of what a connect waits for. */
	struct timeval short_time = { 0, 50000 };
	IS(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &short_time, sizeof short_time), 0);
	unanswered("connect with SO_SNDTIMEO", fd, 300);
	IS(close(fd), 0);

	fd = vsock(SOCK_STREAM | SOCK_NONBLOCK, 300);
	FAILS(try_connect(fd, 4711), EINPROGRESS);
	FAILS(try_connect(fd, 4711), EALREADY);
	struct pollfd one = { .fd = fd, .events = POLLOUT };
	IS(poll(&one, 1, 20000), 1);
	int error = 0;
	socklen_t length = sizeof error;
	IS(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length), 0);
	IS(error, ETIMEDOUT);
	IS(close(fd), 0);
	puts("not waiting");

	/* With a time-out of its own it is never begun again. */
	struct sigaction action = { .sa_handler = ignore, .sa_flags = SA_RESTART };
	pthread_t self = pthread_self();
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	fd = vsock(SOCK_STREAM, 20000);
	pthread_t thread = start(interrupts, &self);
	FAILS(try_connect(fd, 4711), EINTR);
	join(thread);
	IS(close(fd), 0);
	puts("interrupted");
}

int main(void)
{
	int listener = socket(AF_VSOCK, SOCK_STREAM, 0);
	if (listener < 0) {
		printf("there are none here: %s\n", strerrorname_np(errno));
		return 0;
	}
	struct sockaddr_vm address = itself(VMADDR_PORT_ANY);
	if (bind(listener, (struct sockaddr *)&address, sizeof address) == 0) {
		IS(listen(listener, 5), 0);
		with_itself(listener);
		return 0;
	}
	printf("this machine cannot reach itself: %s\n", strerrorname_np(errno));

	address.svm_cid = VMADDR_CID_ANY;
	IS(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
	FAILS(accept(listener, NULL, NULL), EINVAL);
	IS(listen(listener, 5), 0);
	struct timeval time = { 0, 250000 };
	IS(setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time), 0);
	struct ticker ticker;
	ticker_start(&ticker);
	FAILS(accept(listener, NULL, NULL), EAGAIN);
	ticker_check(&ticker, "accept");
	IS(close(listener), 0);

	int fd = vsock(SOCK_STREAM, 100);
	char byte;
	FAILS(recv(fd, &byte, 1, 0), ENOTCONN);
	FAILS(send(fd, "x", 1, 0), ENOTCONN);
	CHECK(try_connect(fd, 4711) == -1);
	with_nobody(errno);
	return 0;
}
