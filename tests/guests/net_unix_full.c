// Unix sockets that are full: connects to a listener, datagrams to a receiver, seqpackets, all with time-outs.
#include "net.h"
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>

static struct sockaddr_un abstract(const char *name, socklen_t *length)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int n = snprintf(address.sun_path + 1, 90, "gevent-guest-%s-%d-%ld", name, getpid(),
			 (long)syscall(SYS_gettid));
	*length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
	return address;
}

static void accept_one(void *listener)
{
	int fd = accept(*(int *)listener, NULL, NULL);
	CHECK(fd >= 0);
	close(fd);
}

static int packets;

static void receive_one(void *fd)
{
	char text[64];
	CHECK(recv(*(int *)fd, text, sizeof text, 0) > 0);
}

static void receive_all(void *fd)
{
	for (int i = 0; i < packets; i++)
		receive_one(fd);
}

static void set_timeout(int fd, long microseconds)
{
	struct timeval time = { 0, microseconds };
	IS(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time), 0);
}

static void handler(int number)
{
	(void)number;
}

static void interrupt(void *thread)
{
	OK(pthread_kill(*(pthread_t *)thread, SIGUSR1));
}

static void connects(int type, const char *name)
{
	socklen_t length;
	struct sockaddr_un address = abstract(name, &length);
	struct sockaddr *to = (struct sockaddr *)&address;
	pthread_t self = pthread_self();
	int listener = socket(AF_UNIX, type, 0), fds[3];
	IS(bind(listener, to, length), 0);
	IS(listen(listener, 0), 0);
	for (int i = 0; i < 3; i++)
		fds[i] = socket(AF_UNIX, type, 0);
	IS(connect(fds[0], to, length), 0);
	set_timeout(fds[1], 30000);
	FAILS(connect(fds[1], to, length), EAGAIN);
	set_timeout(fds[1], 0);
	struct release release;
	release_start(&release, interrupt, &self);
	FAILS(connect(fds[1], to, length), EINTR);
	release_check(&release, "connect");
	BLOCKS("connect", accept_one, &listener, 0, connect(fds[1], to, length));
	IS(fcntl(fds[2], F_SETFL, O_NONBLOCK), 0);
	FAILS(connect(fds[2], to, length), EAGAIN);
	IS(fcntl(fds[1], F_GETFL) & O_NONBLOCK, 0);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	close(listener);
	puts(name);
}

static void datagrams(void)
{
	socklen_t length;
	struct sockaddr_un address = abstract("datagram", &length);
	struct sockaddr *to = (struct sockaddr *)&address;
	pthread_t self = pthread_self();
	int receiver = socket(AF_UNIX, SOCK_DGRAM, 0), sender = socket(AF_UNIX, SOCK_DGRAM, 0);
	IS(bind(receiver, to, length), 0);
	while (sendto(sender, "fill", 4, MSG_DONTWAIT, to, length) == 4)
		;
	CHECK(errno == EAGAIN);
	/* Not connected: the sender itself is writable all the time. */
	BLOCKS("sendto", receive_one, &receiver, 4, sendto(sender, "more", 4, 0, to, length));
	struct iovec part = { "more", 4 };
	struct msghdr message = { .msg_name = to, .msg_namelen = length, .msg_iov = &part, .msg_iovlen = 1 };
	BLOCKS("sendmsg", receive_one, &receiver, 4, sendmsg(sender, &message, 0));
	struct release release;
	release_start(&release, interrupt, &self);
	FAILS(sendto(sender, "more", 4, 0, to, length), EINTR);
	release_check(&release, "sendto");
	set_timeout(sender, 30000);
	FAILS(sendto(sender, "more", 4, 0, to, length), EAGAIN);
	set_timeout(sender, 0);
	IS(connect(sender, to, length), 0);
	BLOCKS("send", receive_one, &receiver, 4, send(sender, "more", 4, 0));
	BLOCKS("write", receive_one, &receiver, 4, write(sender, "more", 4));
	close(receiver);
	FAILS(send(sender, "more", 4, 0), ECONNREFUSED);
	close(sender);
	puts("datagrams");
}

static void seqpackets(void)
{
	int ends[2];
	char text[64];
	IS(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	for (packets = 0; send(ends[1], "packet", 6, MSG_DONTWAIT) == 6; packets++)
		;
	CHECK(errno == EAGAIN);
	BLOCKS("send of a seqpacket", receive_all, &ends[0], 4, send(ends[1], "last", 4, 0));
	IS(recv(ends[0], text, 2, 0), 2); /* the rest is gone */
	FAILS(recv(ends[0], text, 2, MSG_DONTWAIT), EAGAIN);
	IS(shutdown(ends[1], SHUT_WR), 0);
	IS(recv(ends[0], text, sizeof text, 0), 0);
	close(ends[0]);
	FAILS(send(ends[1], "x", 1, MSG_NOSIGNAL), EPIPE);
	close(ends[1]);
}

static void *body(void *unused)
{
	(void)unused;
	connects(SOCK_STREAM, "stream");
	connects(SOCK_SEQPACKET, "seqpacket");
	datagrams();
	seqpackets();
	return NULL;
}

int main(void)
{
	struct sigaction action = { .sa_handler = handler };
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	body(NULL);
	join(start(body, NULL));
	return 0;
}
