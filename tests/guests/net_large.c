// Sends much larger than the buffers, in both directions at once, arrive whole: tcp and unix.
#include "net.h"

enum { LARGE = 8 << 20 };

static unsigned char pattern[LARGE];

static void *sends(void *raw)
{
	int fd = *(int *)raw;
	IS(send(fd, pattern, LARGE / 2, 0), LARGE / 2); /* blocking: all of it */
	struct iovec parts[2] = { { pattern + LARGE / 2, LARGE / 4 },
				  { pattern + LARGE / 4 * 3, LARGE / 4 } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
	IS(sendmsg(fd, &message, 0), LARGE / 2);
	IS(shutdown(fd, SHUT_WR), 0);
	return NULL;
}

static void *receives(void *raw)
{
	int fd = *(int *)raw;
	static __thread unsigned char part[50000];
	size_t total = 0;
	ssize_t length;
	while ((length = read(fd, part, sizeof part)) > 0) {
		CHECK(total + (size_t)length <= LARGE);
		CHECK(!memcmp(part, pattern + total, (size_t)length));
		total += (size_t)length;
	}
	IS(length, 0);
	IS(total, LARGE);
	return NULL;
}

static void both_ways(int ends[2], const char *name)
{
	pthread_t threads[4] = { start(sends, &ends[0]), start(sends, &ends[1]),
				 start(receives, &ends[0]), start(receives, &ends[1]) };
	for (int i = 0; i < 4; i++)
		join(threads[i]);
	close(ends[0]);
	close(ends[1]);
	puts(name);
}

int main(void)
{
	int ends[2];
	for (int i = 0; i < LARGE; i++)
		pattern[i] = (unsigned char)(i * 7 ^ i >> 9);
	tcp_pair(ends);
	both_ways(ends, "tcp");
	tcp_pair(ends);
	for (int i = 0; i < 2; i++) {
		IS(setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &(int){ 32768 }, sizeof(int)), 0);
		IS(setsockopt(ends[i], SOL_SOCKET, SO_RCVBUF, &(int){ 32768 }, sizeof(int)), 0);
	}
	both_ways(ends, "tcp with small buffers");
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	both_ways(ends, "unix");
	return 0;
}
