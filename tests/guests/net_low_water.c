// SO_RCVLOWAT, MSG_PEEK with MSG_WAITALL, one time-out for a whole MSG_WAITALL, urgent data.
#include "net.h"

static int ends[2];

static void send_bytes(const char *bytes)
{
	IS(send(ends[1], bytes, strlen(bytes), 0), (long)strlen(bytes));
}

static void *sends_slowly(void *text)
{
	for (const char *byte = text; *byte; byte++) {
		IS(send(ends[1], byte, 1, 0), 1);
		sleep_ms(20);
	}
	return NULL;
}

/*
 * Two bytes, and then as many as the mark asks for: who has taken the two waits for a whole mark
 * again, as Linux has it.
 */
static void *sends_in_two(void *text)
{
	sleep_ms(20);
	IS(send(ends[1], text, 2, 0), 2);
	sleep_ms(20);
	IS(send(ends[1], (char *)text + 2, 4, 0), 4);
	return NULL;
}

static void set_int(int option, int value)
{
	IS(setsockopt(ends[0], SOL_SOCKET, option, &value, sizeof value), 0);
}

static void set_timeout(int option, long microseconds)
{
	struct timeval time = { microseconds / 1000000, microseconds % 1000000 };
	IS(setsockopt(ends[0], SOL_SOCKET, option, &time, sizeof time), 0);
}

static void low_water(const char *name)
{
	char text[64];
	pthread_t sender;
	set_int(SO_RCVLOWAT, 4);
	sender = start(sends_in_two, "abcdef");
	IS(recv(ends[0], text, sizeof text, 0), 6);
	join(sender);
	sender = start(sends_in_two, "abcdef");
	IS(read(ends[0], text, sizeof text), 6);
	join(sender);
	struct iovec parts[2] = { { text, 3 }, { text + 3, 30 } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
	sender = start(sends_in_two, "ghijkl");
	IS(recvmsg(ends[0], &message, 0), 6);
	CHECK(!memcmp(text, "ghijkl", 6));
	join(sender);
	send_bytes("xy");
	sleep_ms(5);
	IS(recv(ends[0], text, sizeof text, MSG_DONTWAIT), 2);
	set_timeout(SO_RCVTIMEO, 50000);
	send_bytes("xyz");
	IS(recv(ends[0], text, sizeof text, 0), 3); /* the time is over */
	FAILS(recv(ends[0], text, sizeof text, 0), EAGAIN);
	set_timeout(SO_RCVTIMEO, 0);
	set_int(SO_RCVLOWAT, 1);
	sender = start(sends_slowly, "a");
	IS(recv(ends[0], text, sizeof text, 0), 1);
	join(sender);
	puts(name);
}

static void peek_all(void)
{
	char text[64];
	pthread_t sender = start(sends_slowly, "abcd");
	IS(recv(ends[0], text, 4, MSG_PEEK | MSG_WAITALL), 4);
	join(sender);
	IS(recv(ends[0], text, 4, MSG_PEEK | MSG_WAITALL), 4);
	IS(recv(ends[0], text, sizeof text, 0), 4);
	set_timeout(SO_RCVTIMEO, 50000);
	send_bytes("xy");
	IS(recv(ends[0], text, 4, MSG_PEEK | MSG_WAITALL), 2);
	set_timeout(SO_RCVTIMEO, 0);
	IS(recv(ends[0], text, 4, 0), 2);
	puts("peek");
}

/* Bytes come more often than the time-out, which counts for all of them. */
static void one_timeout(void)
{
	char text[64];
	set_timeout(SO_RCVTIMEO, 100000);
	pthread_t sender = start(sends_slowly, "abcdefghijklmnopqrstuvwxyz");
	ssize_t got = recv(ends[0], text, 64, MSG_WAITALL);
	CHECK(got > 0 && got < 26);
	join(sender);
	set_timeout(SO_RCVTIMEO, 0);
	IS(recv(ends[0], text, (size_t)(26 - got), MSG_WAITALL), 26 - got);
	/* Microseconds count. */
	set_timeout(SO_RCVTIMEO, 1500);
	for (int i = 0; i < 20; i++) {
		int64_t before = now_ns(CLOCK_MONOTONIC);
		FAILS(recv(ends[0], text, sizeof text, 0), EAGAIN);
		CHECK(now_ns(CLOCK_MONOTONIC) - before >= 1500000);
	}
	set_timeout(SO_RCVTIMEO, 0);
	puts("time-out");
}

static void urgent(void)
{
	char text[64];
	pthread_t sender;
	FAILS(recv(ends[0], text, 1, MSG_OOB), EINVAL);
	send_bytes("abc");
	IS(send(ends[1], "!", 1, MSG_OOB), 1);
	send_bytes("def");
	sleep_ms(5);
	IS(recv(ends[0], text, sizeof text, 0), 3); /* up to the mark */
	CHECK(!memcmp(text, "abc", 3));
	IS(recv(ends[0], text, 1, MSG_OOB), 1);
	CHECK(text[0] == '!');
	IS(recv(ends[0], text, sizeof text, 0), 3);
	CHECK(!memcmp(text, "def", 3));
	sender = start(sends_slowly, "g");
	IS(recv(ends[0], text, sizeof text, 0), 1);
	join(sender);
	puts("urgent");
}

static void *body(void *unused)
{
	(void)unused;
	tcp_pair(ends);
	low_water("tcp");
	peek_all();
	one_timeout();
	urgent();
	close(ends[0]);
	close(ends[1]);
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	low_water("unix");
	one_timeout();
	close(ends[0]);
	close(ends[1]);
	return NULL;
}

int main(void)
{
	body(NULL);
	join(start(body, NULL));
	return 0;
}
