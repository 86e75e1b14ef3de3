// With two hubs and no preemption the initial thread gets on, wherever another one computes.
// guest: set=GEVENT_SHIM_HUBS=2 set=GEVENT_SHIM_PREEMPT=0 limit=60
#include "guest.h"
#include <semaphore.h>

enum { ROUNDS = 50 };

static sem_t turn;
static atomic_int answered;

static void *computes_until_answered(void *raw)
{
	int round = *(int *)raw;
	CHECK(sem_post(&turn) == 0);
	while (atomic_load(&answered) <= round)
		;
	return NULL;
}

static void *computes_meanwhile(void *raw)
{
	int round = *(int *)raw;
	while (atomic_load(&answered) <= round)
		;
	return NULL;
}

int main(void)
{
	CHECK(sem_init(&turn, 0, 0) == 0);
	for (int round = 0; round < ROUNDS; round++) {
		pthread_t thread = start(computes_until_answered, &round);
		while (sem_wait(&turn) != 0)
			CHECK(errno == EINTR);
		atomic_fetch_add(&answered, 1);
		join(thread);
	}
	puts("woken by a thread that computes");
	atomic_store(&answered, 0);
	for (int round = 0; round < ROUNDS; round++) {
		pthread_t thread = start(computes_meanwhile, &round);
		sleep_ms(2);
		atomic_fetch_add(&answered, 1);
		join(thread);
	}
	puts("woken by the clock");
	return 0;
}
