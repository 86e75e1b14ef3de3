// Where no code can be made (PR_SET_MDWE), threads wait alone, and processes, signals and credentials are as ever.
#include "guest.h"
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <threads.h>

static int ends[2];
static sem_t handled;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int stage;
static char *const shell[] = { "sh", "-c", "exit 7", NULL };
extern char **environ;

static void put(void *unused)
{
	(void)unused;
	IS(write(ends[1], "x", 1), 1);
}

static void handler(int number)
{
	(void)number;
	IS(sem_post(&handled), 0);
}

static void *steps(void *raw)
{
	int own = *(int *)raw;
	OK(pthread_mutex_lock(&mutex));
	while (stage != own)
		OK(pthread_cond_wait(&condition, &mutex));
	stage++;
	OK(pthread_cond_broadcast(&condition));
	OK(pthread_mutex_unlock(&mutex));
	return NULL;
}

static int steps_c11(void *raw)
{
	steps(raw);
	return 0;
}

static void locks(void)
{
	int numbers[8];
	pthread_t threads[7];
	thrd_t last;
	stage = 0;
	for (int i = 0; i < 7; i++) {
		numbers[i] = 6 - i;
		threads[i] = start(steps, &numbers[i]);
	}
	numbers[7] = 7;
	IS(thrd_create(&last, steps_c11, &numbers[7]), thrd_success);
	for (int i = 0; i < 7; i++)
		join(threads[i]);
	IS(thrd_join(last, NULL), thrd_success);
	IS(stage, 8);
}

static void *reads(void *byte)
{
	IS(read(ends[0], byte, 1), 1);
	return byte;
}

static void reads_alone(void)
{
	struct release release;
	char byte;
	release_start(&release, put, NULL);
	IS(read(ends[0], &byte, 1), 1);
	release_check(&release, "a read");
}

static void ends_with(pid_t child, int expected)
{
	int status;
	IS(waitpid(child, &status, 0), child);
	IS(WEXITSTATUS(status), expected);
}

static void processes(void)
{
	pid_t child = fork();
	if (child == 0) {
		/* Bare, until it makes a thread. */
		reads_alone();
		locks();
		_exit(5);
	}
	ends_with(child, 5);
	OK(posix_spawn(&child, "/bin/sh", NULL, NULL, shell, environ));
	ends_with(child, 7);
	child = vfork();
	if (child == 0) {
		execve("/bin/sh", shell, environ);
		_exit(1);
	}
	ends_with(child, 7);
	IS(WEXITSTATUS(system("exit 3")), 3);
}

static void signals(void)
{
	char byte;
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
	IS(sem_init(&handled, 0, 0), 0);
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	IS(sigaction(SIGSYS, &action, NULL), 0);
	pthread_t reader = start(reads, &byte);
	for (int i = 0; i < 2; i++) {
		OK(pthread_kill(reader, i ? SIGSYS : SIGUSR1));
		while (sem_wait(&handled) != 0)
			CHECK(errno == EINTR);
	}
	/* Blocked, it waits. */
	sigset_t set, pending;
	sigemptyset(&set);
	sigaddset(&set, SIGSYS);
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	IS(raise(SIGSYS), 0);
	IS(sigpending(&pending), 0);
	IS(sigismember(&pending, SIGSYS), 1);
	FAILS(sem_trywait(&handled), EAGAIN);
	OK(pthread_sigmask(SIG_UNBLOCK, &set, NULL));
	IS(sem_trywait(&handled), 0);
	put(NULL);
	join(reader);
}

int main(int count, char **arguments)
{
	(void)count;
	if (prctl(66 /* PR_GET_MDWE */, 0, 0, 0, 0) == 0) {
		/* Kernels before 6.3 have no such restriction. */
		if (prctl(65 /* PR_SET_MDWE */, 1, 0, 0, 0) == 0)
			execv("/proc/self/exe", arguments);
	}
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	reads_alone();
	locks();
	puts("threads");
	processes();
	puts("processes");
	signals();
	puts("signals");
	if (geteuid() == 0) {
		for (int i = 0; i < 20; i++) {
			IS(seteuid(i % 2 ? 0 : 1000), 0);
			IS(geteuid(), i % 2 ? 0 : 1000);
		}
	}
	puts("credentials");
	return 0;
}
