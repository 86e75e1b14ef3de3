// Ignoring a signal discards the pending ones; a default action of ignoring does too; blocked ones stay.
#include "guest.h"
#include <sched.h>
#include <semaphore.h>
#include <signal.h>

static atomic_int handled;
static sem_t go_on, ready;

static void handler(int number)
{
	(void)number;
	atomic_fetch_add(&handled, 1);
}

static sigset_t set_of(int number)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, number);
	return set;
}

static bool is_pending(int number)
{
	sigset_t pending;
	IS(sigpending(&pending), 0);
	return sigismember(&pending, number);
}

static void *has_pending(void *raw)
{
	int number = *(int *)raw;
	sigset_t set = set_of(number);
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	IS(sem_post(&ready), 0);
	while (sem_wait(&go_on) != 0)
		;
	bool before = is_pending(number);
	OK(pthread_sigmask(SIG_UNBLOCK, &set, NULL));
	return (void *)(intptr_t)before;
}

static void with(int number, const char *name, void (*then)(int))
{
	struct sigaction action = { .sa_handler = handler };
	IS(sigaction(number, &action, NULL), 0);
	atomic_store(&handled, 0);
	sigset_t set = set_of(number);
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	pthread_t thread = start(has_pending, &number);
	while (sem_wait(&ready) != 0)
		;
	OK(pthread_kill(thread, number));
	OK(pthread_sigqueue(thread, number, (union sigval){ 0 }));
	IS(raise(number), 0);
	IS(kill(getpid(), number), 0);
	CHECK(is_pending(number));
	action.sa_handler = then;
	IS(sigaction(number, &action, NULL), 0);
	printf("%s: main's pending %d, ", name, is_pending(number));
	action.sa_handler = handler;
	IS(sigaction(number, &action, NULL), 0);
	printf("with a handler again %d, ", is_pending(number));
	IS(sem_post(&go_on), 0);
	printf("thread's pending %d, ", (int)(intptr_t)join(thread));
	OK(pthread_sigmask(SIG_UNBLOCK, &set, NULL));
	printf("handled %d\n", atomic_load(&handled));
}

int main(void)
{
	IS(sem_init(&go_on, 0, 0), 0);
	IS(sem_init(&ready, 0, 0), 0);
	with(SIGUSR1, "user, ignored", SIG_IGN);
	with(SIGRTMIN + 3, "real-time, ignored", SIG_IGN);
	with(SIGCHLD, "child, default", SIG_DFL);
	with(SIGWINCH, "window, default", SIG_DFL);
	with(SIGCHLD, "child, ignored", SIG_IGN);
	with(SIGUSR1, "user, handler", handler);

	/* Sent while it is ignored and blocked: pending, and discarded when it is let in. */
	signal(SIGUSR1, SIG_IGN);
	sigset_t set = set_of(SIGUSR1);
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	IS(raise(SIGUSR1), 0);
	printf("sent while ignored and blocked: %d\n", is_pending(SIGUSR1));
	signal(SIGUSR1, handler);
	atomic_store(&handled, 0);
	OK(pthread_sigmask(SIG_UNBLOCK, &set, NULL));
	printf("handled %d\n", atomic_load(&handled));
	return 0;
}
