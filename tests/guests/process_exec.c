// fork+exec, vfork+exec, posix_spawn and exec itself from a thread, with others parked.
// guest: exits=7
#include "guest.h"
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;
static int ends[2];

static void *parked(void *unused)
{
	char byte;
	(void)unused;
	CHECK(read(ends[0], &byte, 1) == 1);
	return NULL;
}

static char *const exits_with_3[] = { "sh", "-c", "exit 3", NULL };

static void reap(pid_t child, int expected)
{
	int status;
	IS(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status));
	IS(WEXITSTATUS(status), expected);
}

static void *makes_processes(void *unused)
{
	(void)unused;
	pid_t child = fork();
	if (child == 0) {
		execv("/bin/sh", exits_with_3);
		_exit(1);
	}
	reap(child, 3);
	child = vfork();
	if (child == 0) {
		execv("/bin/sh", exits_with_3);
		_exit(1);
	}
	reap(child, 3);
	child = vfork();
	if (child == 0) {
		execv("/nonexistent", exits_with_3);
		_exit(errno == ENOENT ? 5 : 6);
	}
	reap(child, 5);
	OK(posix_spawn(&child, "/bin/sh", NULL, NULL, exits_with_3, environ));
	reap(child, 3);
	OK(posix_spawnp(&child, "sh", NULL, NULL, exits_with_3, environ));
	reap(child, 3);
	IS(posix_spawn(&child, "/nonexistent", NULL, NULL, exits_with_3, environ), ENOENT);

	/* Redirections of the child's. */
	int output[2];
	char text[16] = { 0 };
	posix_spawn_file_actions_t actions;
	char *const says[] = { "sh", "-c", "echo said", NULL };
	IS(pipe(output), 0);
	OK(posix_spawn_file_actions_init(&actions));
	OK(posix_spawn_file_actions_adddup2(&actions, output[1], 1));
	OK(posix_spawn_file_actions_addclose(&actions, output[0]));
	OK(posix_spawn(&child, "/bin/sh", &actions, NULL, says, environ));
	IS(close(output[1]), 0);
	IS(read(output[0], text, sizeof text), 5);
	CHECK(!strcmp(text, "said\n"));
	reap(child, 0);
	close(output[0]);
	return NULL;
}

static void *becomes_another(void *unused)
{
	(void)unused;
	fflush(stdout);
	execl("/bin/sh", "sh", "-c", "echo another program; exit 7", NULL);
	return NULL;
}

int main(void)
{
	makes_processes(NULL);
	puts("alone");
	IS(pipe(ends), 0);
	for (int i = 0; i < 10; i++)
		start(parked, NULL);
	makes_processes(NULL);
	puts("with threads");
	join(start(makes_processes, NULL));
	pthread_t many[6];
	for (int i = 0; i < 6; i++)
		many[i] = start(makes_processes, NULL);
	for (int i = 0; i < 6; i++)
		join(many[i]);
	puts("from threads");
	join(start(becomes_another, NULL));
	return 1;
}
