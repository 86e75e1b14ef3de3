// poll and select that find nothing tell of a pending signal, also when they do not wait.
#include "guest.h"
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>

static atomic_int handled;

static void handler(int number)
{
	(void)number;
	atomic_fetch_add(&handled, 1);
}

static void *body(void *unused)
{
	sigset_t blocked, none;
	struct timespec zero = { 0, 0 }, soon = { 0, 20 * MS };
	int before = atomic_load(&handled);
	(void)unused;
	sigemptyset(&none);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	OK(pthread_sigmask(SIG_BLOCK, &blocked, NULL));
	OK(pthread_kill(pthread_self(), SIGUSR1));
	IS(poll(NULL, 0, 0), 0);
	IS(atomic_load(&handled), before);
	FAILS(ppoll(NULL, 0, &zero, &none), EINTR);
	IS(atomic_load(&handled), before + 1);
	IS(ppoll(NULL, 0, &zero, &none), 0);
	OK(pthread_kill(pthread_self(), SIGUSR1));
	FAILS(pselect(0, NULL, NULL, NULL, &zero, &none), EINTR);
	IS(atomic_load(&handled), before + 2);
	OK(pthread_kill(pthread_self(), SIGUSR1));
	FAILS(ppoll(NULL, 0, &soon, &none), EINTR);
	IS(atomic_load(&handled), before + 3);
	puts("poll and select");

	int ends[2], epoll = epoll_create1(0);
	struct epoll_event event;
	OK(pthread_kill(pthread_self(), SIGUSR1));
	IS(epoll_pwait(epoll, &event, 1, 0, &none), 0);
	IS(atomic_load(&handled), before + 3);
	FAILS(epoll_pwait(epoll, &event, 1, 20, &none), EINTR);
	IS(atomic_load(&handled), before + 4);
	puts("epoll");

	/* What is ready comes first, and the signal stays pending. */
	IS(pipe(ends), 0);
	struct pollfd writable = { ends[1], POLLOUT, 0 };
	OK(pthread_kill(pthread_self(), SIGUSR1));
	IS(ppoll(&writable, 1, NULL, &none), 1);
	printf("%d handled with what is ready\n", atomic_load(&handled) - before - 4);
	OK(pthread_sigmask(SIG_UNBLOCK, &blocked, NULL));
	IS(atomic_load(&handled), before + 5);
	close(ends[0]);
	close(ends[1]);
	close(epoll);
	return NULL;
}

int main(void)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	body(NULL);
	join(start(body, NULL));
	return 0;
}
