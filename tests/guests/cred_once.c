// A call of the setuid family, which libc has every thread make, has the effect of one call: also where a second one could do more than the first.
// guest: limit=60
#include "guest.h"
#include <grp.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { NOBODY = 65534, OTHER = 1234, THREADS = 5 };

static pthread_barrier_t barrier;

static void *sleeps(void *unused)
{
	pthread_barrier_wait(&barrier);
	for (;;)
		pause();
	return unused;
}

static void *spins(void *unused)
{
	pthread_barrier_wait(&barrier);
	for (;;)
		;
	return unused;
}

static int call(int which)
{
	switch (which) {
	case 0:
		return setuid(0);
	case 1:
		return setgid(0);
	case 2:
		return seteuid(0);
	case 3:
		return setegid(0);
	case 4:
		return setreuid(OTHER, 0);
	case 5:
		return setregid(OTHER, 0);
	case 6:
		return setreuid(-1, NOBODY);
	case 7:
		return setresuid(-1, 0, -1);
	case 8:
		return setresgid(-1, 0, -1);
	case 9:
		return setresuid(OTHER, OTHER, OTHER);
	case 10:
		return setgroups(1, (gid_t[]){ OTHER });
	default:
		return initgroups("nobody", OTHER);
	}
}

enum { CALLS = 12 };

static const char *const names[CALLS] = { "setuid", "setgid", "seteuid", "setegid", "setreuid to root", "setregid to root",
					  "setreuid", "setresuid to root", "setresgid to root", "setresuid", "setgroups", "initgroups" };

static void *makes_call(void *which)
{
	/* Real and effective user are somebody's, the saved one is root. */
	IS(setresgid(NOBODY, NOBODY, 0), 0);
	IS(setresuid(NOBODY, NOBODY, 0), 0);
	errno = 0;
	int first = call((int)(intptr_t)which), error = errno;
	uid_t r, e, s;
	gid_t gr, ge, gs;
	IS(getresuid(&r, &e, &s), 0);
	IS(getresgid(&gr, &ge, &gs), 0);
	printf("%s: %d %s: %d %d %d; %d %d %d; ", names[(intptr_t)which], first, strerrorname_np(error), (int)r,
	       (int)e, (int)s, (int)gr, (int)ge, (int)gs);
	/* And the next, with what the first left. */
	errno = 0;
	int second = setuid(OTHER), error2 = errno;
	IS(getresuid(&r, &e, &s), 0);
	IS(getresgid(&gr, &ge, &gs), 0);
	printf("then %d %s: %d %d %d; %d %d %d; %d groups\n", second, strerrorname_np(error2), (int)r, (int)e,
	       (int)s, (int)gr, (int)ge, (int)gs, getgroups(0, NULL));
	fflush(stdout);
	_exit(0);
}

int main(void)
{
	IS(getuid(), 0);
	for (int i = 0; i < CALLS * 3; i++) {
		int which = i / 3, how = i % 3;
		pid_t child = fork();
		if (child == 0) {
			/* Alone; among others, by the initial thread; among others, by one of them. */
			if (how > 0) {
				OK(pthread_barrier_init(&barrier, NULL, THREADS + 1));
				for (int thread = 0; thread < THREADS; thread++)
					start(thread == 0 ? spins : sleeps, NULL);
				pthread_barrier_wait(&barrier);
			}
			if (how < 2)
				makes_call((void *)(intptr_t)which);
			pthread_join(start(makes_call, (void *)(intptr_t)which), NULL);
		}
		int status;
		IS(waitpid(child, &status, 0), child);
		IS(status, 0);
	}
	return 0;
}
