// The signal thread: everyone blocks, one thread takes them with sigwait, sigwaitinfo, sigtimedwait, signalfd.
#include "guest.h"
#include <signal.h>
#include <sys/signalfd.h>

static sigset_t set;
static pthread_barrier_t barrier;

static void *takes(void *unused)
{
	siginfo_t info;
	int signal;
	(void)unused;
	OK(sigwait(&set, &signal));
	IS(signal, SIGUSR1);
	puts("sigwait: SIGUSR1");
	pthread_barrier_wait(&barrier);
	IS(sigwaitinfo(&set, &info), SIGUSR2);
	CHECK(info.si_signo == SIGUSR2 && info.si_pid == getpid());
	puts("sigwaitinfo: SIGUSR2");
	pthread_barrier_wait(&barrier);
	IS(sigtimedwait(&set, &info, &(struct timespec){ 100, 0 }), SIGTERM);
	CHECK(info.si_code == SI_QUEUE && info.si_value.sival_int == 1234);
	puts("sigtimedwait: SIGTERM with a value");
	FAILS(sigtimedwait(&set, &info, &(struct timespec){ 0, 30 * MS }), EAGAIN);
	FAILS(sigtimedwait(&set, &info, &(struct timespec){ 0, 0 }), EAGAIN);
	OK(pthread_kill(pthread_self(), SIGUSR1));
	IS(sigtimedwait(&set, &info, &(struct timespec){ 0, 0 }), SIGUSR1);
	puts("sigtimedwait: one that was pending");
	return NULL;
}

static void *reads_signalfd(void *raw)
{
	struct signalfd_siginfo info;
	IS(read(*(int *)raw, &info, sizeof info), sizeof info);
	IS(info.ssi_signo, SIGUSR1);
	IS(info.ssi_pid, getpid());
	puts("signalfd: SIGUSR1");
	return NULL;
}

static void tick_then_kill(int signal)
{
	for (int i = 0; i < 20; i++)
		sleep_ms(1);
	IS(kill(getpid(), signal), 0);
}

int main(void)
{
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGTERM);
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	OK(pthread_barrier_init(&barrier, NULL, 2));
	pthread_t thread = start(takes, NULL);
	tick_then_kill(SIGUSR1);
	pthread_barrier_wait(&barrier);
	tick_then_kill(SIGUSR2);
	pthread_barrier_wait(&barrier);
	OK(pthread_sigqueue(thread, SIGTERM, (union sigval){ .sival_int = 1234 }));
	join(thread);
	int fd = signalfd(-1, &set, 0);
	CHECK(fd >= 0);
	thread = start(reads_signalfd, &fd);
	tick_then_kill(SIGUSR1);
	join(thread);
	return 0;
}
