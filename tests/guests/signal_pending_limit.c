// RLIMIT_SIGPENDING says how many signals may be pending for a thread: more are refused, and what kill sends loses only what came with it.
// guest: limit=60
#include "guest.h"
#include <semaphore.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { LIMIT = 200 };

static sigset_t all;
static sem_t ready, go_on, end;

static int count_taken(int expected, int step)
{
	struct timespec now = { 0 };
	siginfo_t info;
	int taken = 0;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, expected);
	while (sigtimedwait(&set, &info, &now) == expected) {
		if (step) {
			CHECK(info.si_code == SI_QUEUE && info.si_pid == getpid());
			IS(info.si_value.sival_int, taken * step);
		}
		taken++;
	}
	IS(errno, EAGAIN);
	return taken;
}

/* The user has others, too, and timers are counted: what is left is asked for once. */
static int room(void)
{
	int n = 0;
	while (sigqueue(getpid(), 50, (union sigval){ .sival_int = n }) == 0)
		n++;
	IS(errno, EAGAIN);
	IS(count_taken(50, 1), n);
	return n;
}

static void *sleeps(void *unused)
{
	IS(sem_post(&ready), 0);
	while (sem_wait(&go_on) != 0)
		;
	IS(count_taken(40, 3), (long)unused);
	IS(count_taken(41, 0), 0);
	siginfo_t info;
	struct timespec now = { 0 };
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	IS(sigtimedwait(&set, &info, &now), SIGUSR1);
	IS(info.si_pid, 0);
	IS(sigtimedwait(&set, &info, &now), SIGUSR2);
	IS(info.si_code, SI_USER);
	FAILS(sigtimedwait(&set, &info, &now), EAGAIN);
	return NULL;
}

static void to_a_thread(int most)
{
	pthread_t thread = start(sleeps, (void *)(long)most);
	while (sem_wait(&ready) != 0)
		;
	int n = 0, error;
	while ((error = pthread_sigqueue(thread, 40, (union sigval){ .sival_int = 3 * n })) == 0)
		n++;
	IS(error, EAGAIN);
	IS(n, most);
	IS(pthread_kill(thread, 41), EAGAIN);
	OK(pthread_kill(thread, SIGUSR1));
	OK(pthread_kill(thread, SIGUSR1));
	OK(pthread_kill(thread, SIGUSR2));
	FAILS(sigqueue(getpid(), 50, (union sigval){ .sival_int = 0 }), EAGAIN);
	IS(sem_post(&go_on), 0);
	join(thread);
	IS(room(), most);
}

/* What the kernel keeps and what threads keep together. */
static void *half(void *most)
{
	int n = (int)(long)most, i;
	for (i = 0; i < n / 2; i++)
		IS(sigqueue(getpid(), 45, (union sigval){ .sival_int = i }), 0);
	for (; pthread_sigqueue(pthread_self(), 46, (union sigval){ .sival_int = i }) == 0; i++)
		;
	IS(i, n);
	IS(count_taken(45, 1), n / 2);
	IS(count_taken(46, 0), n - n / 2);
	return NULL;
}

static atomic_int handled, wrong;

static void handler(int number, siginfo_t *info, void *unused)
{
	(void)number, (void)unused;
	if (info->si_value.sival_int != atomic_fetch_add(&handled, 1))
		atomic_fetch_add(&wrong, 1);
}

/* Another process sends as fast as it can, and again what is refused. */
static void from_a_child(void)
{
	enum { MANY = 5000 };
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART };
	IS(sigaction(47, &action, NULL), 0);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		for (int i = 0; i < MANY;)
			if (sigqueue(getppid(), 47, (union sigval){ .sival_int = i }) == 0)
				i++;
			else
				CHECK(errno == EAGAIN);
		_exit(0);
	}
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, 47);
	OK(pthread_sigmask(SIG_UNBLOCK, &set, NULL));
	int status;
	IS(waitpid(child, &status, 0), child);
	IS(status, 0);
	while (atomic_load(&handled) < MANY)
		sleep_ms(1);
	IS(atomic_load(&handled), MANY);
	IS(atomic_load(&wrong), 0);
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
}

static void *naps(void *unused)
{
	while (sem_wait(&end) != 0)
		;
	return unused;
}

int main(void)
{
	struct rlimit limit;
	/* Others of the user come and go, and are counted: of this one there are none. */
	uid_t nobody_else = 1000000 + (uid_t)getpid();
	if (geteuid() == 0)
		IS(setresuid(nobody_else, nobody_else, nobody_else), 0);
	sigfillset(&all);
	OK(pthread_sigmask(SIG_SETMASK, &all, NULL));
	IS(sem_init(&ready, 0, 0), 0);
	IS(sem_init(&go_on, 0, 0), 0);
	IS(sem_init(&end, 0, 0), 0);
	IS(getrlimit(RLIMIT_SIGPENDING, &limit), 0);
	limit.rlim_cur = LIMIT;
	IS(setrlimit(RLIMIT_SIGPENDING, &limit), 0);
	pthread_t napper = start(naps, NULL);
	int most = room();
	CHECK(most > 20);
	to_a_thread(most);
	puts("a thread's");
	join(start(half, (void *)(long)most));
	puts("a thread's and the process's");
	from_a_child();
	puts("nothing lost");
	limit.rlim_cur = 0;
	IS(setrlimit(RLIMIT_SIGPENDING, &limit), 0);
	IS(pthread_kill(napper, 41), EAGAIN);
	IS(pthread_sigqueue(napper, 41, (union sigval){ .sival_int = 0 }), EAGAIN);
	OK(pthread_kill(napper, SIGUSR1));
	puts("none at all");
	IS(sem_post(&end), 0);
	join(napper);
	return 0;
}
