// Signals sent to one thread are read from its descriptor, made before or after the first thread.
// guest: limit=60
#include "guest.h"
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

static int early, late;
static sem_t taken;

static int is_ready(int fd)
{
	struct pollfd one = { .fd = fd, .events = POLLIN };
	return poll(&one, 1, 0);
}

static struct signalfd_siginfo next(int fd)
{
	struct signalfd_siginfo info;
	IS(read(fd, &info, sizeof info), sizeof info);
	CHECK(info.ssi_pid == (uint32_t)getpid());
	return info;
}

static void *reads(void *unused)
{
	for (int i = 0; i < 20; i++) {
		IS(next(late).ssi_signo, SIGUSR2);
		IS(sem_post(&taken), 0);
	}
	return unused;
}

static void *waits(void *unused)
{
	int epoll = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN };
	CHECK(epoll >= 0);
	IS(epoll_ctl(epoll, EPOLL_CTL_ADD, early, &event), 0);
	IS(epoll_wait(epoll, &event, 1, 10000), 1);
	IS(next(early).ssi_signo, SIGUSR1);
	IS(close(epoll), 0);
	return unused;
}

static void sends_itself(int fd, int signal)
{
	IS(is_ready(fd), 0);
	IS(raise(signal), 0);
	IS(is_ready(fd), 1);
	struct signalfd_siginfo info = next(fd);
	IS(info.ssi_signo, signal);
	IS(info.ssi_code, SI_TKILL);
	IS(is_ready(fd), 0);
}

int main(void)
{
	sigset_t first, second, pending;
	sigemptyset(&first);
	sigaddset(&first, SIGUSR1);
	sigemptyset(&second);
	sigaddset(&second, SIGUSR2);
	sigaddset(&second, SIGRTMIN);
	OK(pthread_sigmask(SIG_BLOCK, &first, NULL));
	OK(pthread_sigmask(SIG_BLOCK, &second, NULL));
	early = signalfd(-1, &first, 0);
	CHECK(early >= 0);
	pthread_t thread = start(waits, NULL);
	sleep_ms(5);
	OK(pthread_kill(thread, SIGUSR1));
	join(thread);
	sends_itself(early, SIGUSR1);
	puts("from before the first thread");

	IS(sem_init(&taken, 0, 0), 0);
	late = signalfd(-1, &second, 0);
	CHECK(late >= 0);
	sends_itself(late, SIGUSR2);
	thread = start(reads, NULL);
	for (int i = 0; i < 20; i++) {
		OK(pthread_kill(thread, SIGUSR2));
		IS(sem_wait(&taken), 0);
	}
	join(thread);
	for (int i = 0; i < 3; i++)
		OK(pthread_sigqueue(pthread_self(), SIGRTMIN, (union sigval){ .sival_int = i }));
	for (int i = 0; i < 3; i++) {
		struct signalfd_siginfo info = next(late);
		CHECK(info.ssi_signo == (uint32_t)SIGRTMIN && info.ssi_int == i && info.ssi_code == SI_QUEUE);
	}
	IS(sigpending(&pending), 0);
	IS(sigismember(&pending, SIGRTMIN), 0);
	puts("from after");
	return 0;
}
