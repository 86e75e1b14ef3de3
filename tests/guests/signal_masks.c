// Signal masks belong to threads: inherited at creation, changed alone, pending until let in.
#include "guest.h"
#include <signal.h>

static atomic_int handled;
static pthread_t last;
static pthread_barrier_t barrier;

static void handler(int signal)
{
	CHECK(signal == SIGUSR1);
	last = pthread_self();
	atomic_fetch_add(&handled, 1);
}

static bool is_blocked(int signal)
{
	sigset_t mask;
	OK(pthread_sigmask(SIG_SETMASK, NULL, &mask));
	return sigismember(&mask, signal);
}

static void change(int how, int signal)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, signal);
	OK(pthread_sigmask(how, &set, NULL));
}

static bool is_pending(int signal)
{
	sigset_t set;
	IS(sigpending(&set), 0);
	return sigismember(&set, signal);
}

static void *blocks_for_a_while(void *unused)
{
	(void)unused;
	CHECK(is_blocked(SIGUSR2) && !is_blocked(SIGUSR1)); /* as its creator's */
	change(SIG_UNBLOCK, SIGUSR2);
	change(SIG_BLOCK, SIGUSR1);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier); /* the signal is sent in between */
	CHECK(is_pending(SIGUSR1));
	IS(atomic_load(&handled), 0);
	change(SIG_UNBLOCK, SIGUSR1);
	IS(atomic_load(&handled), 1);
	CHECK(pthread_equal(last, pthread_self()));
	CHECK(!is_pending(SIGUSR1));
	pthread_barrier_wait(&barrier);
	return NULL;
}

static void *lets_it_in(void *unused)
{
	(void)unused;
	change(SIG_UNBLOCK, SIGUSR1);
	pthread_barrier_wait(&barrier);
	while (atomic_load(&handled) < 2)
		sleep_ms(1);
	CHECK(pthread_equal(last, pthread_self()));
	return NULL;
}

int main(void)
{
	struct sigaction action = { .sa_handler = handler };
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	OK(pthread_barrier_init(&barrier, NULL, 2));
	change(SIG_BLOCK, SIGUSR2);
	pthread_t thread = start(blocks_for_a_while, NULL);
	pthread_barrier_wait(&barrier);
	CHECK(is_blocked(SIGUSR2) && !is_blocked(SIGUSR1));
	OK(pthread_kill(thread, SIGUSR1));
	CHECK(!is_pending(SIGUSR1));
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	join(thread);
	puts("pending for its thread");

	/* For the process: it goes to a thread that lets it in. */
	change(SIG_BLOCK, SIGUSR1);
	thread = start(lets_it_in, NULL);
	pthread_barrier_wait(&barrier);
	IS(kill(getpid(), SIGUSR1), 0);
	join(thread);
	IS(atomic_load(&handled), 2);
	puts("process signal found its thread");

	IS(kill(getpid(), SIGUSR1), 0); /* nobody lets it in: it waits */
	CHECK(is_pending(SIGUSR1));
	IS(atomic_load(&handled), 2);
	change(SIG_UNBLOCK, SIGUSR1);
	IS(atomic_load(&handled), 3);
	puts("process signal waited");
	return 0;
}
