// connect: in progress, already, connected, refused, interrupted and begun again, timed out.
#include "net.h"
#include <poll.h>
#include <signal.h>

static atomic_int handled;

static void handler(int number)
{
	(void)number;
	atomic_fetch_add(&handled, 1);
}

/* A listener whose queue is full: who connects now waits. */
static int full_listener(struct sockaddr_in *address, int waiting[2])
{
	int listener = tcp_listener(address, 0);
	waiting[0] = tcp_connected(address);
	waiting[1] = -1;
	return listener;
}

static void *accepts_two(void *listener)
{
	sleep_ms(50);
	for (int i = 0; i < 2; i++) {
		int fd = accept(*(int *)listener, NULL, NULL);
		CHECK(fd >= 0);
		close(fd);
	}
	return NULL;
}

static void *interrupts(void *thread)
{
	sleep_ms(50);
	OK(pthread_kill(*(pthread_t *)thread, SIGUSR1));
	return NULL;
}

static void set_handler(int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };
	IS(sigaction(SIGUSR1, &action, NULL), 0);
}

static void *body(void *unused)
{
	struct sockaddr_in address, nobody;
	struct sockaddr *to = (struct sockaddr *)&address;
	int waiting[2], fd, error;
	socklen_t length = sizeof error;
	(void)unused;

	/* Non-blocking. */
	int listener = full_listener(&address, waiting);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	FAILS(connect(fd, to, sizeof address), EINPROGRESS);
	FAILS(connect(fd, to, sizeof address), EALREADY);
	/* The same socket, now blocking, waits for what it began. */
	IS(fcntl(fd, F_SETFL, 0), 0);
	pthread_t other = start(accepts_two, &listener);
	IS(connect(fd, to, sizeof address), 0);
	join(other);
	FAILS(connect(fd, to, sizeof address), EISCONN);
	close(fd);
	close(waiting[0]);
	close(listener);
	puts("already");

	/* Interrupted, and waited for again. */
	pthread_t self = pthread_self();
	listener = full_listener(&address, waiting);
	set_handler(0);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	other = start(interrupts, &self);
	FAILS(connect(fd, to, sizeof address), EINTR);
	join(other);
	other = start(accepts_two, &listener);
	IS(connect(fd, to, sizeof address), 0);
	join(other);
	close(fd);
	close(waiting[0]);
	close(listener);
	puts("interrupted");

	listener = full_listener(&address, waiting);
	set_handler(SA_RESTART);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	other = start(interrupts, &self);
	pthread_t accepting = start(accepts_two, &listener);
	IS(connect(fd, to, sizeof address), 0);
	join(other);
	join(accepting);
	close(fd);
	close(waiting[0]);
	close(listener);
	puts("begun again");

	/* A time-out leaves it on its way. */
	listener = full_listener(&address, waiting);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	struct timeval soon = { 0, 30000 };
	IS(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon), 0);
	FAILS(connect(fd, to, sizeof address), EINPROGRESS);
	FAILS(connect(fd, to, sizeof address), EALREADY);
	other = start(accepts_two, &listener);
	struct pollfd writable = { fd, POLLOUT, 0 };
	IS(poll(&writable, 1, -1), 1);
	IS(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length), 0);
	IS(error, 0);
	IS(connect(fd, to, sizeof address), 0);
	FAILS(connect(fd, to, sizeof address), EISCONN);
	join(other);
	close(fd);
	close(waiting[0]);
	close(listener);
	puts("timed out");

	/* Refused, and used again. */
	close(tcp_listener(&nobody, 1));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	for (int i = 0; i < 3; i++)
		FAILS(connect(fd, (struct sockaddr *)&nobody, sizeof nobody), ECONNREFUSED);
	listener = tcp_listener(&address, 1);
	IS(connect(fd, to, sizeof address), 0);
	IS(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length), 0);
	IS(error, 0);
	/* Disconnected, and connected again. */
	struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
	IS(connect(fd, &nowhere, sizeof nowhere), 0);
	close(listener);
	listener = tcp_listener(&address, 1);
	IS(connect(fd, to, sizeof address), 0);
	close(fd);
	FAILS(connect(listener, to, sizeof address), EISCONN);
	close(listener);
	puts("refused");

	FAILS(connect(socket(AF_INET, SOCK_STREAM, 0), unmapped, sizeof address), EFAULT);
	FAILS(connect(socket(AF_INET, SOCK_DGRAM, 0), unmapped, sizeof address), EFAULT);
	FAILS(connect(12345, to, sizeof address), EBADF);
	return NULL;
}

int main(void)
{
	body(NULL);
	join(start(body, NULL));
	return 0;
}
