// A thread whose children get another pid namespace makes no threads any more, as in the kernel; others do.
// guest: limit=60
#include "guest.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>

static atomic_int go_on;

static void *nothing(void *unused)
{
	return unused;
}

static int makes_one(void)
{
	pthread_t thread;
	int error = pthread_create(&thread, NULL, nothing, NULL);
	if (!error)
		join(thread);
	return error;
}

static int child_is_first(void)
{
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0)
		_exit(getpid() == 1 && makes_one() == 0);
	int status;
	IS(waitpid(child, &status, 0), child);
	return WEXITSTATUS(status);
}

static void *leaves(void *unused)
{
	IS(makes_one(), 0);
	int own = open("/proc/thread-self/ns/pid", O_RDONLY | O_CLOEXEC);
	CHECK(own >= 0);
	IS(unshare(CLONE_NEWPID), 0);
	IS(makes_one(), EINVAL);
	IS(makes_one(), EINVAL);
	IS(child_is_first(), 1);
	IS(makes_one(), EINVAL);
	puts("its own namespace for children: EINVAL");
	IS(setns(own, CLONE_NEWPID), 0);
	IS(makes_one(), 0);
	puts("back: a thread");
	IS(close(own), 0);
	return unused;
}

static void *waits(void *unused)
{
	while (!atomic_load(&go_on))
		sleep_ms(1);
	IS(makes_one(), 0);
	return unused;
}

int main(void)
{
	pthread_t thread = start(waits, NULL);
	if (unshare(CLONE_FS) != 0 || geteuid() != 0) {
		puts("not allowed here");
		atomic_store(&go_on, 1);
		join(thread);
		return 0;
	}
	join(start(leaves, NULL));
	IS(makes_one(), 0);
	atomic_store(&go_on, 1);
	join(thread);
	puts("others: a thread");
	/* Alone, it may say that it is. */
	IS(unshare(CLONE_THREAD), 0);
	IS(unshare(CLONE_VM | CLONE_SIGHAND), 0);
	atomic_store(&go_on, 0);
	pthread_t second = start(waits, NULL);
	FAILS(unshare(CLONE_THREAD), EINVAL);
	atomic_store(&go_on, 1);
	join(second);
	puts("alone: nothing to be done");
	return 0;
}
