// For a debugger: two threads are parked, one on a semaphore and one in a read, when the program dies.
// With an argument the initial thread is parked too, and the signal comes from outside.
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <unistd.h>

static sem_t never;
static int ends[2];

__attribute__((noinline)) static void *waits_for_semaphore(void *unused)
{
	sem_wait(&never);
	return unused;
}

__attribute__((noinline)) static void *reads_pipe(void *unused)
{
	char byte;
	return read(ends[0], &byte, 1) == 1 ? unused : NULL;
}

int main(int count, char **arguments)
{
	(void)arguments;
	pthread_t thread;
	if (pipe(ends) != 0)
		return 1;
	pid_t parent = getpid();
	if (count > 1 && fork() == 0) {
		usleep(300000);
		_exit(kill(parent, SIGQUIT));
	}
	pthread_create(&thread, NULL, waits_for_semaphore, NULL);
	pthread_create(&thread, NULL, reads_pipe, NULL);
	if (count > 1)
		pause();
	usleep(300000); /* until both wait; before it, there is less to see */
	__builtin_trap();
}
