// Waits for stopped and traced children, by pidfd, with SIGCHLD ignored; several threads for one child.
#include "guest.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static int gate[2];

static void open_gate(void *count)
{
	for (intptr_t i = 0; i < (intptr_t)count; i++)
		IS(write(gate[1], "x", 1), 1);
}

static pid_t child_with(int status)
{
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		char byte;
		IS(read(gate[0], &byte, 1), 1);
		_exit(status);
	}
	return child;
}

#define BLOCKS(name, action, argument, expected, call)                                             \
	do {                                                                                       \
		struct release release;                                                            \
		release_start(&release, action, argument);                                         \
		IS(call, expected);                                                                \
		release_check(&release, name);                                                     \
	} while (0)

static void traced(void)
{
	int status;
	pid_t child = fork();
	if (child == 0) {
		CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
		char byte;
		IS(read(gate[0], &byte, 1), 1);
		raise(SIGSTOP);
		raise(SIGUSR1); /* stops for the tracer, who lets it not arrive */
		_exit(9);
	}
	BLOCKS("waitpid for a traced one", open_gate, (void *)1, child, waitpid(child, &status, 0));
	CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	CHECK(ptrace(PTRACE_CONT, child, NULL, NULL) == 0);
	IS(waitpid(child, &status, __WALL), child);
	CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGUSR1);
	CHECK(ptrace(PTRACE_CONT, child, NULL, NULL) == 0);
	IS(waitpid(-1, &status, 0), child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 9);
}

static void by_pidfd(void)
{
	siginfo_t info;
	unsigned char untouched[sizeof info];
	pid_t child = child_with(3);
	int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
	CHECK(pidfd >= 0);
	memset(&info, 0x77, sizeof info);
	memset(untouched, 0x77, sizeof info);
	BLOCKS("waitid for a pidfd", open_gate, (void *)1, 0,
	       waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOWAIT));
	CHECK(info.si_pid == child && info.si_status == 3 && info.si_code == CLD_EXITED);
	CHECK(!memcmp((char *)&info + 64, untouched, sizeof info - 64)); /* the rest is the caller's */
	IS(fcntl(pidfd, F_SETFL, fcntl(pidfd, F_GETFL) | O_NONBLOCK), 0);
	IS(waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED), 0);
	close(pidfd);
	child = child_with(4);
	pidfd = (int)syscall(SYS_pidfd_open, child, O_NONBLOCK);
	if (pidfd >= 0) {
		FAILS(waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED), EAGAIN);
		close(pidfd);
	}
	open_gate((void *)1);
	IS(waitpid(child, NULL, 0), child);
	FAILS(waitid((idtype_t)P_PIDFD, 12345, &info, WEXITED), EBADF);
}

static void *opens_a_file(void *number)
{
	sleep_ms(20); /* the other waits by now */
	int fd = open("/dev/null", O_RDONLY);
	CHECK(fd >= 0);
	close(fd);
	*(int *)number = fd;
	open_gate((void *)1);
	return NULL;
}

/* The wait itself takes no descriptor that the program could miss. */
static void keeps_numbers(void)
{
	int before = open("/dev/null", O_RDONLY), during = -1;
	close(before);
	pid_t child = child_with(5);
	pthread_t other = start(opens_a_file, &during);
	IS(waitpid(child, NULL, 0), child);
	join(other);
	IS(during, before);
}

static void *waits_for(void *child)
{
	int status;
	pid_t found = waitpid((pid_t)(intptr_t)child, &status, 0);
	CHECK(found == (pid_t)(intptr_t)child || (found == -1 && errno == ECHILD));
	return (void *)(intptr_t)(found > 0);
}

static void *waits_for_any(void *unused)
{
	int status;
	(void)unused;
	pid_t found = wait(&status);
	CHECK(found > 0);
	return (void *)(intptr_t)WEXITSTATUS(status);
}

static void together(void)
{
	pthread_t threads[8];
	long found = 0;
	pid_t child = child_with(1);
	for (int i = 0; i < 4; i++)
		threads[i] = start(waits_for, (void *)(intptr_t)child);
	open_gate((void *)1);
	for (int i = 0; i < 4; i++)
		found += (long)join(threads[i]);
	IS(found, 1);
	for (int i = 0; i < 8; i++)
		child_with(i);
	for (int i = 0; i < 8; i++)
		threads[i] = start(waits_for_any, NULL);
	open_gate((void *)8);
	found = 0;
	for (int i = 0; i < 8; i++)
		found += 1L << (long)join(threads[i]);
	IS(found, 255);
	puts("together");
}

static void ignored(void)
{
	int status;
	struct sigaction action = { .sa_handler = SIG_IGN };
	IS(sigaction(SIGCHLD, &action, NULL), 0);
	pid_t child = child_with(1);
	child_with(2);
	struct release release;
	release_start(&release, open_gate, (void *)2);
	FAILS(wait(&status), ECHILD); /* when all have ended */
	release_check(&release, "wait with SIGCHLD ignored");
	FAILS(waitpid(child, &status, 0), ECHILD);
	child = child_with(3);
	release_start(&release, open_gate, (void *)1);
	FAILS(waitpid(child, &status, 0), ECHILD);
	release_check(&release, "waitpid with SIGCHLD ignored");
	action.sa_handler = SIG_DFL;
	action.sa_flags = SA_NOCLDWAIT;
	IS(sigaction(SIGCHLD, &action, NULL), 0);
	child = child_with(4);
	release_start(&release, open_gate, (void *)1);
	FAILS(waitpid(child, &status, 0), ECHILD);
	release_check(&release, "waitpid with SA_NOCLDWAIT");
	action.sa_flags = 0;
	IS(sigaction(SIGCHLD, &action, NULL), 0);
}

static void *body(void *unused)
{
	(void)unused;
	traced();
	by_pidfd();
	keeps_numbers();
	together();
	ignored();
	siginfo_t info;
	FAILS(waitid(P_ALL, 0, &info, WEXITED | 0x100), EINVAL);
	FAILS(waitpid(-1, NULL, 0x100), EINVAL);
	FAILS(waitpid(-0x7fffffff - 1, NULL, 0), ESRCH);
	/* The child is gone though nobody was told. */
	pid_t child = child_with(1);
	open_gate((void *)1);
	FAILS(waitpid(child, unmapped, 0), EFAULT);
	FAILS(waitpid(child, NULL, 0), ECHILD);
	child = child_with(1);
	open_gate((void *)1);
	FAILS(waitid(P_PID, (id_t)child, unmapped, WEXITED), EFAULT);
	FAILS(waitpid(child, NULL, 0), ECHILD);
	puts("errors");
	return NULL;
}

int main(void)
{
	IS(pipe(gate), 0);
	body(NULL);
	join(start(body, NULL));
	return 0;
}
