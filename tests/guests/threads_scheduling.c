// How a thread is scheduled: by attribute, by itself, by another; policy, priority, niceness, affinity, I/O priority.
#include "guest.h"
#include <sched.h>
#include <semaphore.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static sem_t go_on;
static atomic_int tid_of_thread;

static void *parks(void *unused)
{
	atomic_store(&tid_of_thread, gettid());
	while (sem_wait(&go_on) != 0)
		;
	return unused;
}

static pthread_t parked(pthread_attr_t *attributes)
{
	pthread_t thread;
	atomic_store(&tid_of_thread, 0);
	OK(pthread_create(&thread, attributes, parks, NULL));
	while (!atomic_load(&tid_of_thread))
		sched_yield();
	return thread;
}

static void end(pthread_t thread)
{
	IS(sem_post(&go_on), 0);
	join(thread);
}

static void *has_attributes(void *raw)
{
	pthread_attr_t attributes;
	int policy, scope, detached;
	struct sched_param parameters;
	OK(pthread_getattr_np(pthread_self(), &attributes));
	OK(pthread_attr_getschedpolicy(&attributes, &policy));
	OK(pthread_attr_getschedparam(&attributes, &parameters));
	OK(pthread_attr_getscope(&attributes, &scope));
	OK(pthread_attr_getdetachstate(&attributes, &detached));
	printf("policy %d priority %d scope %d detached %d\n", policy, parameters.sched_priority, scope, detached);
	OK(pthread_attr_destroy(&attributes));
	return raw;
}

static void attributes(void)
{
	pthread_attr_t attributes;
	pthread_t thread;
	OK(pthread_attr_init(&attributes));
	IS(pthread_attr_setscope(&attributes, PTHREAD_SCOPE_PROCESS), ENOTSUP);
	IS(pthread_attr_setschedpolicy(&attributes, 77), EINVAL);
	OK(pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED));
	OK(pthread_attr_setschedpolicy(&attributes, SCHED_OTHER));
	OK(pthread_create(&thread, &attributes, has_attributes, NULL));
	join(thread);
	OK(pthread_attr_setschedpolicy(&attributes, SCHED_RR));
	OK(pthread_attr_setschedparam(&attributes, &(struct sched_param){ 7 }));
	int error = pthread_create(&thread, &attributes, has_attributes, NULL);
	if (!error)
		join(thread);
	printf("round robin: %d\n", error);
	cpu_set_t set, got;
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	OK(pthread_attr_init(&attributes));
	OK(pthread_attr_setaffinity_np(&attributes, sizeof set, &set));
	thread = parked(&attributes);
	OK(pthread_getaffinity_np(thread, sizeof got, &got));
	CHECK(CPU_EQUAL(&set, &got));
	end(thread);
}

static void policies(void)
{
	int policy;
	struct sched_param parameters = { 0 };
	pthread_t thread = parked(NULL);
	int tid = atomic_load(&tid_of_thread);
	static const int all[] = { SCHED_BATCH, SCHED_IDLE, SCHED_OTHER, SCHED_FIFO, SCHED_RR };
	for (size_t i = 0; i < COUNT(all); i++) {
		parameters.sched_priority = all[i] == SCHED_FIFO || all[i] == SCHED_RR ? 3 : 0;
		int error = pthread_setschedparam(thread, all[i], &parameters);
		OK(pthread_getschedparam(thread, &policy, &parameters));
		printf("set %d: %d; policy %d priority %d, ", all[i], error, policy, parameters.sched_priority);
		policy = sched_getscheduler(tid);
		IS(sched_getparam(tid, &parameters), 0);
		printf("to the kernel %d %d\n", policy, parameters.sched_priority);
	}
	IS(sched_getscheduler(0), SCHED_OTHER);
	printf("priority: %d\n", pthread_setschedprio(thread, 9));
	IS(pthread_setschedprio(thread, 1000), EINVAL);
	IS(pthread_setschedparam(thread, 99, &parameters), EINVAL);
	parameters.sched_priority = 5;
	IS(pthread_setschedparam(thread, SCHED_OTHER, &parameters), EINVAL);
	parameters.sched_priority = 0;
	OK(pthread_setschedparam(thread, SCHED_OTHER, &parameters));
	struct timespec quantum;
	IS(sched_rr_get_interval(tid, &quantum), 0);
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t more[3];
	} attr;
	IS(syscall(SYS_sched_getattr, tid, &attr, sizeof attr, 0), 0);
	printf("attr: size %u policy %u nice %d\n", attr.size, attr.policy, attr.nice);
	attr.nice = 4;
	IS(syscall(SYS_sched_setattr, tid, &attr, 0), 0);
	IS(getpriority(PRIO_PROCESS, (id_t)tid), 4);
	IS(getpriority(PRIO_PROCESS, 0), 0);
	FAILS(sched_setparam(tid, NULL), EINVAL);
	FAILS(sched_getparam(tid, NULL), EINVAL);
	FAILS(sched_getparam(-1, &parameters), EINVAL);
	end(thread);
}

