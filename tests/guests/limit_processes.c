/*
 * RLIMIT_NPROC, which counts threads too: pthread_create ends with EAGAIN as bare, also when the limit
 * is set later, and goes on when threads have ended or the limit is raised.
 */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "guest.h"

enum { MOST = 100 };

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;

static void *waits(void *unused)
{
	OK(pthread_mutex_lock(&held));
	OK(pthread_mutex_unlock(&held));
	return unused;
}

static void limit_to(rlim_t count)
{
	struct rlimit limit;
	IS(getrlimit(RLIMIT_NPROC, &limit), 0);
	limit.rlim_cur = count;
	IS(setrlimit(RLIMIT_NPROC, &limit), 0);
}

/* How many threads there is room for, all of which end. */
static int make(void)
{
	pthread_t threads[MOST];
	pthread_attr_t small;
	int made = 0, error = 0;
	OK(pthread_attr_init(&small));
	OK(pthread_attr_setstacksize(&small, 64 << 10));
	OK(pthread_mutex_lock(&held));
	while (made < MOST && (error = pthread_create(&threads[made], &small, waits, NULL)) == 0)
		made++;
	CHECK(made == MOST || error == EAGAIN);
	OK(pthread_mutex_unlock(&held));
	for (int i = 0; i < made; i++)
		join(threads[i]);
	return made;
}

/* A user of its own, so that nobody else's processes count. */
static void become_nobody(void)
{
	uid_t user = 1000000 + (uid_t)getpid();
	if (geteuid() == 0)
		IS(setresuid(user, user, user), 0);
}

static void early(void)
{
	become_nobody();
	limit_to(20);
	printf("%d ", make());
	printf("%d ", make());
	limit_to(30);
	printf("%d ", make());
	limit_to(10);
	printf("%d ", make());
	limit_to(1);
	printf("%d ", make());
	limit_to(0);
	printf("%d\n", make());
}

static void later(void)
{
	printf("%d ", make());
	become_nobody();
	limit_to(40);
	printf("%d ", make());
	limit_to(1000);
	printf("%d\n", make());
}

/* The superuser has no such limit. */
static void privileged(void)
{
	if (geteuid() == 0) {
		limit_to(5);
		printf("%d\n", make());
	}
}

int main(void)
{
	void (*const all[])(void) = { early, later, privileged };
	for (size_t i = 0; i < COUNT(all); i++) {
		fflush(stdout);
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			all[i]();
			fflush(stdout);
			_exit(0);
		}
		int status;
		IS(waitpid(child, &status, 0), child);
		printf("%zu: %x\n", i, (unsigned)status);
	}
	return 0;
}
