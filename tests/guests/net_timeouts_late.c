// A call with a time-out takes what is there already, or finds the room that is there, however late its thread goes on because another computes.
// guest: limit=60
#include "net.h"
#include <sched.h>

enum { ROUNDS = 30, COMPUTE_MS = 8, PATIENCE_US = 2000 };

static atomic_bool stop;

static void *computes(void *unused)
{
	while (!atomic_load(&stop)) {
		int64_t end = now_ns(CLOCK_MONOTONIC) + COMPUTE_MS * MS;
		while (now_ns(CLOCK_MONOTONIC) < end)
			;
		sched_yield();
	}
	return unused;
}

static void be_patient(int fd)
{
	struct timeval patience = { .tv_usec = PATIENCE_US };
	IS(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
	IS(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience), 0);
}

static void of_pair(const char *name, int type)
{
	int pair[2];
	char byte;
	static char large[100000];
	IS(socketpair(AF_UNIX, type, 0, pair), 0);
	be_patient(pair[0]);
	for (int round = 0; round < ROUNDS; round++) {
		FAILS(recv(pair[0], &byte, 1, 0), EAGAIN);
		byte = (char)round;
		IS(send(pair[1], &byte, 1, 0), 1);
		IS(recv(pair[0], &byte, 1, 0), 1);
		IS(byte, (char)round);
	}
	printf("%s: received\n", name);
	for (int round = 0; round < ROUNDS; round++) {
		ssize_t put;
		while ((put = send(pair[0], large, 1000, 0)) > 0)
			;
		CHECK(put == -1 && errno == EAGAIN);
		while (recv(pair[1], large, sizeof large, MSG_DONTWAIT) > 0)
			;
		IS(send(pair[0], &byte, 1, 0), 1);
		IS(recv(pair[1], &byte, 1, 0), 1);
	}
	printf("%s: sent\n", name);
	IS(close(pair[0]), 0);
	IS(close(pair[1]), 0);
}

static void of_listener(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	IS(bind(listener, (void *)&address, size), 0);
	IS(listen(listener, 4), 0);
	IS(getsockname(listener, (void *)&address, &size), 0);
	be_patient(listener);
	for (int round = 0; round < ROUNDS; round++) {
		FAILS(accept(listener, NULL, NULL), EAGAIN);
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		IS(connect(fd, (void *)&address, size), 0);
		int other = accept(listener, NULL, NULL);
		CHECK(other >= 0);
		IS(close(fd), 0);
		IS(close(other), 0);
	}
	puts("accepted");
	IS(close(listener), 0);
}

int main(void)
{
	pthread_t threads[2];
	for (int i = 0; i < 2; i++)
		threads[i] = start(computes, NULL);
	of_pair("datagrams", SOCK_DGRAM);
	of_pair("a stream", SOCK_STREAM);
	of_listener();
	atomic_store(&stop, true);
	for (int i = 0; i < 2; i++)
		join(threads[i]);
	return 0;
}
