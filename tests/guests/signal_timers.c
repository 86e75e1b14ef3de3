// SIGALRM from alarm and setitimer, timer_create with a signal and with a thread, while threads run.
#include "guest.h"
#include <signal.h>
#include <sys/time.h>

static atomic_int alarms, queued, called;
static pthread_t main_thread;

static void on_alarm(int signal)
{
	CHECK(signal == SIGALRM && pthread_equal(pthread_self(), main_thread));
	atomic_fetch_add(&alarms, 1);
}

static void on_queued(int signal, siginfo_t *info, void *unused)
{
	(void)unused;
	CHECK(signal == SIGUSR1 && info->si_code == SI_TIMER && info->si_value.sival_int == 99);
	atomic_fetch_add(&queued, 1);
}

static void call_back(union sigval value)
{
	CHECK(value.sival_int == 55);
	CHECK(!pthread_equal(pthread_self(), main_thread));
	atomic_fetch_add(&called, 1);
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct sigaction with_info = { .sa_sigaction = on_queued, .sa_flags = SA_SIGINFO | SA_RESTART };
	struct ticker ticker;
	main_thread = pthread_self();
	IS(sigaction(SIGALRM, &action, NULL), 0);
	IS(sigaction(SIGUSR1, &with_info, NULL), 0);
	/* Threads with the signal blocked, so that it has one place to go. */
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	ticker_start(&ticker);
	OK(pthread_sigmask(SIG_UNBLOCK, &set, NULL));

	alarm(1);
	FAILS(pause(), EINTR);
	IS(atomic_load(&alarms), 1);
	puts("alarm");
	struct itimerval every = { { 0, 20000 }, { 0, 20000 } }, off = { 0 };
	IS(setitimer(ITIMER_REAL, &every, NULL), 0);
	while (atomic_load(&alarms) < 6)
		pause();
	IS(setitimer(ITIMER_REAL, &off, NULL), 0);
	puts("setitimer");

	timer_t timer;
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1,
				  .sigev_value.sival_int = 99 };
	struct itimerspec often = { { 0, 10 * MS }, { 0, 10 * MS } };
	IS(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	IS(timer_settime(timer, 0, &often, NULL), 0);
	while (atomic_load(&queued) < 5)
		sleep_ms(1);
	IS(timer_delete(timer), 0);
	puts("timer_create with a signal");

	struct sigevent thread = { .sigev_notify = SIGEV_THREAD, .sigev_notify_function = call_back,
				   .sigev_value.sival_int = 55 };
	IS(timer_create(CLOCK_MONOTONIC, &thread, &timer), 0);
	IS(timer_settime(timer, 0, &often, NULL), 0);
	while (atomic_load(&called) < 5)
		sleep_ms(1);
	IS(timer_delete(timer), 0);
	puts("timer_create with a thread");
	ticker_check(&ticker, "all of them");
	return 0;
}
