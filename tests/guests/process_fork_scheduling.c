// A child that a thread forks is scheduled, and called, as that thread.
#include "guest.h"
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int cpus(void)
{
	cpu_set_t set;
	IS(sched_getaffinity(0, sizeof set, &set), 0);
	return CPU_COUNT(&set);
}

static void *show(void *who)
{
	char name[16];
	IS(prctl(PR_GET_NAME, name), 0);
	struct sched_param parameters;
	IS(sched_getparam(0, &parameters), 0);
	printf("%s: \"%s\" nice %d policy %x priority %d I/O %ld CPUs %d slack %d\n", (const char *)who, name,
	       getpriority(PRIO_PROCESS, 0), (unsigned)sched_getscheduler(0), parameters.sched_priority,
	       syscall(SYS_ioprio_get, 1, 0), cpus(), prctl(PR_GET_TIMERSLACK));
	return NULL;
}

static void fork_one(void)
{
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		show("child");
		join(start(show, "its thread"));
		_exit(0);
	}
	int status;
	IS(waitpid(child, &status, 0), child);
	IS(status, 0);
}

static void *forks(void *unused)
{
	fork_one();
	IS(prctl(PR_SET_NAME, "forks"), 0);
	IS(setpriority(PRIO_PROCESS, 0, 4), 0);
	cpu_set_t set;
	IS(sched_getaffinity(0, sizeof set, &set), 0);
	for (int i = 0, seen = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set) && seen++)
			CPU_CLR(i, &set);
	IS(sched_setaffinity(0, sizeof set, &set), 0);
	IS(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6), 0);
	IS(prctl(PR_SET_TIMERSLACK, 777), 0);
	IS(sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){ 0 }), 0);
	fork_one();
	printf("real time: %d\n", sched_setscheduler(0, SCHED_RR, &(struct sched_param){ 2 }));
	fork_one();
	IS(sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &(struct sched_param){ 0 }), 0);
	fork_one();
	return unused;
}

int main(void)
{
	show("main");
	join(start(forks, NULL));
	show("main");
	fork_one();
	puts("done");
	return 0;
}
