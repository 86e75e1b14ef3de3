// posix_spawn, whose child shares the parent's memory, from two threads while others compute, yield and make calls.
#include "guest.h"
#include <sched.h>
#include <spawn.h>
#include <sys/wait.h>

static atomic_bool stop;

static void *computes(void *unused)
{
	while (!atomic_load(&stop))
		for (int i = 0; i < 1000; i++)
			atomic_signal_fence(memory_order_seq_cst);
	return unused;
}

static void *yields(void *unused)
{
	while (!atomic_load(&stop)) {
		sched_yield();
		CHECK(getppid() > 0);
		sleep_ms(1);
	}
	return unused;
}

static void *spawns(void *unused)
{
	for (int i = 0; i < 50; i++) {
		pid_t pid;
		int status;
		OK(posix_spawn(&pid, "/bin/sh", NULL, NULL, (char *[]){ "sh", "-c", "exit 7", NULL }, NULL));
		IS(waitpid(pid, &status, 0), pid);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	}
	return unused;
}

int main(void)
{
	pthread_t busy[4], spawners[2];
	for (int i = 0; i < 4; i++)
		busy[i] = start(i < 2 ? computes : yields, NULL);
	for (int i = 0; i < 2; i++)
		spawners[i] = start(spawns, NULL);
	for (int i = 0; i < 2; i++)
		join(spawners[i]);
	atomic_store(&stop, true);
	for (int i = 0; i < 4; i++)
		join(busy[i]);
	puts("100 children");
	return 0;
}
