/*
 * Thousands of threads wait in calls that are handed over, many more than fit into the queues of a
 * ring: each of as many messages comes to exactly one of them, also when signals end the waits.
 * guest: limit=60
 */
#include <signal.h>
#include <sys/socket.h>
#include "guest.h"

enum { THREADS = 3000, ROUNDS = 3, LAST = THREADS * ROUNDS };

static int pair[2], ends[2];
static atomic_int begun, received, interrupted;
static atomic_uchar seen[LAST];

static void ignore(int signal)
{
	(void)signal;
}

static void *receives(void *raw)
{
	bool from_pipe = (intptr_t)raw % 2;
	atomic_fetch_add(&begun, 1);
	for (;;) {
		uint32_t number;
		ssize_t length;
		while ((length = from_pipe ? read(ends[0], &number, sizeof number) :
					     recv(pair[1], &number, sizeof number, 0)) < 0) {
			CHECK(errno == EINTR);
			atomic_fetch_add(&interrupted, 1);
		}
		IS(length, sizeof number);
		if (number == LAST)
			return NULL;
		CHECK(number < LAST);
		atomic_fetch_add(&seen[number], 1);
		atomic_fetch_add(&received, 1);
	}
}

static void send_one(uint32_t number, bool by_pipe)
{
	IS(by_pipe ? write(ends[1], &number, sizeof number) :
		     send(pair[0], &number, sizeof number, 0),
	   sizeof number);
}

int main(void)
{
	static pthread_t threads[THREADS];
	struct sigaction action = { .sa_handler = ignore };
	pthread_attr_t small;
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	IS(pipe(ends), 0);
	IS(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	OK(pthread_attr_init(&small));
	OK(pthread_attr_setstacksize(&small, 64 << 10));
	for (intptr_t i = 0; i < THREADS; i++)
		OK(pthread_create(&threads[i], &small, receives, (void *)i));
	while (atomic_load(&begun) < THREADS)
		sleep_ms(1);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		/* Most of them wait again now: each signal ends a wait, or comes too early for it. */
		for (int i = 0; round == 1 && i < THREADS; i += 3)
			OK(pthread_kill(threads[i], SIGUSR1));
		for (uint32_t i = 0; i < THREADS; i++)
			send_one(round * THREADS + i, i % 2);
		while (atomic_load(&received) < THREADS * (int)(round + 1))
			sleep_ms(1);
	}
	for (int i = 0; i < THREADS; i++)
		send_one(LAST, i % 2);
	for (int i = 0; i < THREADS; i++)
		join(threads[i]);
	for (int i = 0; i < LAST; i++)
		IS(atomic_load(&seen[i]), 1);
	CHECK(atomic_load(&interrupted) > 0);
	puts("each message came once");
	return 0;
}
