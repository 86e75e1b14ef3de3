// MSG_DONTWAIT, MSG_WAITALL, MSG_PEEK, MSG_TRUNC and MSG_MORE do what they say.
#include "net.h"

static int ends[2];

static void *sends_in_pieces(void *unused)
{
	(void)unused;
	for (int i = 0; i < 10; i++) {
		char piece[10];
		memset(piece, '0' + i, sizeof piece);
		IS(send(ends[1], piece, sizeof piece, 0), 10);
		sleep_ms(2);
	}
	return NULL;
}

static void *sends_half_and_ends(void *unused)
{
	(void)unused;
	IS(send(ends[1], "half", 4, 0), 4);
	sleep_ms(5);
	IS(shutdown(ends[1], SHUT_WR), 0);
	return NULL;
}

static void stream(const char *name)
{
	char text[101] = { 0 };
	FAILS(recv(ends[0], text, 10, MSG_DONTWAIT), EAGAIN);
	pthread_t sender = start(sends_in_pieces, NULL);
	IS(recv(ends[0], text, 100, MSG_WAITALL), 100);
	for (int i = 0; i < 100; i++)
		CHECK(text[i] == '0' + i / 10);
	join(sender);
	sender = start(sends_in_pieces, NULL);
	struct iovec parts[3] = { { text, 7 }, { text + 7, 60 }, { text + 67, 33 } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 3 };
	IS(recvmsg(ends[0], &message, MSG_WAITALL), 100);
	for (int i = 0; i < 100; i++)
		CHECK(text[i] == '0' + i / 10);
	join(sender);

	IS(send(ends[1], "peek", 4, 0), 4);
	IS(recv(ends[0], text, 2, MSG_PEEK), 2);
	IS(recv(ends[0], text, 10, MSG_PEEK), 4);
	IS(recv(ends[0], text, 10, 0), 4);
	FAILS(recv(ends[0], text, 10, MSG_PEEK | MSG_DONTWAIT), EAGAIN);

	sender = start(sends_half_and_ends, NULL);
	IS(recv(ends[0], text, 100, MSG_WAITALL), 4); /* the end comes before the rest */
	IS(recv(ends[0], text, 100, MSG_WAITALL), 0);
	join(sender);
	puts(name);
}

int main(void)
{
	char text[10];
	tcp_pair(ends);
	stream("tcp");
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	stream("unix");
	IS(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), 0);
	IS(send(ends[1], "longer than ten", 15, 0), 15);
	IS(recv(ends[0], text, sizeof text, MSG_PEEK | MSG_TRUNC), 15);
	struct iovec part = { text, sizeof text };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	IS(recvmsg(ends[0], &message, 0), 10);
	IS(message.msg_flags & MSG_TRUNC, MSG_TRUNC);
	IS(send(ends[1], "", 0, 0), 0);
	IS(recv(ends[0], text, sizeof text, 0), 0);
	puts("datagram");

	/* Packets stay apart, whatever the flags ask for. */
	IS(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	IS(send(ends[1], "one", 3, 0), 3);
	IS(send(ends[1], "two", 3, 0), 3);
	for (int i = 0; i < 2; i++)
		IS(recv(ends[0], text, sizeof text, MSG_WAITALL), 3);
	puts("packets");

	tcp_pair(ends);
	IS(send(ends[1], "ab", 2, MSG_MORE), 2);
	IS(send(ends[1], "cd", 2, 0), 2);
	IS(recv(ends[0], text, 4, MSG_WAITALL), 4);
	puts("more");
	return 0;
}
