// poll and select over 300 descriptors, by several threads, each waiting for another one.
#include "net.h"
#include <poll.h>
#include <sys/select.h>

enum { PIPES = 300, POLLERS = 10 };

static int readers[PIPES], writers[PIPES];
static pthread_barrier_t barrier;

static void *polls(void *raw)
{
	int mine = (int)(intptr_t)raw * 30 + 7;
	struct pollfd fds[PIPES];
	char byte;
	for (int i = 0; i < PIPES; i++)
		fds[i] = (struct pollfd){ readers[i], i % 30 == 7 && i != mine ? 0 : POLLIN, 0 };
	pthread_barrier_wait(&barrier);
	IS(poll(fds, PIPES, -1), 1);
	for (int i = 0; i < PIPES; i++)
		IS(fds[i].revents, i == mine ? POLLIN : 0);
	IS(read(readers[mine], &byte, 1), 1);
	IS(byte, mine % 100);

	fd_set set;
	int highest = 0;
	FD_ZERO(&set);
	for (int i = 0; i < PIPES; i++)
		if (fds[i].events) {
			FD_SET(readers[i], &set);
			highest = readers[i] > highest ? readers[i] : highest;
		}
	pthread_barrier_wait(&barrier);
	IS(select(highest + 1, &set, NULL, NULL, NULL), 1);
	CHECK(FD_ISSET(readers[mine], &set));
	IS(read(readers[mine], &byte, 1), 1);
	return NULL;
}

int main(void)
{
	pthread_t threads[POLLERS];
	for (int i = 0; i < PIPES; i++) {
		int ends[2];
		IS(pipe(ends), 0);
		readers[i] = ends[0];
		writers[i] = ends[1];
	}
	OK(pthread_barrier_init(&barrier, NULL, POLLERS + 1));
	for (intptr_t i = 0; i < POLLERS; i++)
		threads[i] = start(polls, (void *)i);
	for (int round = 0; round < 2; round++) {
		pthread_barrier_wait(&barrier);
		for (int i = POLLERS; i-- > 0;) {
			char byte = (char)((i * 30 + 7) % 100);
			IS(write(writers[i * 30 + 7], &byte, 1), 1);
			sleep_ms(1);
		}
	}
	for (int i = 0; i < POLLERS; i++)
		join(threads[i]);
	puts("each found its own");
	return 0;
}
