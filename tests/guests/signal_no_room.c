// A handler's frame for which its stack has no room: nothing outside is overwritten, and the thread gets a SIGSEGV of the kernel's instead.
#include "guest.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { SMALL = 2048, AROUND = 16 << 10 };

static unsigned char *around, *beyond;
static sigset_t user;

static void on_user(int number)
{
	(void)number;
	for (int i = 0; beyond && i < SMALL; i++)
		CHECK(beyond[i] == 0x5a);
	_exit(1);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)context;
	CHECK(number == SIGSEGV && info->si_code == SI_KERNEL && info->si_addr == NULL);
	for (int i = 0; around && i < AROUND; i++)
		CHECK(around[i] == 0x5a);
	_exit(2);
}

static void use(void *stack, size_t size)
{
	stack_t alternate = { .ss_sp = stack, .ss_size = size };
	struct sigaction action = { .sa_handler = on_user, .sa_flags = SA_ONSTACK };
	IS(sigaltstack(&alternate, NULL), 0);
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	OK(pthread_sigmask(SIG_UNBLOCK, &user, NULL));
}

static void handle(int flags)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | flags };
	IS(sigaction(SIGSEGV, &action, NULL), 0);
}

static void use_small(void)
{
	around = malloc(AROUND + SMALL);
	CHECK(around != NULL);
	memset(around, 0x5a, AROUND);
	use(around + AROUND, SMALL);
}

static void use_unmapped(void)
{
	void *stack = mmap(NULL, 64 << 10, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(stack != MAP_FAILED);
	use(stack, 64 << 10);
}

/* Its last bytes are less than a word on a page of their own. */
static void *odd(void *unused)
{
	enum { WHOLE = 64 << 10, SIZE = (32 << 10) + 3 };
	unsigned char *stack = mmap(NULL, WHOLE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(stack != MAP_FAILED);
	memset(stack, 0x5a, WHOLE);
	beyond = stack + SIZE;
	use(stack, SIZE);
	raise(SIGUSR1);
	return unused;
}

static void *too_small(void *unused)
{
	use_small();
	raise(SIGUSR1);
	return unused;
}

static void *too_small_handled(void *unused)
{
	use_small();
	handle(0);
	raise(SIGUSR1);
	return unused;
}

static void *too_small_for_both(void *unused)
{
	use_small();
	handle(SA_ONSTACK);
	raise(SIGUSR1);
	return unused;
}

static void *not_there(void *unused)
{
	use_unmapped();
	raise(SIGUSR1);
	return unused;
}

static void *not_there_handled(void *unused)
{
	use_unmapped();
	handle(0);
	raise(SIGUSR1);
	return unused;
}

static void *not_there_blocked(void *unused)
{
	use_unmapped();
	handle(0);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	raise(SIGUSR1);
	return unused;
}

/* It comes while the thread computes. */
static void *not_there_computing(void *unused)
{
	use_unmapped();
	handle(0);
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec soon = { .it_value.tv_nsec = MS };
	timer_t timer;
	IS(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	IS(timer_settime(timer, 0, &soon, NULL), 0);
	for (;;)
		atomic_signal_fence(memory_order_seq_cst);
	return unused;
}

static void run(const char *name, void *(*body)(void *))
{
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		join(start(body, NULL));
		_exit(3);
	}
	int status;
	IS(waitpid(child, &status, 0), child);
	printf("%s: %s %d\n", name, WIFSIGNALED(status) ? "killed by" : "exit",
	       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

int main(void)
{
	/* The threads let it in, so that it is theirs. */
	sigemptyset(&user);
	sigaddset(&user, SIGUSR1);
	OK(pthread_sigmask(SIG_BLOCK, &user, NULL));
	run("odd", odd);
	run("too small", too_small);
	run("too small, SIGSEGV is handled elsewhere", too_small_handled);
	run("too small for SIGSEGV's handler too", too_small_for_both);
	run("not there", not_there);
	run("not there, SIGSEGV is handled elsewhere", not_there_handled);
	run("not there, SIGSEGV is blocked", not_there_blocked);
	run("not there, while the thread computes", not_there_computing);
	return 0;
}
