// A process that sends itself a signal has handled it when kill returns, if only the caller lets it through.
// guest: limit=60
#include "guest.h"
#include <signal.h>

enum { THREADS = 6, ROUNDS = 30, TIMES = 20 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static volatile sig_atomic_t handled;
static _Thread_local volatile sig_atomic_t mine;

static void count(int signal)
{
	(void)signal;
	handled++;
	mine++;
}

static void *sends(void *raw)
{
	sigset_t *set = raw;
	for (int round = 0; round < ROUNDS; round++) {
		OK(pthread_mutex_lock(&mutex));
		OK(pthread_sigmask(SIG_UNBLOCK, set, NULL));
		for (int i = 0; i < TIMES; i++) {
			int before = handled, own = mine;
			IS(kill(getpid(), i % 2 ? SIGUSR1 : SIGRTMIN), 0);
			IS(handled, before + 1);
			IS(mine, own + 1);
		}
		OK(pthread_sigmask(SIG_BLOCK, set, NULL));
		OK(pthread_mutex_unlock(&mutex));
		sched_yield();
	}
	return NULL;
}

int main(void)
{
	struct sigaction action = { .sa_handler = count };
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	IS(sigaction(SIGRTMIN, &action, NULL), 0);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN);
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		threads[i] = start(sends, &set);
	for (int i = 0; i < THREADS; i++)
		join(threads[i]);
	IS(handled, THREADS * ROUNDS * TIMES);
	puts("handled at once");
	return 0;
}
