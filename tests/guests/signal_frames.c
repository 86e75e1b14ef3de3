// Order of the handlers of several pending signals, edits of a ucontext, vector registers, SS_AUTODISARM, bad pointers.
#include "guest.h"
#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>
#include <sys/syscall.h>

static char order[64];
static void note(int signal)
{
	char text[8];
	snprintf(text, sizeof text, "%d ", signal);
	strcat(order, text);
}

static void install(int signal, void (*handler)(int), int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };
	IS(sigaction(signal, &action, NULL), 0);
}

static void stacked(void)
{
	sigset_t all, old;
	order[0] = 0;
	install(SIGUSR1, note, 0);
	install(SIGUSR2, note, 0);
	install(SIGHUP, note, 0);
	sigfillset(&all);
	OK(pthread_sigmask(SIG_SETMASK, &all, &old));
	OK(pthread_kill(pthread_self(), SIGUSR2));
	OK(pthread_kill(pthread_self(), SIGHUP));
	OK(pthread_kill(pthread_self(), SIGUSR1));
	OK(pthread_sigmask(SIG_SETMASK, &old, NULL));
	printf("order %s\n", order);
}

static void (*chained)(int);
static void chain(int signal)
{
	note(signal);
	if (signal == SIGUSR1) {
		OK(pthread_kill(pthread_self(), SIGUSR2));
		OK(pthread_kill(pthread_self(), SIGHUP));
		note(0);
	}
}
static void after_return(void)
{
	order[0] = 0;
	struct sigaction action = { .sa_handler = chain };
	sigfillset(&action.sa_mask);
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	install(SIGUSR2, note, 0);
	install(SIGHUP, note, 0);
	OK(pthread_kill(pthread_self(), SIGUSR1));
	printf("chain %s\n", order);
}

/* The handler changes the mask and a register of the context it returns to. */
static void edits(int signal, siginfo_t *info, void *raw)
{
	ucontext_t *context = raw;
	CHECK(signal == SIGUSR1 && info->si_signo == SIGUSR1);
	sigaddset(&context->uc_sigmask, SIGTERM);
	context->uc_mcontext.gregs[REG_R15] = 4711;
}
static void edited(void)
{
	struct sigaction action = { .sa_sigaction = edits, .sa_flags = SA_SIGINFO };
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	long r15, ret;
	__asm__ volatile("xor %%r15d,%%r15d\n\tsyscall\n\tmov %%r15,%1"
			 : "=a"(ret), "=r"(r15)
			 : "0"(SYS_tgkill), "D"(getpid()), "S"(gettid()), "d"(SIGUSR1)
			 : "rcx", "r11", "r15", "memory");
	IS(ret, 0);
	IS(r15, 4711);
	sigset_t now;
	OK(pthread_sigmask(SIG_SETMASK, NULL, &now));
	IS(sigismember(&now, SIGTERM), 1);
	sigdelset(&now, SIGTERM);
	OK(pthread_sigmask(SIG_SETMASK, &now, NULL));
}

static void clobbers(int signal)
{
	(void)signal;
	__asm__ volatile("vpcmpeqd %%ymm0,%%ymm0,%%ymm0\n\tvmovdqa %%ymm0,%%ymm7\n\tvmovdqa %%ymm0,%%ymm15\n\tfldpi\n\tfstp %%st(0)" ::
				 : "xmm0", "xmm7", "xmm15");
	sched_yield();
}
static void vectors(void)
{
	if (!__builtin_cpu_supports("avx2"))
		return;
	install(SIGUSR1, clobbers, 0);
	long in[4] = { 1, 2, 3, 4 }, out[4], out0[4];
	long ret;
	__asm__ volatile("vmovdqu %4,%%ymm15\n\tvmovdqu %4,%%ymm0\n\tsyscall\n\tvmovdqu %%ymm15,%1\n\tvmovdqu %%ymm0,%2"
			 : "=a"(ret), "=m"(out), "=m"(out0)
			 : "0"(SYS_tgkill), "m"(in), "D"(getpid()), "S"(gettid()), "d"(SIGUSR1)
			 : "rcx", "r11", "xmm15", "xmm0", "memory");
	CHECK(memcmp(in, out, sizeof in) == 0);
	CHECK(memcmp(in, out0, sizeof in) == 0);
}

static char *stack;
static void disarmed(int signal)
{
	char local;
	stack_t now;
	note(signal);
	CHECK(&local > stack && &local < stack + 65536);
	IS(sigaltstack(NULL, &now), 0);
	CHECK(now.ss_flags & SS_DISABLE);
}
static void autodisarm(void)
{
	stack_t s = { .ss_sp = stack = malloc(65536), .ss_size = 65536, .ss_flags = (int)(1u << 31) }, now, none = { .ss_flags = SS_DISABLE };
	IS(sigaltstack(&s, NULL), 0);
	install(SIGUSR1, disarmed, SA_ONSTACK);
	OK(pthread_kill(pthread_self(), SIGUSR1));
	IS(sigaltstack(NULL, &now), 0);
	CHECK(now.ss_sp == stack && !(now.ss_flags & SS_DISABLE));
	IS(sigaltstack(&none, NULL), 0);
	free(stack);
	struct { void *sp; int flags; size_t size; } bad = { 0, 5, 1 };
	FAILS(sigaltstack((void *)&bad, NULL), EINVAL);
	bad.flags = 0;
	FAILS(sigaltstack((void *)&bad, NULL), ENOMEM);
}

static void faults(void)
{
	FAILS(syscall(SYS_rt_sigprocmask, SIG_BLOCK, unmapped, NULL, 8), EFAULT);
	FAILS(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, unmapped, 8), EFAULT);
	FAILS(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, NULL, 4), EINVAL);
	sigset_t set;
	sigemptyset(&set);
	FAILS(syscall(SYS_rt_sigprocmask, 77, &set, NULL, 8), EINVAL);
	FAILS(syscall(SYS_rt_sigaction, SIGUSR1, unmapped, NULL, 8), EFAULT);
	FAILS(syscall(SYS_rt_sigaction, 65, NULL, NULL, 8), EINVAL);
	FAILS(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 16), EINVAL);
	FAILS(syscall(SYS_sigaltstack, unmapped, NULL), EFAULT);
	FAILS(syscall(SYS_rt_sigtimedwait, unmapped, NULL, NULL, 8), EFAULT);
	FAILS(syscall(SYS_rt_sigpending, unmapped, 8), EFAULT);
	FAILS(syscall(SYS_rt_sigsuspend, unmapped, 8), EFAULT);
	FAILS(syscall(SYS_tgkill, getpid(), gettid(), 65), EINVAL);
	FAILS(syscall(SYS_tgkill, getpid(), 0, 1), EINVAL);
	FAILS(syscall(SYS_tgkill, getpid(), 1 << 29, 0), ESRCH);
	FAILS(syscall(SYS_tgkill, 1, gettid(), 0), ESRCH);
	FAILS(syscall(SYS_tkill, -1, 0), EINVAL);
	IS(syscall(SYS_tgkill, getpid(), gettid(), 0), 0);
}

static void *body(void *unused)
{
	(void)unused;
	stacked();
	after_return();
	edited();
	vectors();
	autodisarm();
	faults();
	return NULL;
}

int main(void)
{
	join(start(body, NULL));
	body(NULL);
	return 0;
}
