/*
 * tgkill(2) of a forked child reaches the very thread of its parent that it names: the siginfo is
 * that of tgkill, a thread that has ended is nobody's, and a child of the child may do the same.
 */
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "guest.h"

enum { THREADS = 6, EACH = 20 };

static _Atomic pid_t tids[THREADS];
static atomic_int handled[THREADS], wrong;
static __thread int number = -1;
static pthread_barrier_t there;
static atomic_bool done;

static void handler(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	if (number < 0 || info->si_code != SI_TKILL || info->si_uid != getuid() || info->si_pid == getpid())
		atomic_fetch_add(&wrong, 1);
	else
		atomic_fetch_add(&handled[number], 1);
}

static void *body(void *raw)
{
	number = (int)(intptr_t)raw;
	atomic_store(&tids[number], (pid_t)syscall(SYS_gettid));
	pthread_barrier_wait(&there);
	while (!atomic_load(&done))
		sleep_ms(1);
	return NULL;
}

static void send_all(pid_t to)
{
	for (int round = 0; round < EACH; round++)
		for (int i = 0; i < THREADS; i++)
			IS(syscall(SYS_tgkill, to, tids[i], SIGRTMIN + 1), 0);
	IS(syscall(SYS_tgkill, to, tids[0], 0), 0);
}

static void succeed(pid_t child)
{
	int status;
	IS(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART };
	OK(sigaction(SIGRTMIN + 1, &action, NULL));
	IS(pthread_barrier_init(&there, NULL, THREADS + 1), 0);
	pthread_t threads[THREADS];
	for (intptr_t i = 0; i < THREADS; i++)
		threads[i] = start(body, (void *)i);
	pthread_barrier_wait(&there);
	pid_t parent = getpid();
	pid_t child = fork();
	if (child == 0) {
		send_all(parent);
		pid_t grandchild = fork();
		if (grandchild == 0) {
			send_all(parent);
			_exit(0);
		}
		succeed(grandchild);
		_exit(0);
	}
	succeed(child);
	for (int i = 0; i < THREADS; i++)
		while (atomic_load(&handled[i]) < 2 * EACH)
			sleep_ms(1);
	atomic_store(&done, true);
	for (int i = 0; i < THREADS; i++) {
		join(threads[i]);
		IS(atomic_load(&handled[i]), 2 * EACH);
	}
	IS(atomic_load(&wrong), 0);
	puts("each had its own");
	return 0;
}
