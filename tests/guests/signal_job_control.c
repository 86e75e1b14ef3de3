// Job control of a process with threads: it stops and goes on; SIGCONT's handler runs; stop signals caught and ignored.
#include "guest.h"
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/wait.h>

static atomic_int continued, stops, ticks;

static void on_cont(int number)
{
	(void)number;
	atomic_fetch_add(&continued, 1);
}

static void on_stop(int number)
{
	(void)number;
	atomic_fetch_add(&stops, 1);
}

static void *ticking(void *unused)
{
	for (;;) {
		sleep_ms(1);
		atomic_fetch_add(&ticks, 1);
	}
	return unused;
}

static void *reports(void *raw)
{
	int *fds = raw;
	char command;
	while (read(fds[0], &command, 1) == 1) {
		int value = command == 'c' ? atomic_load(&continued) : command == 's' ? atomic_load(&stops) :
											 atomic_load(&ticks) > 0;
		if (command == 'd')
			signal(SIGTSTP, SIG_DFL);
		if (command == 'h')
			signal(SIGTSTP, on_stop);
		if (command == 'b') {
			sigset_t set;
			sigemptyset(&set);
			sigaddset(&set, SIGTSTP);
			sigaddset(&set, SIGTTIN);
			OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
		}
		IS(write(fds[1], &value, sizeof value), sizeof value);
	}
	_exit(0);
}

static int ask(int to, int from, char command)
{
	int value;
	IS(write(to, &command, 1), 1);
	IS(read(from, &value, sizeof value), sizeof value);
	return value;
}

static int to[2], from[2];

static void stop_and_go(pid_t child, int number, const char *name)
{
	int status, before = ask(to[1], from[0], 'c');
	IS(kill(child, number), 0);
	IS(waitpid(child, &status, WUNTRACED), child);
	CHECK(WIFSTOPPED(status));
	printf("%s stops: %d\n", name, WSTOPSIG(status) == number);
	siginfo_t info;
	IS(kill(child, SIGCONT), 0);
	IS(waitid(P_PID, (id_t)child, &info, WCONTINUED), 0);
	IS(info.si_code, CLD_CONTINUED);
	/* A stop signal would discard a SIGCONT that still waits. */
	while (ask(to[1], from[0], 'c') == before)
		sched_yield();
}

int main(void)
{
	int fds[2];
	IS(pipe(to), 0);
	IS(pipe(from), 0);
	pid_t child = fork();
	if (child == 0) {
		close(to[1]);
		close(from[0]);
		fds[0] = to[0];
		fds[1] = from[1];
		setpgid(0, 0); /* its group is not orphaned: we are in the session */
		signal(SIGCONT, on_cont);
		start(ticking, NULL);
		start(reports, fds);
		for (;;)
			pause();
	}
	CHECK(child > 0);
	while (!ask(to[1], from[0], 't'))
		sched_yield();
	stop_and_go(child, SIGSTOP, "SIGSTOP");
	stop_and_go(child, SIGTSTP, "SIGTSTP");
	stop_and_go(child, SIGTTIN, "SIGTTIN");
	stop_and_go(child, SIGTTOU, "SIGTTOU");
	printf("continued: %d\n", ask(to[1], from[0], 'c'));
	ask(to[1], from[0], 'h');
	IS(kill(child, SIGTSTP), 0);
	while (ask(to[1], from[0], 's') < 1)
		sched_yield();
	int status;
	IS(waitpid(child, &status, WUNTRACED | WNOHANG), 0);
	puts("a caught SIGTSTP does not stop");
	ask(to[1], from[0], 'd');
	stop_and_go(child, SIGTSTP, "SIGTSTP again");
	IS(kill(child, SIGSTOP), 0);
	IS(waitpid(child, &status, WUNTRACED), child);
	IS(kill(child, SIGKILL), 0);
	IS(waitpid(child, &status, 0), child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	puts("killed while stopped");
	return 0;
}
