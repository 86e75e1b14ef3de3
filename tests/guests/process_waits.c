// wait, waitpid, wait4 and waitid: statuses, WNOHANG, WNOWAIT, WUNTRACED, groups, usage, ECHILD.
#include "guest.h"
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static int gate[2];

/* A child that ends with `status` when a byte or the end of the gate's pipe comes. */
static pid_t child_with(int status)
{
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		char byte;
		close(gate[1]);
		CHECK(read(gate[0], &byte, 1) >= 0);
		_exit(status);
	}
	return child;
}

static void open_gate(void *unused)
{
	(void)unused;
	IS(write(gate[1], "x", 1), 1);
}

static void kill_it(void *child)
{
	IS(kill(*(pid_t *)child, SIGKILL), 0);
}

static void stop_it(void *child)
{
	IS(kill(*(pid_t *)child, SIGSTOP), 0);
}

static void continue_it(void *child)
{
	IS(kill(*(pid_t *)child, SIGCONT), 0);
}

static void *body(void *unused)
{
	struct release release;
	struct rusage usage;
	siginfo_t info;
	int status;
	(void)unused;
	FAILS(waitpid(-1, &status, 0), ECHILD);
	FAILS(waitpid(-1, &status, WNOHANG), ECHILD);
	FAILS(waitpid(getpid(), &status, 0), ECHILD);
	FAILS(waitid(P_ALL, 0, &info, WEXITED), ECHILD);
	FAILS(waitid(P_ALL, 0, &info, 0), EINVAL);

	pid_t child = child_with(1);
	IS(waitpid(child, &status, WNOHANG), 0);
	release_start(&release, open_gate, NULL);
	IS(waitpid(child, &status, 0), child);
	release_check(&release, "waitpid");
	IS(WEXITSTATUS(status), 1);

	child = child_with(2);
	release_start(&release, open_gate, NULL);
	IS(wait(&status), child);
	release_check(&release, "wait");
	IS(WEXITSTATUS(status), 2);

	child = child_with(3);
	memset(&usage, 0x77, sizeof usage);
	release_start(&release, open_gate, NULL);
	IS(wait4(-1, &status, 0, &usage), child);
	release_check(&release, "wait4");
	CHECK(WEXITSTATUS(status) == 3 && usage.ru_utime.tv_sec < 1000 && usage.ru_maxrss > 0);

	child = child_with(4);
	memset(&info, 0x77, sizeof info);
	IS(waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG), 0);
	IS(info.si_pid, 0);
	release_start(&release, open_gate, NULL);
	IS(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	release_check(&release, "waitid");
	CHECK(info.si_pid == child && info.si_code == CLD_EXITED && info.si_status == 4);
	CHECK(info.si_signo == SIGCHLD && info.si_uid == getuid());
	IS(waitid(P_ALL, 0, &info, WEXITED), 0); /* it was left to be reaped */
	IS(info.si_pid, child);
	FAILS(waitpid(child, &status, 0), ECHILD);

	child = child_with(5);
	release_start(&release, kill_it, &child);
	IS(waitpid(child, &status, 0), child);
	release_check(&release, "waitpid for one killed");
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

	child = child_with(6);
	release_start(&release, stop_it, &child);
	IS(waitpid(child, &status, WUNTRACED), child);
	release_check(&release, "waitpid for one stopped");
	CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	release_start(&release, continue_it, &child);
	IS(waitid(P_PID, (id_t)child, &info, WCONTINUED), 0);
	release_check(&release, "waitid for one continued");
	IS(info.si_code, CLD_CONTINUED);
	open_gate(NULL);
	IS(waitpid(child, NULL, 0), child);

	child = child_with(7);
	IS(setpgid(child, child), 0);
	pid_t other = child_with(8);
	open_gate(NULL);
	open_gate(NULL);
	IS(waitpid(-child, &status, 0), child);
	IS(waitid(P_PGID, (id_t)getpgrp(), &info, WEXITED), 0);
	IS(info.si_pid, other);
	puts("groups");
	return NULL;
}

int main(void)
{
	IS(pipe(gate), 0);
	body(NULL);
	join(start(body, NULL));
	return 0;
}
