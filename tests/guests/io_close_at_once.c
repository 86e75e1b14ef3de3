// A number closed and used again right after another thread began a call on it: that call keeps the first.
#include "net.h"
#include <sched.h>

enum { ROUNDS = 40 };

static int pair[2], shared;
static atomic_int stage;

static void *receives(void *unused)
{
	char byte = 0;
	(void)unused;
	atomic_store(&stage, 1);
	ssize_t length = recv(shared, &byte, 1, 0);
	return (void *)(intptr_t)(length == 1 ? byte : 0);
}

int main(void)
{
	int kept = 0;
	for (int round = 0; round < ROUNDS; round++) {
		int other[2];
		IS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		shared = dup(pair[0]);
		atomic_store(&stage, 0);
		pthread_t receiver = start(receives, NULL);
		while (atomic_load(&stage) == 0)
			sched_yield();
		/* Time enough for the other to be in its call, without a call of our own. */
		for (int64_t begun = now_ns(CLOCK_MONOTONIC); now_ns(CLOCK_MONOTONIC) - begun < 3 * MS;)
			;
		int number = shared;
		IS(close(number), 0);
		IS(socketpair(AF_UNIX, SOCK_STREAM, 0, other), 0);
		CHECK(other[0] == number);
		IS(write(other[1], "w", 1), 1);
		IS(write(pair[1], "r", 1), 1);
		char byte = (char)(intptr_t)join(receiver);
		CHECK(byte == 'r' || byte == 'w');
		kept += byte == 'r';
		for (int i = 0; i < 2; i++) {
			close(pair[i]);
			close(other[i]);
		}
	}
	puts(kept ? "received from the socket it was called for" : "always received from the other");
	return 0;
}
