/*
 * RLIMIT_SIGPENDING 0, from the start and later: queued signals and timers fail as bare, and threads
 * wait, compute and give way as ever.
 */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "limit.h"

static atomic_int handled;

static void handler(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

static void *nothing(void *unused)
{
	return unused;
}

static void *is_killed(void *unused)
{
	while (atomic_load(&handled) < 2)
		usleep(1000);
	return unused;
}

static void tell(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 2 };
	timer_t timer;
	int made = timer_create(CLOCK_MONOTONIC, &event, &timer);
	printf("timer %d ", made == 0 ? 0 : errno);
	if (made == 0)
		IS(timer_delete(timer), 0);
	printf("queued %d ", sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ 1 }) == 0 ? 0 : errno);
	pthread_t thread = start(is_killed, NULL);
	printf("thread %d ", pthread_sigqueue(thread, SIGRTMIN + 1, (union sigval){ 1 }));
	atomic_store(&handled, 0);
	OK(pthread_kill(thread, SIGUSR1));
	while (atomic_load(&handled) < 1)
		usleep(1000);
	IS(kill(getpid(), SIGUSR1), 0);
	join(thread);
	puts("killed");
}

int main(void)
{
	const struct rlimit none = { 0, 0 };
	struct sigaction action = { .sa_handler = handler };
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	IS(sigaction(SIGRTMIN + 1, &action, NULL), 0);
	for (int later = 0; later < 2; later++) {
		fflush(stdout);
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			prepare();
			if (later)
				join(start(nothing, NULL));
			IS(setrlimit(RLIMIT_SIGPENDING, &none), 0);
			tell();
			everything();
			fflush(stdout);
			_exit(0);
		}
		int status;
		IS(waitpid(child, &status, 0), child);
		printf("%d: %x\n", later, (unsigned)status);
	}
	return 0;
}
