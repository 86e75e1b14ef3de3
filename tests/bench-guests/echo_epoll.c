/* An echo server written by hand as one thread around epoll: the reference
 * that a thread-per-connection server is compared with.
 *
 * usage: echo_epoll [port]     (0 or none: the kernel chooses)
 * Listens on 127.0.0.1 and prints "port N" once it does. Runs until killed.
 *
 * Level-triggered, one read and one write for each event. A connection whose
 * peer doesn't take its answer keeps the rest and waits for EPOLLOUT.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER 4096

struct connection {
	int fd;
	size_t length; /* bytes of the answer that are not sent yet */
	char *rest;    /* those bytes; allocated when the first answer is kept */
};

static void die(const char *what)
{
	fprintf(stderr, "echo_epoll: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int watch(int epoll, int operation, struct connection *connection, unsigned events)
{
	struct epoll_event event = {.events = events, .data.ptr = connection};
	return epoll_ctl(epoll, operation, connection->fd, &event);
}

static void end(struct connection *connection)
{
	close(connection->fd);
	free(connection->rest);
	free(connection);
}

static void accept_all(int epoll, int listener)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0 && errno == EAGAIN)
			return;
		if (fd < 0)
			die("accept4");
		struct connection *connection = malloc(sizeof *connection);
		if (connection == NULL)
			die("malloc");
		connection->fd = fd;
		connection->length = 0;
		connection->rest = NULL;
		if (watch(epoll, EPOLL_CTL_ADD, connection, EPOLLIN) != 0)
			die("epoll_ctl");
	}
}

/* Sends what is there; keeps the rest. False: the connection is gone. */
static int answer(int epoll, struct connection *connection, const char *data, size_t length)
{
	ssize_t sent = write(connection->fd, data, length);
	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		return 0;
	if (sent < 0)
		sent = 0;
	if ((size_t)sent == length && connection->length == 0)
		return 1;
	if (connection->rest == NULL && (connection->rest = malloc(BUFFER)) == NULL)
		die("malloc");
	memmove(connection->rest, data + sent, length - sent);
	connection->length = length - sent;
	return watch(epoll, EPOLL_CTL_MOD, connection, connection->length ? EPOLLOUT : EPOLLIN) == 0;
}

static void serve(int epoll, struct connection *connection)
{
	char buffer[BUFFER];

	if (connection->length != 0) {
		if (!answer(epoll, connection, connection->rest, connection->length))
			end(connection);
		return;
	}
	ssize_t got = read(connection->fd, buffer, sizeof buffer);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0 || !answer(epoll, connection, buffer, got))
		end(connection);
}

int main(int argc, char **argv)
{
	struct rlimit files;
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(argc > 1 ? atoi(argv[1]) : 0),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof address;
	int one = 1;

	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) != 0)
		die("getrlimit");
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) != 0)
		die("setrlimit");

	struct connection listener = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)};
	if (listener.fd < 0)
		die("socket");
	if (setsockopt(listener.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0)
		die("setsockopt");
	if (bind(listener.fd, (struct sockaddr *)&address, length) != 0)
		die("bind");
	if (listen(listener.fd, 4096) != 0)
		die("listen");
	if (getsockname(listener.fd, (struct sockaddr *)&address, &length) != 0)
		die("getsockname");
	int epoll = epoll_create1(0);
	if (epoll < 0)
		die("epoll_create1");
	if (watch(epoll, EPOLL_CTL_ADD, &listener, EPOLLIN) != 0)
		die("epoll_ctl");
	printf("port %d\n", ntohs(address.sin_port));
	fflush(stdout);

	for (;;) {
		struct epoll_event events[512];
		int count = epoll_wait(epoll, events, 512, -1);
		if (count < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr == &listener)
				accept_all(epoll, listener.fd);
			else
				serve(epoll, events[i].data.ptr);
		}
	}
}
