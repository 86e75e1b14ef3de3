// Calls about threads that have ended, are detached, are oneself, are wanted twice, or are none.
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

/* What is no thread and never was: zeros, as where one was that libc has given back. */
static void no_thread(void)
{
	static _Alignas(64) char zeros[16384];
	pthread_t none = (pthread_t)(zeros + 8192);
	char name[16];
	clockid_t clock;
	printf("kill %d %d\n", pthread_kill(none, 0), pthread_kill(none, SIGTERM));
	printf("clock %d\n", pthread_getcpuclockid(none, &clock));
	printf("getname %d setname %d\n", pthread_getname_np(none, name, sizeof name),
	       pthread_setname_np(none, "none"));
	printf("short getname %d long setname %d\n", pthread_getname_np(none, name, 3),
	       pthread_setname_np(none, "longer than a name may be"));
	printf("sigqueue %d\n", pthread_sigqueue(none, SIGTERM, (union sigval){ 0 }));
	pthread_t between = none + 4;
	printf("setname between %d\n", pthread_setname_np(between, "none"));
}

int main(void)
{
	no_thread();
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
	no_thread();
	void *value;
	IS(pthread_tryjoin_np(thread, &value), 0);
	CHECK(value == &tid);

	IS(pthread_join(pthread_self(), NULL), EDEADLK);
	/* The thread may wake after main has returned. */
	static sem_t go_on;
	IS(sem_init(&go_on, 0, 0), 0);
	thread = start(waits, &go_on);
	OK(pthread_detach(thread));
	IS(pthread_detach(thread), EINVAL);
	IS(pthread_join(thread, NULL), EINVAL);
	IS(sem_post(&go_on), 0);
	puts("detached and joined are refused");
	return 0;
}
