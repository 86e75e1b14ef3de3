// guest: limit=20
// A filter that looks at arguments: a thread may ask about itself as 0 alone, and is answered by the handler of SIGSYS.
#include "guest.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <ucontext.h>

static atomic_int trapped;
static bool filtered;

/* As browsers' sandboxes do: the call is made again with 0 in the place of the thread's own id. */
static void answer(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	atomic_fetch_add(&trapped, 1);
	long ret = -EACCES;
	if ((pid_t)registers[REG_RDI] == (pid_t)syscall(SYS_gettid)) {
		int before = errno;
		ret = syscall(info->si_syscall, 0, registers[REG_RSI], registers[REG_RDX], registers[REG_R10]);
		if (ret < 0)
			ret = -errno;
		errno = before;
	}
	registers[REG_RAX] = ret;
}

static const unsigned about_threads[] = {
	SYS_sched_getaffinity, SYS_sched_getparam, SYS_sched_getscheduler, SYS_sched_getattr, SYS_sched_rr_get_interval,
	SYS_sched_setaffinity, SYS_sched_setscheduler,
};

static void install(void)
{
	struct sock_filter code[40];
	unsigned length = 0;
	code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (unsigned i = 0; i < COUNT(about_threads); i++) {
		code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, about_threads[i], 0, 4);
		code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
							      offsetof(struct seccomp_data, args));
		code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1);
		code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
		code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
	}
	code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { (unsigned short)length, code };
	IS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	IS(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program), 0);
	filtered = true;
}

static void *ask(void *number)
{
	cpu_set_t set;
	struct sched_param param;
	struct timespec slice;
	int policy;
	pthread_attr_t attributes;
	void *stack;
	size_t size;
	uint32_t attr[14] = { 0 };
	pid_t own = (pid_t)syscall(SYS_gettid);
	IS(pthread_getattr_np(pthread_self(), &attributes), 0);
	IS(pthread_attr_getstack(&attributes, &stack, &size), 0);
	CHECK(size > 0);
	IS(pthread_attr_destroy(&attributes), 0);
	IS(pthread_getaffinity_np(pthread_self(), sizeof set, &set), 0);
	CHECK(CPU_COUNT(&set) > 0);
	IS(pthread_setaffinity_np(pthread_self(), sizeof set, &set), 0);
	IS(pthread_getschedparam(pthread_self(), &policy, &param), 0);
	IS(policy, SCHED_OTHER);
	IS(sched_getscheduler(0), SCHED_OTHER);
	IS(sched_getscheduler(own), SCHED_OTHER);
	IS(sched_getparam(own, &param), 0);
	IS(sched_rr_get_interval(own, &slice), 0);
	IS(syscall(SYS_sched_getattr, own, attr, sizeof attr, 0), 0);
	IS(syscall(SYS_sched_getattr, 0, attr, sizeof attr, 0), 0);
	param.sched_priority = 0;
	IS(sched_setscheduler(0, SCHED_BATCH, &param), 0);
	IS(sched_getscheduler(own), SCHED_BATCH);
	if (filtered)
		FAILS(sched_getscheduler(1), EACCES);
	return number;
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER };
	IS(sigaction(SIGSYS, &action, NULL), 0);
	pthread_t threads[4];
	for (unsigned i = 0; i < COUNT(threads); i++)
		threads[i] = start(ask, &threads[i]);
	for (unsigned i = 0; i < COUNT(threads); i++)
		CHECK(join(threads[i]) == &threads[i]);
	printf("before: %d\n", trapped);
	install();
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < COUNT(threads); i++)
			threads[i] = start(ask, &threads[i]);
		for (unsigned i = 0; i < COUNT(threads); i++)
			CHECK(join(threads[i]) == &threads[i]);
	}
	printf("after: %d\n", trapped);
	ask(NULL);
	printf("the initial one: %d\n", trapped);
	return 0;
}
