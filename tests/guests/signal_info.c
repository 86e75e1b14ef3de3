// raise and pthread_sigqueue: order of real-time signals, values, what nobody may say, SA_RESETHAND, SA_NODEFER, sigaction.
#include "guest.h"
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>

static int values[10];
static atomic_int count;
static __thread int depth;
static atomic_int deepest;

static void on_real_time(int signal, siginfo_t *info, void *context)
{
	CHECK(signal == SIGRTMIN + 1 && info->si_code == SI_QUEUE && info->si_pid == getpid());
	CHECK(context != NULL && ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] != 0);
	values[atomic_fetch_add(&count, 1)] = info->si_value.sival_int;
}

static void nests(int signal)
{
	depth++;
	if (depth > atomic_load(&deepest))
		atomic_store(&deepest, depth);
	if (depth < 5)
		raise(signal);
	sched_yield();
	depth--;
}

static void does_not_nest(int signal)
{
	CHECK(depth++ == 0);
	if (atomic_fetch_add(&count, 1) == 0)
		raise(signal); /* blocked until we return */
	sched_yield();
	depth--;
}

static void once(int signal)
{
	struct sigaction now;
	atomic_fetch_add(&count, 1);
	IS(sigaction(signal, NULL, &now), 0);
	CHECK(now.sa_handler == SIG_DFL);
}

/* Nobody says that a signal comes from the kernel or from tgkill, except to itself. */
static void pose(void)
{
	static const int codes[] = { SI_USER, SI_KERNEL, SI_TKILL };
	pid_t process = getpid(), self = gettid();
	for (size_t i = 0; i < COUNT(codes); i++) {
		siginfo_t info = { .si_code = codes[i] };
		IS(syscall(SYS_rt_tgsigqueueinfo, process, self, 0, &info), 0);
		IS(syscall(SYS_rt_sigqueueinfo, self, 0, &info), 0);
		if (self == process)
			continue;
		FAILS(syscall(SYS_rt_tgsigqueueinfo, process, process, SIGUSR1, &info), EPERM);
		FAILS(syscall(SYS_rt_sigqueueinfo, process, SIGUSR1, &info), EPERM);
	}
}

static void *body(void *unused)
{
	pose();
	(void)unused;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	atomic_store(&count, 0);
	struct sigaction queue = { .sa_sigaction = on_real_time, .sa_flags = SA_SIGINFO };
	IS(sigaction(SIGRTMIN + 1, &queue, NULL), 0);
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	for (int i = 0; i < 5; i++)
		OK(pthread_sigqueue(pthread_self(), SIGRTMIN + 1, (union sigval){ .sival_int = i }));
	IS(atomic_load(&count), 0);
	OK(pthread_sigmask(SIG_UNBLOCK, &set, NULL));
	IS(atomic_load(&count), 5);
	for (int i = 0; i < 5; i++)
		IS(values[i], i);

	struct sigaction nested = { .sa_handler = nests, .sa_flags = SA_NODEFER };
	IS(sigaction(SIGUSR1, &nested, NULL), 0);
	raise(SIGUSR1);
	IS(atomic_load(&deepest), 5);
	atomic_store(&count, 0);
	struct sigaction deferred = { .sa_handler = does_not_nest };
	IS(sigaction(SIGUSR1, &deferred, NULL), 0);
	raise(SIGUSR1);
	IS(atomic_load(&count), 2);
	atomic_store(&count, 0);
	struct sigaction reset = { .sa_handler = once, .sa_flags = (int)SA_RESETHAND };
	IS(sigaction(SIGUSR1, &reset, NULL), 0);
	raise(SIGUSR1);
	IS(atomic_load(&count), 1);

	/* sigaction gives back what was put in. */
	struct sigaction put = { .sa_handler = nests, .sa_flags = SA_RESTART | SA_NODEFER }, got;
	sigemptyset(&put.sa_mask);
	sigaddset(&put.sa_mask, SIGUSR2);
	IS(sigaction(SIGUSR1, &put, NULL), 0);
	IS(sigaction(SIGUSR1, NULL, &got), 0);
	CHECK(got.sa_handler == nests && (got.sa_flags & (SA_RESTART | SA_NODEFER | SA_SIGINFO)) ==
						 (SA_RESTART | SA_NODEFER));
	CHECK(sigismember(&got.sa_mask, SIGUSR2) && !sigismember(&got.sa_mask, SIGINT));
	FAILS(sigaction(SIGKILL, &put, NULL), EINVAL);
	return NULL;
}

int main(void)
{
	body(NULL);
	join(start(body, NULL));
	puts("every one");
	return 0;
}
