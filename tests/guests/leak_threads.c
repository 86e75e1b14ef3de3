// Thousands of threads, cancels, parks, time-outs, signals and timers leave descriptors, mappings and memory as they were.
// guest: limit=120
#include "leak.h"
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>

enum { AT_ONCE = 50 };
static pthread_key_t key;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static sem_t done, go;

static void *ends(void *unused)
{
	OK(pthread_setspecific(key, malloc(100)));
	return unused;
}

static void make(void *(*body)(void *), pthread_t *threads)
{
	for (int i = 0; i < AT_ONCE; i++)
		threads[i] = start(body, NULL);
}

static void joined(void)
{
	pthread_t threads[AT_ONCE];
	make(ends, threads);
	for (int i = 0; i < AT_ONCE; i++)
		join(threads[i]);
}

static void *detaches(void *unused)
{
	OK(pthread_detach(pthread_self()));
	IS(sem_post(&done), 0);
	return unused;
}

static void detached(void)
{
	for (int i = 0; i < AT_ONCE; i++) {
		start(detaches, NULL);
		IS(sem_wait(&done), 0);
	}
}

static void *of_any_size(void *unused)
{
	sem_wait(&go);
	return unused;
}

static void of_sizes(void)
{
	pthread_t threads[AT_ONCE];
	for (int i = 0; i < AT_ONCE; i++) {
		pthread_attr_t attributes;
		OK(pthread_attr_init(&attributes));
		OK(pthread_attr_setstacksize(&attributes, (size_t)(i % 10 + 1) * 65536));
		OK(pthread_attr_setguardsize(&attributes, (size_t)(i % 3) * 4096));
		OK(pthread_create(&threads[i], &attributes, of_any_size, NULL));
		OK(pthread_attr_destroy(&attributes));
	}
	for (int i = 0; i < AT_ONCE; i++)
		IS(sem_post(&go), 0);
	for (int i = 0; i < AT_ONCE; i++)
		join(threads[i]);
}

static void *waits_for_ever(void *unused)
{
	pthread_cleanup_push(free, malloc(100));
	for (;;)
		poll(NULL, 0, -1);
	pthread_cleanup_pop(1);
	return unused;
}

static void cancelled(void)
{
	pthread_t threads[AT_ONCE];
	make(waits_for_ever, threads);
	for (int i = 0; i < AT_ONCE; i++)
		OK(pthread_cancel(threads[i]));
	for (int i = 0; i < AT_ONCE; i++)
		CHECK(join(threads[i]) == PTHREAD_CANCELED);
}

/* Each parks on locks, a pipe, poll, epoll and time-outs. */
static void *parks(void *unused)
{
	struct timespec until;
	int pipes[2];
	char byte = 0;
	IS(pipe(pipes), 0);
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(0);
	CHECK(epoll >= 0);
	IS(epoll_ctl(epoll, EPOLL_CTL_ADD, pipes[0], &event), 0);
	for (int i = 0; i < 10; i++) {
		until = in_ms(CLOCK_REALTIME, 0);
		OK(pthread_mutex_lock(&mutex));
		IS(pthread_cond_timedwait(&condition, &mutex, &until), ETIMEDOUT);
		OK(pthread_mutex_unlock(&mutex));
		struct pollfd poll_one = { .fd = pipes[0], .events = POLLIN };
		IS(poll(&poll_one, 1, 1), 0);
		IS(epoll_wait(epoll, &event, 1, 1), 0);
		IS(write(pipes[1], &byte, 1), 1);
		IS(epoll_wait(epoll, &event, 1, -1), 1);
		IS(read(pipes[0], &byte, 1), 1);
	}
	close(epoll);
	close(pipes[0]);
	close(pipes[1]);
	return unused;
}

static void parked(void)
{
	pthread_t threads[AT_ONCE];
	make(parks, threads);
	for (int i = 0; i < AT_ONCE; i++)
		join(threads[i]);
}

static void on_signal(int signal)
{
	(void)signal;
}

static void *takes_signals(void *unused)
{
	while (sem_wait(&go) != 0)
		CHECK(errno == EINTR);
	return unused;
}

static void signals_and_timers(void)
{
	pthread_t threads[AT_ONCE];
	make(takes_signals, threads);
	for (int i = 0; i < AT_ONCE; i++) {
		union sigval value = { .sival_int = i };
		IS(pthread_sigqueue(threads[i], SIGRTMIN, value), 0);
		struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
		struct itimerspec once = { .it_value = { 0, 1 } };
		timer_t timer;
		IS(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
		IS(timer_settime(timer, 0, &once, NULL), 0);
		IS(timer_delete(timer), 0);
	}
	for (int i = 0; i < AT_ONCE; i++)
		IS(sem_post(&go), 0);
	for (int i = 0; i < AT_ONCE; i++)
		join(threads[i]);
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	IS(sigaction(SIGRTMIN, &action, NULL), 0);
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	IS(sem_init(&done, 0, 0), 0);
	IS(sem_init(&go, 0, 0), 0);
	OK(pthread_key_create(&key, free));
	leaks_nothing("joined", joined, 100);
	leaks_nothing("detached", detached, 100);
	leaks_nothing("of any size", of_sizes, 60);
	leaks_nothing("cancelled", cancelled, 60);
	leaks_nothing("parked", parked, 20);
	leaks_nothing("signals and timers", signals_and_timers, 40);
	return 0;
}
