// sendmmsg and recvmmsg: several messages a call, lengths, time-out, MSG_WAITFORONE.
#include "net.h"

enum { MESSAGES = 8 };

static struct sockaddr_in bound;
static int receiver;

static void *sends_late(void *unused)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	(void)unused;
	for (int i = 0; i < MESSAGES; i++) {
		sleep_ms(2);
		IS(sendto(fd, "12345", (size_t)i % 5 + 1, 0, (struct sockaddr *)&bound, sizeof bound),
		   i % 5 + 1);
	}
	close(fd);
	return NULL;
}

int main(void)
{
	struct mmsghdr messages[MESSAGES];
	struct iovec parts[MESSAGES];
	char texts[MESSAGES][16];
	receiver = udp_bound(&bound);
	for (int i = 0; i < MESSAGES; i++) {
		parts[i] = (struct iovec){ texts[i], 10 };
		memset(texts[i], 'a' + i, sizeof texts[i]);
		messages[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &parts[i], .msg_iovlen = 1,
							     .msg_name = &bound,
							     .msg_namelen = sizeof bound } };
	}
	IS(sendmmsg(receiver, messages, MESSAGES, 0), MESSAGES);
	for (int i = 0; i < MESSAGES; i++) {
		IS(messages[i].msg_len, 10);
		messages[i].msg_hdr.msg_name = NULL;
		messages[i].msg_hdr.msg_namelen = 0;
		memset(texts[i], 0, sizeof texts[i]);
	}
	IS(recvmmsg(receiver, messages, MESSAGES, 0, NULL), MESSAGES);
	for (int i = 0; i < MESSAGES; i++)
		CHECK(messages[i].msg_len == 10 && texts[i][0] == 'a' + i && texts[i][9] == 'a' + i);
	FAILS(recvmmsg(receiver, messages, MESSAGES, MSG_DONTWAIT, NULL), EAGAIN);
	puts("all at once");

	pthread_t sender = start(sends_late, NULL);
	IS(recvmmsg(receiver, messages, MESSAGES, 0, NULL), MESSAGES);
	for (int i = 0; i < MESSAGES; i++)
		IS(messages[i].msg_len, i % 5 + 1);
	join(sender);
	puts("one by one");

	sender = start(sends_late, NULL);
	int got = 0;
	while (got < MESSAGES) {
		int count = recvmmsg(receiver, messages, (unsigned)(MESSAGES - got), MSG_WAITFORONE, NULL);
		CHECK(count >= 1);
		got += count;
	}
	join(sender);
	puts("whatever is there");

	/* The time-out is looked at after each message only: with one there, it ends the call. */
	struct timespec none = { 0, 0 };
	IS(sendto(receiver, "x", 1, 0, (struct sockaddr *)&bound, sizeof bound), 1);
	IS(recvmmsg(receiver, messages, MESSAGES, 0, &none), 1);
	puts("timed out");
	return 0;
}
