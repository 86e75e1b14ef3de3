// pidfd_spawn (glibc 2.39) from several threads at once, with what makes libc ask clone3(2) for
// cleared handlers: each child ends as it should, and its descriptor says so.
#include "guest.h"
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

enum { THREADS = 4, ROUNDS = 10 };

extern int pidfd_spawn(int *, const char *, const posix_spawn_file_actions_t *,
		       const posix_spawnattr_t *, char *const[], char *const[]) __attribute__((weak));

static void caught(int signal)
{
	(void)signal;
}

static void ends(int id_type, id_t id, int with)
{
	siginfo_t info = { 0 };
	IS(waitid((idtype_t)id_type, id, &info, WEXITED), 0);
	IS(info.si_code, with < 0 ? CLD_KILLED : CLD_EXITED);
	IS(info.si_status, with < 0 ? -with : with);
}

static void *spawns(void *unused)
{
	// Caught here, and by its default in the child, which is not told to set it.
	char *kills[] = { "sh", "-c", "kill -USR1 $$; exit 9", NULL };
	char *returns[] = { "sh", "-c", "exit 7", NULL };
	char *nothing[] = { NULL };
	posix_spawnattr_t attributes;
	OK(posix_spawnattr_init(&attributes));
	for (int i = 0; i < ROUNDS; i++) {
		pid_t pid;
		OK(posix_spawn(&pid, "/bin/sh", NULL, NULL, kills, nothing));
		ends(P_PID, (id_t)pid, -SIGUSR1);
		if (!pidfd_spawn)
			continue;
		int child;
		OK(pidfd_spawn(&child, "/bin/sh", NULL, &attributes, returns, nothing));
		struct pollfd ended = { .fd = child, .events = POLLIN };
		IS(poll(&ended, 1, -1), 1);
		ends(P_PIDFD, (id_t)child, 7);
		IS(close(child), 0);
		IS(pidfd_spawn(&child, "/nonexistent", NULL, &attributes, returns, nothing), ENOENT);
	}
	OK(posix_spawnattr_destroy(&attributes));
	return unused;
}

int main(void)
{
	struct sigaction action = { .sa_handler = caught };
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		threads[i] = start(spawns, NULL);
	for (int i = 0; i < THREADS; i++)
		join(threads[i]);
	spawns(NULL);
	FAILS(waitid(P_ALL, 0, NULL, WEXITED), ECHILD);
	puts("spawned");
	return 0;
}
