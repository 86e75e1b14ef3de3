// guest: limit=30
// A handler of SIGSYS is told of the call that its thread's own filter traps, whatever those of other threads answer.
#include "guest.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

static const uint32_t others[] = { SECCOMP_RET_TRAP | 7,       SECCOMP_RET_TRAP | 9, SECCOMP_RET_ERRNO | EXDEV,
				   SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_ALLOW };
static pthread_barrier_t step;
static int trapped, data, number, elsewhere;

static void on_trap(int signal, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	trapped += signal == SIGSYS && info->si_code == 1;
	data = info->si_errno;
	number = info->si_syscall;
	elsewhere += info->si_call_addr != (void *)registers[REG_RIP];
	registers[REG_RAX] = -EDOM;
}

static void install(uint32_t answer)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, answer),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { COUNT(code), code };
	IS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	IS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static const uint32_t *answer;
static bool is_older;

/* Waits where the other thread is to install its filter first. */
static void in_order(bool first, uint32_t filter)
{
	if (!first)
		pthread_barrier_wait(&step);
	install(filter);
	if (first)
		pthread_barrier_wait(&step);
	pthread_barrier_wait(&step);
}

static void *other(void *unused)
{
	in_order(is_older, *answer);
	pthread_barrier_wait(&step);
	return unused;
}

static void *traps(void *unused)
{
	in_order(!is_older, SECCOMP_RET_TRAP | 7);
	errno = 0;
	IS(syscall(SYS_getppid), -1);
	printf("errno %d, %d trapped, data %d, call %d, %d elsewhere\n", errno, trapped, data, number, elsewhere);
	fflush(stdout);
	pthread_barrier_wait(&step);
	return unused;
}

static void run(void)
{
	struct sigaction trap = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
	IS(sigaction(SIGSYS, &trap, NULL), 0);
	OK(pthread_barrier_init(&step, NULL, 2));
	pthread_t first = start(other, NULL), second = start(traps, NULL);
	join(first);
	join(second);
	_exit(0);
}

int main(void)
{
	for (unsigned i = 0; i < 2 * COUNT(others); i++) {
		fflush(stdout);
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			answer = &others[i / 2];
			is_older = i % 2;
			run();
		}
		int status = -1;
		IS(waitpid(child, &status, 0), child);
		printf("%u: %x\n", i, (unsigned)status);
	}
	return 0;
}
