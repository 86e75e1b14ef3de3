// ppoll, pselect, epoll_pwait and sigsuspend let a blocked signal in for their duration: EINTR.
#include "net.h"
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>

static atomic_int handled;
static pthread_t waiter;

static void handler(int signal)
{
	CHECK(signal == SIGUSR1 && pthread_equal(pthread_self(), waiter));
	atomic_fetch_add(&handled, 1);
}

static void send_signal(void *unused)
{
	(void)unused;
	OK(pthread_kill(waiter, SIGUSR1));
}

#define INTERRUPTED(name, call)                                                                    \
	do {                                                                                       \
		struct release release;                                                            \
		int before = atomic_load(&handled);                                                \
		release_start(&release, send_signal, NULL);                                        \
		FAILS(call, EINTR);                                                                \
		IS(atomic_load(&handled), before + 1);                                             \
		release_check(&release, name);                                                     \
		CHECK(blocked());                                                                  \
	} while (0)

static bool blocked(void)
{
	sigset_t now;
	OK(pthread_sigmask(SIG_SETMASK, NULL, &now));
	return sigismember(&now, SIGUSR1);
}

static void *body(void *unused)
{
	(void)unused;
	sigset_t none, usr1;
	struct epoll_event event;
	struct timespec long_time = { 100, 0 };
	waiter = pthread_self();
	sigemptyset(&none);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	OK(pthread_sigmask(SIG_BLOCK, &usr1, NULL));
	int epoll = epoll_create1(0);
	INTERRUPTED("ppoll", ppoll(NULL, 0, NULL, &none));
	INTERRUPTED("ppoll with a time-out", ppoll(NULL, 0, &long_time, &none));
	INTERRUPTED("pselect", pselect(0, NULL, NULL, NULL, NULL, &none));
	INTERRUPTED("epoll_pwait", epoll_pwait(epoll, &event, 1, -1, &none));
	INTERRUPTED("sigsuspend", sigsuspend(&none));

	/* One that is pending already ends the call at once. */
	int before = atomic_load(&handled);
	OK(pthread_kill(pthread_self(), SIGUSR1));
	IS(atomic_load(&handled), before);
	FAILS(ppoll(NULL, 0, NULL, &none), EINTR);
	IS(atomic_load(&handled), before + 1);
	OK(pthread_kill(pthread_self(), SIGUSR1));
	FAILS(sigsuspend(&none), EINTR);
	puts("pending before the call");

	/* One that the mask keeps out does not. */
	OK(pthread_kill(pthread_self(), SIGUSR1));
	IS(ppoll(NULL, 0, &(struct timespec){ 0, 20 * MS }, &usr1), 0);
	IS(atomic_load(&handled), before + 2);
	OK(pthread_sigmask(SIG_UNBLOCK, &usr1, NULL));
	IS(atomic_load(&handled), before + 3);
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
