// recv, recvfrom, recvmsg, recvmmsg, accept and accept4 block their own thread only.
#include "net.h"

static struct sockaddr_in listening, bound;

static void send_three(void *fd)
{
	IS(send(*(int *)fd, "abc", 3, 0), 3);
}

static void send_datagram(void *fd)
{
	IS(sendto(*(int *)fd, "abc", 3, 0, (struct sockaddr *)&bound, sizeof bound), 3);
}

static void connects(void *unused)
{
	(void)unused;
	int fd = tcp_connected(&listening);
	IS(close(fd), 0);
}

int main(void)
{
	char text[64];
	struct iovec part = { text, sizeof text };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	struct mmsghdr many[2] = { { .msg_hdr = message }, { .msg_hdr = message } };
	int tcp[2], unix_pair[2];
	tcp_pair(tcp);
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, unix_pair), 0);
	BLOCKS("recv tcp", send_three, &tcp[1], 3, recv(tcp[0], text, sizeof text, 0));
	BLOCKS("recv unix", send_three, &unix_pair[1], 3, recv(unix_pair[0], text, 64, 0));
	BLOCKS("recvmsg tcp", send_three, &tcp[1], 3, recvmsg(tcp[0], &message, 0));
	BLOCKS("recvfrom tcp", send_three, &tcp[1], 3, recvfrom(tcp[0], text, 64, 0, NULL, NULL));

	struct sockaddr_in from, sender;
	socklen_t length = sizeof from;
	int receiver = udp_bound(&bound), source = udp_bound(&sender);
	BLOCKS("recvfrom udp", send_datagram, &source, 3,
	       recvfrom(receiver, text, sizeof text, 0, (struct sockaddr *)&from, &length));
	CHECK(length == sizeof from && from.sin_port == sender.sin_port);
	BLOCKS("recvmmsg udp", send_datagram, &source, 1, recvmmsg(receiver, many, 2, MSG_WAITFORONE, NULL));
	IS(many[0].msg_len, 3);

	int listener = tcp_listener(&listening, 5), fd;
	BLOCKS("accept", connects, NULL, true, (fd = accept(listener, NULL, NULL)) >= 0);
	close(fd);
	length = sizeof from;
	BLOCKS("accept4", connects, NULL, true,
	       (fd = accept4(listener, (struct sockaddr *)&from, &length, SOCK_NONBLOCK)) >= 0);
	CHECK(length == sizeof from && from.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
	IS(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	return 0;
}
