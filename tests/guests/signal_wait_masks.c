// ppoll, pselect, epoll_pwait, sigsuspend: their mask holds for exactly the wait; a signal pending before ends it.
#include "guest.h"
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>

static _Thread_local volatile int handled;
static sigset_t blocked, open_set;
static int poller, ends[2];

static void handler(int number)
{
	(void)number;
	sigset_t now;
	handled++;
	/* The wait's own mask while the handler runs, with the signal added. */
	OK(pthread_sigmask(SIG_BLOCK, NULL, &now));
	CHECK(sigismember(&now, SIGUSR1));
	CHECK(sigismember(&now, SIGHUP));
	CHECK(!sigismember(&now, SIGUSR2));
}

static int in_ppoll(void)
{
	return ppoll(NULL, 0, NULL, &open_set);
}

static int in_pselect(void)
{
	return pselect(0, NULL, NULL, NULL, NULL, &open_set);
}

static int in_epoll_pwait(void)
{
	struct epoll_event event;
	return epoll_pwait(poller, &event, 1, -1, &open_set);
}

static int in_epoll_pwait2(void)
{
	struct epoll_event event;
	return (int)syscall(SYS_epoll_pwait2, poller, &event, 1, NULL, &open_set, 8);
}

static int in_sigsuspend(void)
{
	return sigsuspend(&open_set);
}

static int (*const calls[])(void) = { in_ppoll, in_pselect, in_epoll_pwait, in_epoll_pwait2, in_sigsuspend };
static const char *const names[] = { "ppoll", "pselect", "epoll_pwait", "epoll_pwait2", "sigsuspend" };

static void check_mask(void)
{
	sigset_t now;
	OK(pthread_sigmask(SIG_BLOCK, NULL, &now));
	CHECK(sigismember(&now, SIGUSR1) && sigismember(&now, SIGUSR2) && !sigismember(&now, SIGHUP));
}

static sem_t inside;

static void *waits(void *raw)
{
	size_t which = (size_t)(intptr_t)raw;
	OK(pthread_sigmask(SIG_SETMASK, &blocked, NULL));
	/* Pending before. */
	handled = 0;
	OK(pthread_kill(pthread_self(), SIGUSR1));
	IS(handled, 0);
	FAILS(calls[which](), EINTR);
	IS(handled, 1);
	check_mask();
	/* Sent while it waits. */
	IS(sem_post(&inside), 0);
	FAILS(calls[which](), EINTR);
	IS(handled, 2);
	check_mask();
	/* Ready and pending: which comes first is not said, but the signal is not lost. */
	return NULL;
}

static void *ready_and_pending(void *unused)
{
	sigset_t pending;
	struct pollfd readable = { .fd = ends[0], .events = POLLIN };
	OK(pthread_sigmask(SIG_SETMASK, &blocked, NULL));
	handled = 0;
	OK(pthread_kill(pthread_self(), SIGUSR1));
	int result = ppoll(&readable, 1, &(struct timespec){ 0 }, &open_set);
	CHECK(result == 1 || (result == -1 && errno == EINTR));
	IS(sigpending(&pending), 0);
	printf("ready and pending: %d, handled %d, still pending %d\n", result, handled, sigismember(&pending, SIGUSR1));
	result = ppoll(NULL, 0, &(struct timespec){ 0 }, &open_set);
	printf("not ready and pending: %d, handled %d\n", result, handled);
	check_mask();
	return unused;
}

int main(void)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	IS(sem_init(&inside, 0, 0), 0);
	poller = epoll_create1(0);
	IS(pipe(ends), 0);
	IS(write(ends[1], "x", 1), 1);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigaddset(&blocked, SIGUSR2);
	sigemptyset(&open_set);
	sigaddset(&open_set, SIGHUP);
	for (size_t i = 0; i < COUNT(calls); i++) {
		pthread_t thread = start(waits, (void *)(intptr_t)i);
		while (sem_wait(&inside) != 0)
			;
		sleep_ms(10);
		OK(pthread_kill(thread, SIGUSR1));
		join(thread);
		printf("%s\n", names[i]);
	}
	join(start(ready_and_pending, NULL));
	return 0;
}
