// send, sendto, sendmsg, sendmmsg, write and connect block their own thread only.
#include "net.h"

static int tcp[2], unix_pair[2], listener;

/* Takes all that is there. */
static void drain(void *fd)
{
	static char sink[1 << 20];
	while (recv(*(int *)fd, sink, sizeof sink, MSG_DONTWAIT) > 0)
		;
}

static void accept_one(void *unused)
{
	(void)unused;
	IS(close(accept(listener, NULL, NULL)), 0);
}

int main(void)
{
	static char block[1000];
	struct iovec part = { block, sizeof block };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	struct mmsghdr many[2] = { { .msg_hdr = message }, { .msg_hdr = message } };
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, unix_pair), 0);
	int from = unix_pair[1], *to = &unix_pair[0];
	net_fill(from);
	BLOCKS("send unix", drain, to, 1000, send(from, block, 1000, 0));
	net_fill(from);
	BLOCKS("sendto unix", drain, to, 1000, sendto(from, block, 1000, 0, NULL, 0));
	net_fill(from);
	BLOCKS("sendmsg unix", drain, to, 1000, sendmsg(from, &message, 0));
	net_fill(from);
	BLOCKS("sendmmsg unix", drain, to, 2, sendmmsg(from, many, 2, 0));

	IS(socketpair(AF_UNIX, SOCK_DGRAM, 0, unix_pair), 0);
	from = unix_pair[1];
	net_fill(from);
	BLOCKS("send datagrams", drain, to, 1000, send(from, block, 1000, 0));

	tcp_pair(tcp);
	tcp_fill(tcp[1]);
	BLOCKS("send tcp", drain, &tcp[0], 1000, send(tcp[1], block, 1000, 0));

	/* A Unix socket's connect waits while the listener's backlog is full. */
	char path[] = "/tmp/guest-sockets-XXXXXX";
	CHECK(mkdtemp(path) != NULL);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof address.sun_path, "%s/s", path);
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	IS(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
	IS(listen(listener, 0), 0);
	int first = socket(AF_UNIX, SOCK_STREAM, 0), second = socket(AF_UNIX, SOCK_STREAM, 0);
	IS(connect(first, (struct sockaddr *)&address, sizeof address), 0);
	int refused = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	FAILS(connect(refused, (struct sockaddr *)&address, sizeof address), EAGAIN);
	BLOCKS("connect unix", accept_one, NULL, 0,
	       connect(second, (struct sockaddr *)&address, sizeof address));
	unlink(address.sun_path);
	rmdir(path);
	return 0;
}
