// guest: limit=60
// Waiting calls on sockets, each of which blocks one thread while another ticks.
// covers: connect accept accept4 sendto recvfrom sendmsg recvmsg recvmmsg sendmmsg close
#include "net.h"
#include "matrix.h"

static struct sockaddr_in address;
static int ends[2] = { -1, -1 }, listener = -1, waiting = -1;
static char text[64];
static struct iovec part = { text, 1 };
static struct mmsghdr many[1];

static void pair(void)
{
	close(ends[0]);
	close(ends[1]);
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
}

static void full_pair(void)
{
	pair();
	net_fill(ends[0]);
}

static void feed(void)
{
	IS(write(ends[1], "x", 1), 1);
}

static void drain(void)
{
	static char sink[1 << 16];
	while (recv(ends[1], sink, sizeof sink, MSG_DONTWAIT) > 0)
		;
}

static struct msghdr *message(void)
{
	many[0].msg_hdr = (struct msghdr){ .msg_iov = &part, .msg_iovlen = 1 };
	return &many[0].msg_hdr;
}

static void listen_now(void)
{
	close(listener);
	close(waiting);
	listener = tcp_listener(&address, 0);
}

static void listen_full(void)
{
	listen_now();
	waiting = tcp_connected(&address);
}

static void connect_one(void)
{
	waiting = tcp_connected(&address);
}

static void accept_all(void)
{
	for (int i = 0; i < 2; i++)
		close(accept(listener, NULL, NULL));
}

static void do_recvfrom(void) { IS(syscall(SYS_recvfrom, ends[0], text, 1, 0, NULL, NULL), 1); }
static void do_recvmsg(void) { IS(syscall(SYS_recvmsg, ends[0], message(), 0), 1); }
static void do_recvmmsg(void) { message(); IS(syscall(SYS_recvmmsg, ends[0], many, 1, 0, NULL), 1); }
static void do_sendto(void) { IS(syscall(SYS_sendto, ends[0], text, 1, 0, NULL, 0), 1); }
static void do_sendmsg(void) { IS(syscall(SYS_sendmsg, ends[0], message(), 0), 1); }
static void do_sendmmsg(void) { message(); IS(syscall(SYS_sendmmsg, ends[0], many, 1, 0), 1); }
static void do_accept(void) { close((int)syscall(SYS_accept, listener, NULL, NULL)); }
static void do_accept4(void) { close((int)syscall(SYS_accept4, listener, NULL, NULL, SOCK_CLOEXEC)); }

static void do_connect(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	IS(syscall(SYS_connect, fd, &address, sizeof address), 0);
	close(fd);
}

static void lingering(void)
{
	struct linger one_second = { 1, 1 };
	close(ends[0]);
	close(ends[1]);
	tcp_pair(ends);
	tcp_fill(ends[0]);
	IS(setsockopt(ends[0], SOL_SOCKET, SO_LINGER, &one_second, sizeof one_second), 0);
}

static void do_close(void)
{
	IS(syscall(SYS_close, ends[0]), 0);
	ends[0] = -1;
}

int main(void)
{
	static const struct cell cells[] = {
		{ "recvfrom", pair, do_recvfrom, feed },
		{ "recvmsg", pair, do_recvmsg, feed },
		{ "recvmmsg", pair, do_recvmmsg, feed },
		{ "sendto", full_pair, do_sendto, drain },
		{ "sendmsg", full_pair, do_sendmsg, drain },
		{ "sendmmsg", full_pair, do_sendmmsg, drain },
		{ "accept", listen_now, do_accept, connect_one },
		{ "accept4", listen_now, do_accept4, connect_one },
		{ "connect", listen_full, do_connect, accept_all },
		{ "close", lingering, do_close, NULL },
	};
	run_cells(cells, COUNT(cells));
	return 0;
}
