// A storm of signals, 10,000 a second, on a program whose 1,000 threads do I/O: no byte is lost or doubled.
// guest: limit=120
#include "net.h"
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

enum { PAIRS = 500, BLOCK = 512 };

static atomic_bool stop;
static atomic_int handled, echoed;
static int ends[PAIRS][2];

static void handler(int number)
{
	(void)number;
	atomic_fetch_add(&handled, 1);
}

static void pattern(unsigned char *block, int which, unsigned round)
{
	for (int i = 0; i < BLOCK; i++)
		block[i] = (unsigned char)(which * 31 + (int)round * 7 + i);
}

/* All of it, however often a signal interrupts. */
static bool read_all(int fd, unsigned char *to, size_t length)
{
	while (length) {
		ssize_t got = read(fd, to, length);
		if (got < 0 && errno == EINTR)
			continue;
		CHECK(got >= 0);
		if (got == 0)
			return false;
		to += got;
		length -= (size_t)got;
	}
	return true;
}

static void write_all(int fd, const unsigned char *from, size_t length)
{
	while (length) {
		ssize_t put = write(fd, from, length);
		if (put < 0 && errno == EINTR)
			continue;
		CHECK(put > 0);
		from += put;
		length -= (size_t)put;
	}
}

static void *echoes(void *raw)
{
	int which = (int)(intptr_t)raw;
	unsigned char block[BLOCK];
	while (read_all(ends[which][1], block, BLOCK))
		write_all(ends[which][1], block, BLOCK);
	close(ends[which][1]);
	return NULL;
}

static void *asks(void *raw)
{
	int which = (int)(intptr_t)raw;
	unsigned char sent[BLOCK], got[BLOCK];
	for (unsigned round = 0; !atomic_load(&stop); round++) {
		pattern(sent, which, round);
		write_all(ends[which][0], sent, BLOCK);
		CHECK(read_all(ends[which][0], got, BLOCK));
		CHECK(memcmp(sent, got, BLOCK) == 0);
		atomic_fetch_add(&echoed, 1);
	}
	close(ends[which][0]);
	return NULL;
}

int main(int count, char **arguments)
{
	int seconds = count > 1 ? atoi(arguments[1]) : 3;
	static pthread_t threads[2 * PAIRS];
	/* With and without SA_RESTART. */
	struct sigaction action = { .sa_handler = handler };
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	action.sa_flags = SA_RESTART;
	IS(sigaction(SIGUSR2, &action, NULL), 0);
	IS(sigaction(SIGRTMIN, &action, NULL), 0);
	pid_t target = getpid();
	pid_t storm = fork();
	CHECK(storm >= 0);
	if (storm == 0) {
		signal(SIGUSR1, SIG_DFL);
		/* 20 every 2 ms. */
		for (;;) {
			for (int i = 0; i < 20; i++) {
				static const int numbers[] = { SIGUSR1, SIGUSR2 };
				if (kill(target, i % 3 == 2 ? SIGRTMIN : numbers[i % 3]) != 0)
					_exit(1);
			}
			sleep_ms(2);
		}
	}
	pthread_attr_t attributes;
	OK(pthread_attr_init(&attributes));
	OK(pthread_attr_setstacksize(&attributes, 64 << 10));
	for (int i = 0; i < PAIRS; i++) {
		IS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends[i]), 0);
		OK(pthread_create(&threads[2 * i], &attributes, echoes, (void *)(intptr_t)i));
		OK(pthread_create(&threads[2 * i + 1], &attributes, asks, (void *)(intptr_t)i));
	}
	int64_t end = now_ns(CLOCK_MONOTONIC) + seconds * 1000 * MS;
	while (now_ns(CLOCK_MONOTONIC) < end)
		sleep_ms(10);
	atomic_store(&stop, true);
	for (int i = 0; i < 2 * PAIRS; i++)
		join(threads[i]);
	IS(kill(storm, SIGKILL), 0);
	while (waitpid(storm, NULL, 0) != storm)
		CHECK(errno == EINTR);
	CHECK(atomic_load(&handled) > 100);
	CHECK(atomic_load(&echoed) >= PAIRS);
	puts("no byte was lost");
	return 0;
}
