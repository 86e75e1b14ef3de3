// For a debugger: a handler stops the program while its thread is inside a blocking read.
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static int ends[2];
static pthread_t target;

__attribute__((noinline)) static void handler(int signal)
{
	(void)signal;
	__asm__ volatile("int3");
}

__attribute__((noinline)) static int parked_here(void)
{
	char byte;
	return (int)read(ends[0], &byte, 1) + 1;
}

static void *signals(void *unused)
{
	usleep(300000); /* until the other is in read; before it, there is less to see */
	pthread_kill(target, SIGUSR1);
	return unused;
}

int main(void)
{
	pthread_t thread;
	struct sigaction action = { .sa_handler = handler };
	if (sigaction(SIGUSR1, &action, NULL) != 0 || pipe(ends) != 0)
		return 1;
	target = pthread_self();
	if (pthread_create(&thread, NULL, signals, NULL) != 0)
		return 1;
	return parked_here();
}
