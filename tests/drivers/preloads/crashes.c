// Crashes as the first argument says, in a thread, or in the initial one if there is a second argument.
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fds[2];
static volatile int zero;
static const char *how;

__attribute__((noinline)) int level_two(volatile int *at)
{
	if (!strcmp(how, "abort"))
		abort();
	if (!strcmp(how, "divides"))
		return 5 / zero;
	if (!strcmp(how, "raises"))
		raise(SIGBUS);
	*at = 1;
	return *at + 1;
}

__attribute__((noinline)) int level_one(volatile int *at)
{
	char byte;
	if (read(fds[0], &byte, 1) != 1)
		return 0;
	return level_two(at) + byte;
}

static void *crashes(void *nowhere) { return (void *)(long)level_one(nowhere); }

static void *tells(void *unused)
{
	if (write(fds[1], "x", 1) == 1)
		for (;;)
			pause();
	return unused;
}

int main(int argc, char **argv)
{
	int *nowhere = (int *)16;
	pthread_t thread;
	how = argv[1];
	if (pipe(fds))
		return 1;
	puts("begin"), fflush(stdout);
	if (pthread_create(&thread, NULL, tells, NULL))
		return 1;
	if (argc > 2)
		return level_one(nowhere);
	if (pthread_create(&thread, NULL, crashes, nowhere))
		return 1;
	pthread_join(thread, NULL);
	return 0;
}
