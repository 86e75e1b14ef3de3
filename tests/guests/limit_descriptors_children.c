/*
 * Children of fork, vfork, posix_spawn and system have the program's soft RLIMIT_NOFILE, whatever other
 * threads open and wait for meanwhile.
 */
#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "guest.h"

enum { SOFT = 200, ROUNDS = 25 };

extern char **environ;
static char *program[] = { "/proc/self/exe", "child", NULL };

static int own_limit(void)
{
	struct rlimit limit = { 0, 0 };
	IS(getrlimit(RLIMIT_NOFILE, &limit), 0);
	return limit.rlim_cur == SOFT ? SOFT : 1;
}

static void has_limit(pid_t child)
{
	int status = -1;
	CHECK(child > 0);
	IS(waitpid(child, &status, 0), child);
	IS(status, SOFT << 8);
}

static void *forks(void *unused)
{
	for (int i = 0; i < ROUNDS; i++) {
		pid_t child = fork();
		if (child == 0)
			_exit(own_limit());
		has_limit(child);
	}
	return unused;
}

static void *forks_and_execs(void *unused)
{
	for (int i = 0; i < ROUNDS; i++) {
		pid_t child = fork();
		if (child == 0) {
			execv(program[0], program);
			_exit(2);
		}
		has_limit(child);
	}
	return unused;
}

static void *vforks(void *unused)
{
	for (int i = 0; i < ROUNDS; i++) {
		pid_t child = vfork();
		if (child == 0) {
			execv(program[0], program);
			_exit(2);
		}
		has_limit(child);
	}
	return unused;
}

static void *spawns(void *unused)
{
	for (int i = 0; i < ROUNDS; i++) {
		pid_t child = -1;
		IS(posix_spawn(&child, program[0], NULL, NULL, program, environ), 0);
		has_limit(child);
	}
	return unused;
}

static void *runs_a_shell(void *unused)
{
	for (int i = 0; i < ROUNDS; i++)
		IS(system("exit $(ulimit -S -n)"), SOFT << 8);
	return unused;
}

static atomic_bool stop;

static void *opens(void *unused)
{
	while (!atomic_load(&stop)) {
		int fd = open("/dev/null", O_RDONLY);
		CHECK(fd >= 0);
		CHECK(fd < SOFT);
		IS(close(fd), 0);
		sleep_ms(1);
	}
	return unused;
}

int main(int count, char **arguments)
{
	(void)arguments;
	if (count > 1)
		return own_limit();
	struct rlimit limit = { 0, 0 };
	IS(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = SOFT;
	IS(setrlimit(RLIMIT_NOFILE, &limit), 0);
	pthread_t opening = start(opens, NULL);
	pthread_t threads[] = { start(forks, NULL), start(forks_and_execs, NULL), start(vforks, NULL),
				start(spawns, NULL), start(runs_a_shell, NULL) };
	for (size_t i = 0; i < COUNT(threads); i++)
		join(threads[i]);
	atomic_store(&stop, true);
	join(opening);
	IS(own_limit(), SOFT);
	puts("the program's own limit");
}
