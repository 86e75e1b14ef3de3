// Calls about threads that have ended, are detached, are oneself, or are wanted twice.
#include "guest.h"
#include <semaphore.h>
#include <signal.h>

static void *ends(void *tid)
{
	*(pid_t *)tid = gettid();
	return tid;
}

static void *waits(void *raw)
{
	while (sem_wait(raw) != 0)
		;
	return NULL;
}

int main(void)
{
	pid_t tid = 0;
	pthread_t thread = start(ends, &tid);
	/* Its end is seen by its id, not by joining. */
	while (!*(volatile pid_t *)&tid || tgkill(getpid(), tid, 0) == 0)
		sched_yield();
	FAILS(tgkill(getpid(), tid, SIGTERM), ESRCH);
	printf("kill %d %d\n", pthread_kill(thread, 0), pthread_kill(thread, SIGTERM));
	printf("bad signal %d\n", pthread_kill(thread, 1000));
	printf("cancel %d\n", pthread_cancel(thread));
	clockid_t clock;
	printf("clock %d\n", pthread_getcpuclockid(thread, &clock));
	int policy;
	struct sched_param parameters;
	printf("getschedparam %d\n", pthread_getschedparam(thread, &policy, &parameters));
	parameters.sched_priority = 0;
	printf("setschedparam %d\n", pthread_setschedparam(thread, SCHED_OTHER, &parameters));
	cpu_set_t set;
	printf("getaffinity %d\n", pthread_getaffinity_np(thread, sizeof set, &set));
	printf("setaffinity %d\n", pthread_setaffinity_np(thread, sizeof set, &set));
	char name[16];
	printf("getname %d setname %d\n", pthread_getname_np(thread, name, sizeof name),
	       pthread_setname_np(thread, "late"));
	printf("sigqueue %d\n", pthread_sigqueue(thread, SIGTERM, (union sigval){ 0 }));
	void *value;
	IS(pthread_tryjoin_np(thread, &value), 0);
	CHECK(value == &tid);

	IS(pthread_join(pthread_self(), NULL), EDEADLK);
	sem_t go_on;
	IS(sem_init(&go_on, 0, 0), 0);
	thread = start(waits, &go_on);
	OK(pthread_detach(thread));
	IS(pthread_detach(thread), EINVAL);
	IS(pthread_join(thread, NULL), EINVAL);
	IS(sem_post(&go_on), 0);
	puts("detached and joined are refused");
	return 0;
}
