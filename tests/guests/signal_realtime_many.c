// Tens of thousands of realtime signals, of another process, of a thread's or of the process's own: none is lost, each comes in its order with what it carries.
// guest: limit=120
#include "guest.h"
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { MANY = 20000, FIRST = 40, LAST = 42 };

static atomic_int handled[65], wrong;
static int limit;

static void take(int number, const siginfo_t *info)
{
	if (info->si_code != SI_QUEUE ||
	    info->si_value.sival_int != atomic_fetch_add(&handled[number], 1))
		atomic_fetch_add(&wrong, 1);
}

static void handler(int number, siginfo_t *info, void *unused)
{
	(void)unused;
	take(number, info);
}

static void set_of(sigset_t *set, int first, int last)
{
	sigemptyset(set);
	for (int i = first; i <= last; i++)
		sigaddset(set, i);
}

static void is_complete(const char *what, int first, int last, int many)
{
	for (int i = first; i <= last; i++) {
		IS(atomic_load(&handled[i]), many);
		atomic_store(&handled[i], 0);
	}
	IS(atomic_load(&wrong), 0);
	puts(what);
}

static pid_t child_sends(int first, int last, int many)
{
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		for (int i = 0; i < many; i++)
			for (int number = first; number <= last; number++)
				while (sigqueue(getppid(), number, (union sigval){ .sival_int = i }) != 0)
					CHECK(errno == EAGAIN);
		_exit(0);
	}
	return child;
}

static void child_is_done(pid_t child)
{
	int status;
	while (waitpid(child, &status, 0) < 0)
		CHECK(errno == EINTR);
	IS(status, 0);
}

static void wait_for(int number, int many)
{
	while (atomic_load(&handled[number]) < many)
		sleep_ms(1);
}

/* One thread lets them in and sleeps, another computes. */
static atomic_bool enough;

static void *sleeper(void *raw)
{
	OK(pthread_sigmask(SIG_UNBLOCK, raw, NULL));
	while (!atomic_load(&enough))
		sleep_ms(1);
	return NULL;
}

static void *computer(void *raw)
{
	(void)raw;
	while (!atomic_load(&enough))
		;
	return NULL;
}

static void *waiter(void *raw)
{
	siginfo_t info;
	for (int i = 0; i < MANY; i++) {
		int number = sigwaitinfo(raw, &info);
		CHECK(number > 0);
		take(number, &info);
	}
	return NULL;
}

/* Its own pending ones, which it takes only when all were sent. */
static sem_t sent;

static void *collects(void *raw)
{
	siginfo_t info;
	struct timespec now = { 0 };
	int number;
	while (sem_wait(&sent) != 0)
		;
	while ((number = sigtimedwait(raw, &info, &now)) > 0)
		take(number, &info);
	IS(errno, EAGAIN);
	return NULL;
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART };
	struct rlimit pending;
	sigset_t set, one;
	IS(getrlimit(RLIMIT_SIGPENDING, &pending), 0);
	limit = pending.rlim_cur < 40000 ? (int)pending.rlim_cur / 4 : 10000;
	set_of(&set, FIRST, LAST);
	set_of(&one, FIRST, FIRST);
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	IS(sem_init(&sent, 0, 0), 0);
	for (int i = FIRST; i <= LAST; i++)
		IS(sigaction(i, &action, NULL), 0);

	pthread_t sleeps = start(sleeper, &one), computes = start(computer, NULL);
	pid_t child = child_sends(FIRST, FIRST, MANY);
	wait_for(FIRST, MANY);
	child_is_done(child);
	is_complete("to one that sleeps", FIRST, FIRST, MANY);
	atomic_store(&enough, true);
	join(sleeps);
	join(computes);

	pthread_t waits = start(waiter, &one);
	child = child_sends(FIRST, FIRST, MANY);
	join(waits);
	child_is_done(child);
	is_complete("to one that waits for them", FIRST, FIRST, MANY);

	/* All wait, and come together. */
	child = child_sends(FIRST, LAST, limit / 4);
	child_is_done(child);
	OK(pthread_sigmask(SIG_UNBLOCK, &set, NULL));
	for (int i = FIRST; i <= LAST; i++)
		wait_for(i, limit / 4);
	is_complete("to one that lets them in when all are there", FIRST, LAST, limit / 4);

	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	pthread_t collector = start(collects, &set);
	for (int i = 0; i < limit; i++)
		OK(pthread_sigqueue(collector, FIRST, (union sigval){ .sival_int = i }));
	for (int i = 0; i < limit; i++)
		OK(pthread_sigqueue(collector, LAST, (union sigval){ .sival_int = i }));
	IS(sem_post(&sent), 0);
	join(collector);
	IS(atomic_load(&handled[LAST]), limit);
	atomic_store(&handled[LAST], 0);
	is_complete("to a thread", FIRST, FIRST, limit);

	collector = start(collects, &set);
	for (int i = 0; i < limit; i++)
		IS(sigqueue(getpid(), FIRST + 1, (union sigval){ .sival_int = i }), 0);
	IS(sem_post(&sent), 0);
	join(collector);
	is_complete("to the process", FIRST + 1, FIRST + 1, limit);
	return 0;
}
