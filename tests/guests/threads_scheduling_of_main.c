// What the initial thread changes for itself others keep as it was, and new threads begin with.
#include "guest.h"
#include <sched.h>
#include <semaphore.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define RESET_ON_FORK 0x40000000

static sem_t asked, answered;
static void (*work)(void);
static atomic_int tid_of_servant;

static void *serves(void *unused)
{
	atomic_store(&tid_of_servant, gettid());
	for (;;) {
		IS(sem_post(&answered), 0);
		while (sem_wait(&asked) != 0)
			;
		if (!work)
			return unused;
		work();
	}
}

static void in_servant(void (*what)(void))
{
	work = what;
	IS(sem_post(&asked), 0);
	while (what && sem_wait(&answered) != 0)
		;
}

static int cpus(void)
{
	cpu_set_t set;
	IS(sched_getaffinity(0, sizeof set, &set), 0);
	return CPU_COUNT(&set);
}

static int all_cpus;

static void show(void)
{
	struct sched_param parameters;
	IS(sched_getparam(0, &parameters), 0);
	printf("  nice %d policy %x priority %d I/O %ld, %s CPUs\n", getpriority(PRIO_PROCESS, 0),
	       (unsigned)sched_getscheduler(0), parameters.sched_priority, syscall(SYS_ioprio_get, 1, 0),
	       cpus() == all_cpus ? "all" : "fewer");
}

static void *shows(void *unused)
{
	show();
	return unused;
}

static void show_all(const char *after)
{
	printf("%s\n", after);
	show();
	in_servant(show);
	join(start(shows, NULL));
	printf("  by id %d\n", getpriority(PRIO_PROCESS, (id_t)atomic_load(&tid_of_servant)));
}

static void is_three_nicer(void)
{
	IS(nice(3), 3);
}

static void makes_one(void)
{
	join(start(shows, NULL));
}

static void changes_main(void)
{
	IS(setpriority(PRIO_PROCESS, (id_t)getpid(), 6), 0);
}

static void set_policy(const char *what, int policy, int priority)
{
	struct sched_param parameters = { priority };
	printf("%s: %d\n", what, sched_setscheduler(0, policy, &parameters));
}

static void has_best_io(void)
{
	printf("best I/O priority %ld\n", syscall(SYS_ioprio_get, 2, 0));
	IS(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 2), 0);
}

int main(void)
{
	all_cpus = cpus();
	IS(setpgid(0, 0), 0);
	set_policy("real time before there are threads", SCHED_RR | RESET_ON_FORK, 2);
	pthread_t servant = start(serves, NULL);
	while (sem_wait(&answered) != 0)
		;
	show_all("as it began");
	set_policy("back", SCHED_OTHER, 0);
	IS(setpriority(PRIO_PROCESS, 0, 5), 0);
	show_all("niceness");
	cpu_set_t set, got;
	IS(sched_getaffinity(0, sizeof set, &set), 0);
	for (int i = 0, seen = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set) && seen++)
			CPU_CLR(i, &set);
	IS(sched_setaffinity(0, sizeof set, &set), 0);
	show_all("affinity");
	OK(pthread_getaffinity_np(servant, sizeof got, &got));
	IS(CPU_COUNT(&got), all_cpus);
	IS(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6), 0);
	show_all("I/O priority");
	set_policy("batch", SCHED_BATCH, 0);
	show_all("policy");
	set_policy("real time", SCHED_RR, 2);
	show_all("real-time policy");
	set_policy("batch, but not for others", SCHED_BATCH | RESET_ON_FORK, 0);
	show_all("policy that is passed on in part");
	in_servant(is_three_nicer);
	show_all("a thread's own niceness");
	in_servant(makes_one);
	in_servant(changes_main);
	show_all("by another thread");
	IS(setpriority(PRIO_PGRP, 0, 9), 0);
	show_all("the process group's");
	IS(getpriority(PRIO_PGRP, 0), 9);
	in_servant(has_best_io);
	printf("best I/O priority %ld\n", syscall(SYS_ioprio_get, 2, 0));
	IS(syscall(SYS_ioprio_set, 2, 0, 2 << 13 | 5), 0);
	show_all("the process group's I/O priority");
	in_servant(NULL);
	join(servant);
	puts("done");
	return 0;
}
