/*
 * A program without threads that catches system calls itself, by Syscall User Dispatch with libc's
 * code left out, gets those of its own code and no others; and it goes on afterwards.
 */
#include <dlfcn.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include "guest.h"

enum { SET_DISPATCH = 59, OFF = 0, ON = 1, ALLOW = 0, BLOCK = 1 };

static char selector = ALLOW;
static int caught;

/* One of the program's own code. */
static long own_call(long number)
{
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number) : "rcx", "r11", "memory");
	return result;
}

static void handler(int signal, siginfo_t *info, void *context)
{
	ucontext_t *at = context;
	(void)signal;
	selector = ALLOW;
	caught += info->si_syscall == SYS_getppid;
	at->uc_mcontext.gregs[REG_RAX] = 4321;
}

/* Where libc's code is. */
static void code_of_libc(unsigned long *from, unsigned long *length)
{
	char line[512];
	unsigned long inside = (unsigned long)dlsym(RTLD_DEFAULT, "getppid"), begin, end;
	FILE *maps = fopen("/proc/self/maps", "r");
	CHECK(maps);
	while (fgets(line, sizeof line, maps))
		if (sscanf(line, "%lx-%lx", &begin, &end) == 2 && begin <= inside && inside < end) {
			*from = begin;
			*length = end - begin;
		}
	fclose(maps);
}

static void *nothing(void *arg)
{
	return arg;
}

int main(void)
{
	unsigned long from = 0, length = 0;
	code_of_libc(&from, &length);
	CHECK(length > 0);
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };
	OK(sigaction(SIGSYS, &action, NULL));
	if (prctl(SET_DISPATCH, ON, from, length, &selector) == 0) {
		selector = BLOCK;
		CHECK(own_call(SYS_getppid) == 4321);
		CHECK(selector == ALLOW && caught == 1);
		selector = BLOCK;
		CHECK(getppid() > 1 && syscall(SYS_getppid) > 1);
		OK(prctl(PR_SET_NAME, "dispatched"));
		CHECK(own_call(SYS_getppid) == 4321 && caught == 2);
		selector = BLOCK;
		OK(prctl(SET_DISPATCH, OFF, 0, 0, 0));
		CHECK(own_call(SYS_getppid) > 1);
	}
	pid_t child = fork();
	if (child == 0)
		_exit(3);
	int status;
	IS(waitpid(child, &status, 0), child);
	IS(WEXITSTATUS(status), 3);
	pthread_t thread = start(nothing, NULL);
	join(thread);
	puts("its own");
	return 0;
}
