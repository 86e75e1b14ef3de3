// Timers that expire more often than they are taken count their overruns, for the process and for one thread.
#include "guest.h"
#include <signal.h>
#include <time.h>

static atomic_int handled, overruns, wrong;
static timer_t timer;

static void handler(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	if (info->si_code != SI_TIMER || info->si_value.sival_int != 77)
		atomic_fetch_add(&wrong, 1);
	atomic_fetch_add(&handled, 1);
	int now = timer_getoverrun(timer);
	if (now != info->si_overrun)
		atomic_fetch_add(&wrong, 1);
	if (now > atomic_load(&overruns))
		atomic_store(&overruns, now);
}

static void with(struct sigevent *event, const char *name)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	IS(timer_create(CLOCK_MONOTONIC, event, &timer), 0);
	atomic_store(&handled, 0);
	atomic_store(&overruns, 0);
	struct itimerspec every = { { 0, 1000000 }, { 0, 1000000 } };
	IS(timer_settime(timer, 0, &every, NULL), 0);
	/* Blocked for 50 periods and more: one signal, the rest are overruns. */
	sleep_ms(60);
	OK(pthread_sigmask(SIG_UNBLOCK, &set, NULL));
	while (atomic_load(&handled) < 3)
		sleep_ms(1);
	IS(timer_settime(timer, 0, &(struct itimerspec){ 0 }, NULL), 0);
	printf("%s: many overruns %d, wrong %d\n", name, atomic_load(&overruns) >= 45, atomic_load(&wrong));
	IS(timer_delete(timer), 0);
}

static void *thread_body(void *unused)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN };
	event.sigev_value.sival_int = 77;
	event._sigev_un._tid = gettid();
	with(&event, "of a thread");
	return unused;
}

static void *sleeps(void *unused)
{
	sleep_ms(300);
	return unused;
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };
	IS(sigaction(SIGRTMIN, &action, NULL), 0);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	pthread_t other = start(sleeps, NULL);
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN };
	event.sigev_value.sival_int = 77;
	with(&event, "of the process");
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	join(start(thread_body, NULL));
	join(other);
	return 0;
}
