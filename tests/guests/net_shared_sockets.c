// Sockets of two processes: both accept from one listener, and one makes the other's non-blocking.
#include "net.h"
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

enum { CONNECTIONS = 300 };

static struct sockaddr_in address;
static int listener, results[2];

/* Accepts until it is told to stop by a connection that sends "q"; says who it was. */
static void *accepts(void *who)
{
	for (;;) {
		char byte = 0;
		int fd = accept(listener, NULL, NULL);
		CHECK(fd >= 0);
		IS(recv(fd, &byte, 1, 0), 1);
		close(fd);
		if (byte == 'q')
			return NULL;
		IS(write(results[1], who, 1), 1);
	}
}

static void connect_and_send(const char *byte)
{
	int fd = tcp_connected(&address);
	IS(send(fd, byte, 1, 0), 1);
	CHECK(recv(fd, (char[1]){ 0 }, 1, 0) <= 0);
	close(fd);
}

static void *connects(void *unused)
{
	for (int i = 0; i < CONNECTIONS / 3; i++)
		connect_and_send("x");
	return unused;
}

static void *counts(void *unused)
{
	char who;
	(void)unused;
	for (int i = 0; i < CONNECTIONS; i++)
		IS(read(results[0], &who, 1), 1);
	return NULL;
}

static void both_accept(void)
{
	struct ticker ticker;
	pthread_t threads[4];
	IS(pipe(results), 0);
	listener = tcp_listener(&address, 100);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		threads[0] = start(accepts, "c");
		accepts("c");
		join(threads[0]);
		_exit(0);
	}
	ticker_start(&ticker);
	threads[0] = start(counts, NULL);
	for (int i = 1; i < 4; i++)
		threads[i] = start(connects, NULL);
	pthread_t mine[2] = { start(accepts, "p"), start(accepts, "p") };
	for (int i = 0; i < 4; i++)
		join(threads[i]);
	for (int i = 0; i < 4; i++)
		connect_and_send("q");
	for (int i = 0; i < 2; i++)
		join(mine[i]);
	int status;
	IS(waitpid(child, &status, 0), child);
	IS(status, 0);
	ticker_check(&ticker, "all together");
	close(listener);
}

static void say(int fd, const char *byte)
{
	IS(write(fd, byte, 1), 1);
}

static void hear(int fd)
{
	char byte;
	IS(read(fd, &byte, 1), 1);
}

/* The flag belongs to the description, whoever sets it. */
static void *flags_of_another(void *unused)
{
	int ends[2], to_child[2], from_child[2], status;
	char text[8];
	struct timeval soon = { 0, 20000 };
	(void)unused;
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	IS(pipe(to_child), 0);
	IS(pipe(from_child), 0);
	IS(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon), 0);
	int64_t before = now_ns(CLOCK_MONOTONIC);
	FAILS(recv(ends[0], text, sizeof text, 0), EAGAIN);
	CHECK(now_ns(CLOCK_MONOTONIC) - before >= 20 * MS);
	soon.tv_usec = 0;
	IS(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon), 0);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		for (int i = 0; i < 2; i++) {
			hear(to_child[0]);
			CHECK(fcntl(ends[0], F_SETFL, i ? 0 : O_NONBLOCK) == 0);
			say(from_child[1], "s");
		}
		hear(to_child[0]);
		CHECK(send(ends[1], "late", 4, 0) == 4);
		_exit(0);
	}
	IS(recv(ends[0], text, sizeof text, MSG_DONTWAIT), -1);
	for (int i = 0; i < 2; i++) {
		say(to_child[1], "g");
		hear(from_child[0]);
		if (i == 0)
			FAILS(recv(ends[0], text, sizeof text, 0), EAGAIN);
	}
	say(to_child[1], "g");
	IS(recv(ends[0], text, sizeof text, 0), 4);
	IS(waitpid(child, &status, 0), child);
	IS(status, 0);
	puts("flags");
	return NULL;
}

int main(void)
{
	both_accept();
	flags_of_another(NULL);
	join(start(flags_of_another, NULL));
	return 0;
}
