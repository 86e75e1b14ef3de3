// Signals and processes: what fork, exec and vfork pass on, handlers that fork, signalfd, floods, setuid.
#include "guest.h"
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

static atomic_int handled;

static void count(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

static void install(int signal, void (*handler)(int), int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };
	IS(sigaction(signal, &action, NULL), 0);
}

static sigset_t set_of(int signal)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, signal);
	return set;
}

static void block(int how, int signal)
{
	sigset_t set = set_of(signal);
	OK(pthread_sigmask(how, &set, NULL));
}

static void *waits(void *raw)
{
	int ends = (int)(intptr_t)raw;
	char byte;
	IS(read(ends, &byte, 1), 0);
	return raw;
}

static void reap(pid_t child, int expected)
{
	int status;
	IS(waitpid(child, &status, 0), child);
	IS(status, expected);
}

/* A forked child has the caller's mask and handlers and nothing pending. */
static void *forks(void *unused)
{
	(void)unused;
	block(SIG_BLOCK, SIGUSR2);
	OK(pthread_kill(pthread_self(), SIGUSR2));
	int before = atomic_load(&handled);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		sigset_t now;
		IS(sigpending(&now), 0);
		CHECK(!sigismember(&now, SIGUSR2));
		OK(pthread_sigmask(SIG_SETMASK, NULL, &now));
		CHECK(sigismember(&now, SIGUSR2) && !sigismember(&now, SIGUSR1));
		kill(getpid(), SIGUSR1);
		IS(atomic_load(&handled), before + 1);
		/* A guest again, with the same view. */
		int ends[2];
		IS(pipe(ends), 0);
		pthread_t thread = start(waits, (void *)(intptr_t)ends[0]);
		OK(pthread_kill(pthread_self(), SIGUSR2));
		IS(atomic_load(&handled), before + 1);
		block(SIG_UNBLOCK, SIGUSR2);
		IS(atomic_load(&handled), before + 2);
		close(ends[1]);
		join(thread);
		kill(getpid(), SIGTERM);
		_exit(1);
	}
	reap(child, SIGTERM);
	IS(atomic_load(&handled), before);
	block(SIG_UNBLOCK, SIGUSR2);
	IS(atomic_load(&handled), before + 1);
	return NULL;
}

/* fork in a handler: both return from it. */
static pid_t forked;
static void handler_forks(int signal)
{
	CHECK(signal == SIGHUP);
	forked = fork();
}
static void *forks_in_handler(void *unused)
{
	install(SIGHUP, handler_forks, 0);
	OK(pthread_kill(pthread_self(), SIGHUP));
	CHECK(forked >= 0);
	sigset_t now;
	OK(pthread_sigmask(SIG_SETMASK, NULL, &now));
	CHECK(!sigismember(&now, SIGHUP));
	if (forked == 0)
		_exit(7);
	reap(forked, 7 << 8);
	return unused;
}

/* exec keeps the mask, what is ignored, and what is pending. */
static void *execs(void *unused)
{
	block(SIG_BLOCK, SIGUSR2);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		int ends[2];
		IS(pipe(ends), 0);
		start(waits, (void *)(intptr_t)ends[0]);
		install(SIGSEGV, SIG_IGN, 0);
		OK(pthread_kill(pthread_self(), SIGUSR2));
		execl("/bin/grep", "grep", "^Sig[PBI]\\|^ShdPnd", "/proc/self/status", NULL);
		_exit(1);
	}
	reap(child, 0);
	block(SIG_UNBLOCK, SIGUSR2);
	return unused;
}

/* vfork's child has the caller's mask, and posix_spawn's default actions. */
static void *spawns(void *unused)
{
	block(SIG_BLOCK, SIGUSR1);
	IS(system("grep SigBlk /proc/self/status"), 0);
	pid_t child = vfork();
	if (child == 0) {
		execl("/bin/grep", "grep", "SigBlk", "/proc/self/status", NULL);
		_exit(1);
	}
	reap(child, 0);
	block(SIG_UNBLOCK, SIGUSR1);
	int before = atomic_load(&handled);
	OK(pthread_kill(pthread_self(), SIGUSR1));
	IS(atomic_load(&handled), before + 1);
	return unused;
}

static void reads_signalfd(int ends)
{
	struct signalfd_siginfo info;
	sigset_t set = set_of(SIGUSR1);
	block(SIG_BLOCK, SIGUSR1);
	/* Every thread blocks it: the new one inherits. */
	pthread_t thread = start(waits, (void *)(intptr_t)ends);
	int fd = signalfd(-1, &set, SFD_CLOEXEC);
	CHECK(fd >= 0);
	IS(kill(getpid(), SIGUSR1), 0);
	IS(read(fd, &info, sizeof info), sizeof info);
	IS(info.ssi_signo, SIGUSR1);
	IS(info.ssi_pid, getpid());
	close(fd);
	OK(pthread_detach(thread));
	block(SIG_UNBLOCK, SIGUSR1);
}

/* More than fit into any small buffer, while the threads are parked. */
static void flood(void)
{
	enum { MANY = 500 };
	atomic_store(&handled, 0);
	install(SIGRTMIN + 2, count, SA_RESTART);
	pid_t parent = getpid();
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		for (int i = 0; i < MANY; i++)
			IS(sigqueue(parent, SIGRTMIN + 2, (union sigval){ .sival_int = i }), 0);
		_exit(0);
	}
	reap(child, 0);
	while (atomic_load(&handled) < MANY)
		sched_yield();
	IS(atomic_load(&handled), MANY);
}

static void *changes_user(void *unused)
{
	IS(setresgid(getgid(), getegid(), -1), 0);
	IS(setresuid(getuid(), geteuid(), -1), 0);
	return unused;
}

int main(void)
{
	int ends[2];
	IS(pipe(ends), 0);
	install(SIGUSR1, count, SA_RESTART);
	install(SIGUSR2, count, SA_RESTART);
	pthread_t parked[4];
	for (int i = 0; i < 4; i++)
		parked[i] = start(waits, (void *)(intptr_t)ends[0]);
	join(start(forks, NULL));
	puts("fork");
	join(start(forks_in_handler, NULL));
	puts("fork in a handler");
	fflush(stdout);
	join(start(execs, NULL));
	join(start(spawns, NULL));
	flood();
	puts("flood");
	changes_user(NULL);
	join(start(changes_user, NULL));
	puts("setresuid");
	close(ends[1]);
	for (int i = 0; i < 4; i++)
		join(parked[i]);
	int again[2];
	IS(pipe(again), 0);
	reads_signalfd(again[0]);
	puts("signalfd");
	return 0;
}
