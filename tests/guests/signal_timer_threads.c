// SIGEV_THREAD_ID: hundreds of threads with a timer each, whose signals come to their own; ended threads; bad ids.
#include "guest.h"
#include <signal.h>
#include <sys/syscall.h>

enum { THREADS = 400, EXPIRIES = 3 };
static __thread int own_expired;
static __thread int own_value;
static atomic_int astray;
static pthread_barrier_t barrier;

static pid_t own_tid(void)
{
	return (pid_t)syscall(SYS_gettid);
}

static void on_expiry(int signal, siginfo_t *info, void *unused)
{
	(void)signal, (void)unused;
	if (info->si_code != SI_TIMER || info->si_value.sival_int != own_value)
		atomic_fetch_add(&astray, 1);
	own_expired++;
}

static int make_timer(timer_t *timer, pid_t tid, int value)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1, .sigev_value.sival_int = value };
	event._sigev_un._tid = tid;
	return timer_create(CLOCK_MONOTONIC, &event, timer);
}

static void *is_timed(void *raw)
{
	timer_t timer;
	own_value = (int)(intptr_t)raw + 1;
	IS(make_timer(&timer, own_tid(), own_value), 0);
	/* As many at once as there are threads. */
	pthread_barrier_wait(&barrier);
	struct itimerspec often = { { 0, 20 * MS }, { 0, 20 * MS } };
	IS(timer_settime(timer, 0, &often, NULL), 0);
	while (own_expired < EXPIRIES)
		pause();
	IS(timer_delete(timer), 0);
	pthread_barrier_wait(&barrier);
	IS(timer_delete(timer), -1);
	return NULL;
}

static void *tells_its_id(void *to)
{
	*(pid_t *)to = own_tid();
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return NULL;
}

/* Made by another thread than it signals, which ends before the timer does. */
static void for_another(void)
{
	pid_t tid;
	timer_t timer;
	OK(pthread_barrier_init(&barrier, NULL, 2));
	pthread_t thread = start(tells_its_id, &tid);
	pthread_barrier_wait(&barrier);
	IS(make_timer(&timer, tid, 0), 0);
	struct itimerspec later = { { 0, 5 * MS }, { 0, 5 * MS } };
	pthread_barrier_wait(&barrier);
	join(thread);
	IS(timer_settime(timer, 0, &later, NULL), 0);
	sleep_ms(30);
	IS(own_expired, 0);
	IS(timer_delete(timer), 0);
	FAILS(make_timer(&timer, tid, 0), EINVAL);
	FAILS(make_timer(&timer, 1, 0), EINVAL);
	FAILS(make_timer(&timer, 0, 0), EINVAL);
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = on_expiry, .sa_flags = SA_SIGINFO };
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	OK(pthread_barrier_init(&barrier, NULL, THREADS));
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		threads[i] = start(is_timed, (void *)(intptr_t)i);
	for (int i = 0; i < THREADS; i++)
		join(threads[i]);
	IS(atomic_load(&astray), 0);
	puts("each thread has its own");
	for_another();
	puts("an ended thread gets none");
	return 0;
}
