/* Sockets on the loopback interface, for the programs about them. */
#ifndef NET_H
#define NET_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include "guest.h"

UNUSED static struct sockaddr_in loopback(uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

/* A listening TCP socket on a port of the kernel's choice. */
UNUSED static int tcp_listener(struct sockaddr_in *address, int backlog)
{
	socklen_t length = sizeof *address;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(fd >= 0);
	*address = loopback(0);
	IS(bind(fd, (struct sockaddr *)address, length), 0);
	IS(listen(fd, backlog), 0);
	IS(getsockname(fd, (struct sockaddr *)address, &length), 0);
	return fd;
}

UNUSED static int tcp_connected(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(fd >= 0);
	IS(connect(fd, (const struct sockaddr *)address, sizeof *address), 0);
	return fd;
}

/* Two ends of one TCP connection. */
UNUSED static void tcp_pair(int ends[2])
{
	struct sockaddr_in address;
	int listener = tcp_listener(&address, 1);
	ends[0] = tcp_connected(&address);
	ends[1] = accept(listener, NULL, NULL);
	CHECK(ends[1] >= 0);
	IS(close(listener), 0);
}

/* A bound UDP socket on a port of the kernel's choice. */
UNUSED static int udp_bound(struct sockaddr_in *address)
{
	socklen_t length = sizeof *address;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(fd >= 0);
	*address = loopback(0);
	IS(bind(fd, (struct sockaddr *)address, length), 0);
	IS(getsockname(fd, (struct sockaddr *)address, &length), 0);
	return fd;
}

/* Sends until not one more byte fits, and returns how many did. */
UNUSED static long net_fill(int fd)
{
	static char block[1 << 16];
	long total = 0;
	ssize_t length;
	while ((length = send(fd, block, sizeof block, MSG_DONTWAIT)) > 0)
		total += length;
	CHECK(errno == EAGAIN);
	while ((length = send(fd, block, 1, MSG_DONTWAIT)) > 0)
		total += length;
	CHECK(errno == EAGAIN);
	return total;
}

/* The same for TCP, where room appears for a while as the other end acknowledges, late if it likes. */
UNUSED static void tcp_fill(int fd)
{
	for (int quiet = 0; quiet < 30; sleep_ms(10))
		quiet = net_fill(fd) ? 0 : quiet + 1;
}

/* A thread body that reads the socket `raw` points to until its end, and returns how much came. */
UNUSED static void *net_drain(void *raw)
{
	static __thread char sink[1 << 16];
	long total = 0;
	ssize_t length;
	while ((length = recv(*(int *)raw, sink, sizeof sink, 0)) > 0)
		total += length;
	IS(length, 0);
	return (void *)total;
}

#define BLOCKS(name, action, argument, expected, call)                                             \
	do {                                                                                       \
		struct release release;                                                            \
		release_start(&release, action, argument);                                         \
		IS(call, expected);                                                                \
		release_check(&release, name);                                                     \
	} while (0)

#endif
