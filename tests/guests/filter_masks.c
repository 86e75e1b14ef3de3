// guest: limit=30
// A filter that does not let the mask of signals be changed: handlers run all the same, threads are made, and a trap is told of.
#include "guest.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

static atomic_int trapped, handled, wrong;

static void on_trap(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	atomic_fetch_add(&trapped, 1);
	if (info->si_code != 1 || info->si_syscall != SYS_rt_sigprocmask || info->si_arch != AUDIT_ARCH_X86_64 ||
	    info->si_errno != 7 || registers[REG_RAX] != SYS_rt_sigprocmask ||
	    info->si_call_addr != (void *)registers[REG_RIP])
		atomic_fetch_add(&wrong, 1);
	registers[REG_RAX] = -EDOM;
}

static void on_usr(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

static void *body(void *argument)
{
	sleep_ms(1);
	return argument;
}

static void deny(uint32_t answer)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigprocmask, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, answer),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { COUNT(code), code };
	IS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	IS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void tell(const char *what, int result)
{
	printf("%s: %d, %d handled, %d trapped, %d wrong\n", what, result, handled, trapped, wrong);
	fflush(stdout);
}

static void under(uint32_t answer)
{
	struct sigaction trap = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_NODEFER };
	struct sigaction usr = { .sa_handler = on_usr };
	IS(sigaction(SIGSYS, &trap, NULL), 0);
	IS(sigaction(SIGUSR1, &usr, NULL), 0);
	join(start(body, NULL));
	deny(answer);
	/* The way around libc makes one call, so the numbers are the same with every libc. */
	uint64_t set = 1ull << (SIGUSR2 - 1);
	long result = syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, 8);
	tell("mask", result == -1 ? errno : 0);
	tell("signal", kill(getpid(), SIGUSR1));
	int before = trapped;
	pthread_t thread = start(body, NULL);
	join(thread);
	trapped = before + (trapped > before);
	tell("thread", 0);
	tell("signal", kill(getpid(), SIGUSR1));
	_exit(0);
}

int main(void)
{
	const uint32_t answers[] = { SECCOMP_RET_ERRNO | EPERM, SECCOMP_RET_ERRNO | ENOSYS, SECCOMP_RET_TRAP | 7,
				     SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_LOG };
	for (unsigned i = 0; i < COUNT(answers); i++) {
		fflush(stdout);
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0)
			under(answers[i]);
		int status = -1;
		IS(waitpid(child, &status, 0), child);
		printf("%u: %x\n", i, (unsigned)status & 0x7f);
	}
	return 0;
}
