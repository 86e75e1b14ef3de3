// Calls that EINTR ends with and without SA_RESTART: sleeps, sem_wait, poll, recv with a time-out, wait.
#include "net.h"
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>

static pthread_t target;
static atomic_int handled;
static atomic_bool stop;

static void handler(int signal)
{
	(void)signal;
	CHECK(pthread_equal(pthread_self(), target));
	atomic_fetch_add(&handled, 1);
}

/* Signals until told that the call is back: one that comes before the call begins is lost on it. */
static void *keeps_signalling(void *unused)
{
	(void)unused;
	while (!atomic_load(&stop)) {
		sleep_ms(5);
		OK(pthread_kill(target, SIGUSR1));
	}
	return NULL;
}

#define INTERRUPTED(call)                                                                          \
	do {                                                                                       \
		atomic_store(&stop, false);                                                        \
		atomic_store(&handled, 0);                                                         \
		pthread_t sender = start(keeps_signalling, NULL);                                  \
		FAILS(call, EINTR);                                                                \
		atomic_store(&stop, true);                                                         \
		CHECK(atomic_load(&handled) >= 1);                                                 \
		join(sender);                                                                      \
	} while (0)

static void with_flags(int flags, const char *name)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };
	struct timespec hundred = { 100, 0 }, left = { 0, 0 };
	struct timeval timeval = { 100, 0 };
	sem_t semaphore;
	int pair[2];
	char byte;
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	INTERRUPTED(nanosleep(&hundred, &left));
	CHECK(left.tv_sec >= 1 && left.tv_sec < 100);
	left.tv_sec = 0;
	INTERRUPTED((errno = clock_nanosleep(CLOCK_MONOTONIC, 0, &hundred, &left)) ? -1 : 0);
	CHECK(left.tv_sec >= 1 && left.tv_sec < 100);
	struct timespec until = in_ms(CLOCK_MONOTONIC, 100000);
	INTERRUPTED((errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL)) ? -1 : 0);
	INTERRUPTED(usleep(100000000));
	INTERRUPTED(poll(NULL, 0, -1));
	INTERRUPTED(select(0, NULL, NULL, NULL, &timeval));
	int epoll = epoll_create1(0);
	struct epoll_event event;
	INTERRUPTED(epoll_wait(epoll, &event, 1, -1));
	close(epoll);
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	IS(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &timeval, sizeof timeval), 0);
	INTERRUPTED(recv(pair[0], &byte, 1, 0)); /* a time-out on the socket: never restarted */
	close(pair[0]);
	close(pair[1]);
	INTERRUPTED(pause());
	IS(sem_init(&semaphore, 0, 0), 0);
	if (!(flags & SA_RESTART)) {
		INTERRUPTED(sem_wait(&semaphore));
		until = in_ms(CLOCK_REALTIME, 100000);
		INTERRUPTED(sem_timedwait(&semaphore, &until));
		IS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		INTERRUPTED(recv(pair[0], &byte, 1, 0));
		INTERRUPTED(read(pair[0], &byte, 1));
		net_fill(pair[0]);
		INTERRUPTED(send(pair[0], "xyz", 3, 0));
		struct sockaddr_in address;
		int listener = tcp_listener(&address, 1);
		INTERRUPTED(accept(listener, NULL, NULL));
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			signal(SIGUSR1, SIG_DFL);
			for (;;)
				pause();
		}
		INTERRUPTED(waitpid(child, NULL, 0));
		IS(kill(child, SIGKILL), 0);
		IS(waitpid(child, NULL, 0), child);
	}
	puts(name);
}

static void *body(void *unused)
{
	(void)unused;
	target = pthread_self();
	with_flags(0, "without SA_RESTART");
	with_flags(SA_RESTART, "with SA_RESTART");
	return NULL;
}

int main(void)
{
	body(NULL);
	join(start(body, NULL));
	return 0;
}
