// Runs a program and its children under ptrace(2), and ends as the program does. Every thread stops at its
// calls, and runs one instruction at a time for a while when it begins and after each signal.
#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEPS 300
#define MOST 1024

static struct task {
	pid_t tid;
	int steps;
} tasks[MOST];

/* A new one has its first steps before it. */
static struct task *task_of(pid_t tid)
{
	struct task *unused = NULL;
	for (int i = 0; i < MOST; i++) {
		if (tasks[i].tid == tid)
			return &tasks[i];
		if (!tasks[i].tid && !unused)
			unused = &tasks[i];
	}
	if (!unused)
		exit(96);
	*unused = (struct task){tid, STEPS};
	return unused;
}

static int is_job_control(int signal)
{
	return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

static void go_on(pid_t tid, int status)
{
	struct task *task = task_of(tid);
	const int signal = WSTOPSIG(status), event = status >> 16;
	long deliver = 0;
	if (event == PTRACE_EVENT_STOP && is_job_control(signal)) {
		ptrace(PTRACE_LISTEN, tid, 0, 0);
		return;
	}
	if (!event && signal == SIGTRAP)
		task->steps -= task->steps > 0;
	else if (!event && signal != (SIGTRAP | 0x80))
		deliver = signal, task->steps = STEPS;
	ptrace(task->steps ? PTRACE_SINGLESTEP : PTRACE_SYSCALL, tid, 0, deliver);
}

int main(int argc, char **argv)
{
	const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
			     PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
	int gate[2], status, last = 97 << 8;
	char byte;
	if (argc < 2 || pipe(gate))
		return 97;
	const pid_t first = fork();
	if (first == 0) {
		close(gate[1]);
		if (read(gate[0], &byte, 1) == 1 && !close(gate[0]))
			execvp(argv[1], argv + 1);
		_exit(127);
	}
	close(gate[0]);
	if (first < 0 || ptrace(PTRACE_SEIZE, first, 0, options) || write(gate[1], "x", 1) != 1)
		return 97;
	close(gate[1]);
	for (pid_t tid; (tid = waitpid(-1, &status, __WALL)) > 0;) {
		if (WIFSTOPPED(status)) {
			go_on(tid, status);
			continue;
		}
		task_of(tid)->tid = 0;
		if (tid == first)
			last = status;
	}
	if (WIFSIGNALED(last))
		raise(WTERMSIG(last));
	return WEXITSTATUS(last);
}