static void niceness(void)
{
	pthread_t thread = parked(NULL);
	id_t tid = (id_t)atomic_load(&tid_of_thread);
	IS(getpriority(PRIO_PROCESS, tid), 0);
	IS(setpriority(PRIO_PROCESS, tid, 5), 0);
	IS(getpriority(PRIO_PROCESS, tid), 5);
	IS(setpriority(PRIO_PROCESS, tid, 100), 0);
	IS(getpriority(PRIO_PROCESS, tid), 19);
	IS(getpriority(PRIO_PROCESS, 0), 0);
	int before = (int)syscall(SYS_ioprio_get, 1, tid);
	printf("I/O priority %d\n", before);
	IS(syscall(SYS_ioprio_set, 1, tid, 2 << 13 | 6), 0);
	IS(syscall(SYS_ioprio_get, 1, tid), 2 << 13 | 6);
	FAILS(syscall(SYS_ioprio_set, 1, tid, 77 << 13), EINVAL);
	end(thread);
}

static void affinity(void)
{
	cpu_set_t all, one, got;
	pthread_t thread = parked(NULL);
	int tid = atomic_load(&tid_of_thread);
	OK(pthread_getaffinity_np(pthread_self(), sizeof all, &all));
	OK(pthread_getaffinity_np(thread, sizeof got, &got));
	CHECK(CPU_EQUAL(&all, &got));
	int cpu = 0;
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	OK(pthread_setaffinity_np(thread, sizeof one, &one));
	OK(pthread_getaffinity_np(thread, sizeof got, &got));
	CHECK(CPU_EQUAL(&one, &got));
	IS(sched_getaffinity(tid, sizeof got, &got), 0);
	CHECK(CPU_EQUAL(&one, &got));
	OK(pthread_getaffinity_np(pthread_self(), sizeof got, &got));
	CHECK(CPU_EQUAL(&all, &got));
	CPU_ZERO(&one);
	IS(pthread_setaffinity_np(thread, sizeof one, &one), EINVAL);
	CPU_SET(1023, &one);
	IS(pthread_setaffinity_np(thread, sizeof one, &one), EINVAL);
	IS(pthread_getaffinity_np(thread, 1, &got), EINVAL);
	FAILS(sched_setaffinity(tid, sizeof one, unmapped), EFAULT);
	end(thread);
	/* Who joins need not find the thread gone from the kernel. */
	while (syscall(SYS_tgkill, getpid(), tid, 0) == 0)
		sched_yield();
	FAILS(sched_getaffinity(tid, sizeof got, &got), ESRCH);
	FAILS(sched_setaffinity(tid, sizeof all, &all), ESRCH);
	FAILS(sched_getscheduler(tid), ESRCH);
	FAILS(getpriority(PRIO_PROCESS, (id_t)tid), ESRCH);
	FAILS(setpriority(PRIO_PROCESS, (id_t)tid, 1), ESRCH);
}

static void *child_of(void *raw)
{
	cpu_set_t *set = raw;
	OK(pthread_getaffinity_np(pthread_self(), sizeof *set, set));
	return (void *)(intptr_t)getpriority(PRIO_PROCESS, 0);
}

static void *parent_of(void *unused)
{
	cpu_set_t one, got;
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	IS(sched_setaffinity(0, sizeof one, &one), 0);
	IS(setpriority(PRIO_PROCESS, 0, 3), 0);
	IS((intptr_t)join(start(child_of, &got)), 3);
	CHECK(CPU_EQUAL(&one, &got));
	return unused;
}

int main(void)
{
	IS(sem_init(&go_on, 0, 0), 0);
	attributes();
	policies();
	niceness();
	affinity();
	join(start(parent_of, NULL));
	IS(pthread_getconcurrency(), 0);
	OK(pthread_setconcurrency(4));
	IS(pthread_getconcurrency(), 4);
	IS(pthread_setconcurrency(-1), EINVAL);
	IS(getpriority(PRIO_PROCESS, 0), 0);
	puts("done");
	return 0;
}
