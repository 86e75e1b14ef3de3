// SO_RCVTIMEO and SO_SNDTIMEO end recv, read, recvmsg, accept, send and connect with EAGAIN.
#include "net.h"

static void set(int fd, int option, int ms)
{
	struct timeval time = { ms / 1000, ms % 1000 * 1000 };
	IS(setsockopt(fd, SOL_SOCKET, option, &time, sizeof time), 0);
}

#define TIMES_OUT(ms, call)                                                                        \
	do {                                                                                       \
		int64_t begin = now_ns(CLOCK_MONOTONIC);                                           \
		FAILS(call, EAGAIN);                                                               \
		CHECK(now_ns(CLOCK_MONOTONIC) - begin >= ((ms) - 10) * MS);                        \
	} while (0)

int main(void)
{
	struct ticker ticker;
	struct sockaddr_in address;
	char text[10];
	struct iovec part = { text, sizeof text };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	int tcp[2], pair[2];
	ticker_start(&ticker);
	tcp_pair(tcp);
	set(tcp[0], SO_RCVTIMEO, 100);
	TIMES_OUT(100, recv(tcp[0], text, sizeof text, 0));
	TIMES_OUT(100, read(tcp[0], text, sizeof text));
	TIMES_OUT(100, recvmsg(tcp[0], &message, 0));
	IS(send(tcp[1], "half", 4, 0), 4);
	IS(recv(tcp[0], text, sizeof text, MSG_WAITALL), 4); /* what came before the time was up */
	puts("receive");

	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	set(pair[1], SO_SNDTIMEO, 100);
	net_fill(pair[1]);
	TIMES_OUT(100, send(pair[1], text, sizeof text, 0));
	TIMES_OUT(100, write(pair[1], text, sizeof text));
	puts("send");

	int listener = tcp_listener(&address, 5);
	set(listener, SO_RCVTIMEO, 100);
	TIMES_OUT(100, accept(listener, NULL, NULL));
	puts("accept");

	struct sockaddr_in bound;
	int udp = udp_bound(&bound);
	set(udp, SO_RCVTIMEO, 100);
	TIMES_OUT(100, recvfrom(udp, text, sizeof text, 0, NULL, NULL));
	IS(sendto(udp, "x", 1, 0, (struct sockaddr *)&bound, sizeof bound), 1);
	IS(recv(udp, text, sizeof text, 0), 1);
	set(udp, SO_RCVTIMEO, 0);
	puts("datagram");
	ticker_check(&ticker, "all together");
	return 0;
}
