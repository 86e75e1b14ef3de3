// shutdown from another thread ends a parked recv, a parked send and a parked accept.
#include "net.h"

static void shutdown_reading(void *fd)
{
	IS(shutdown(*(int *)fd, SHUT_RD), 0);
}

static void shutdown_both(void *fd)
{
	IS(shutdown(*(int *)fd, SHUT_RDWR), 0);
}

static void shutdown_writing(void *fd)
{
	IS(shutdown(*(int *)fd, SHUT_WR), 0);
}

int main(void)
{
	int ends[2];
	char text[10];
	struct sockaddr_in address;

	tcp_pair(ends);
	BLOCKS("recv until its own side is shut", shutdown_reading, &ends[0], 0,
	       recv(ends[0], text, sizeof text, 0));
	tcp_pair(ends);
	BLOCKS("recv until the peer is done", shutdown_writing, &ends[1], 0,
	       recv(ends[0], text, sizeof text, 0));
	IS(send(ends[0], "x", 1, 0), 1); /* the other direction still works */
	IS(recv(ends[1], text, sizeof text, 0), 1);

	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	net_fill(ends[0]);
	struct release release;
	release_start(&release, shutdown_both, &ends[0]);
	FAILS(send(ends[0], text, sizeof text, MSG_NOSIGNAL), EPIPE);
	release_check(&release, "send until its own side is shut");

	int listener = tcp_listener(&address, 5);
	release_start(&release, shutdown_both, &listener);
	FAILS(accept(listener, NULL, NULL), EINVAL);
	release_check(&release, "accept until the listener is shut");
	return 0;
}
