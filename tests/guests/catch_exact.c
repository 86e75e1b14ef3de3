// Calls by code made at run time are what they are elsewhere: results, ids, errors, registers,
// signals that interrupt and restart them, fork, SIGSYS of the program's own and of its filter.
// guest: set=GEVENT_SHIM_CATCH=1
#include "jit.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static raw_call *raw;
static volatile sig_atomic_t handled, code, number;

static void count(int signal)
{
	(void)signal;
	handled++;
}

static void note(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	code = info->si_code;
	if (info->si_code != SI_TKILL) {
		number = info->si_syscall;
		((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = 4242;
	}
}

static void *nothing(void *value)
{
	return value;
}

/* The first thread: this handler's own frame is none of ours, and goes back through libc. */
static void make_thread(int signal)
{
	(void)signal;
	CHECK(join(start(nothing, &raw)) == &raw);
}

static pid_t parent_id(void)
{
	return (pid_t)raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
}

static void *compares(void *unused)
{
	(void)unused;
	IS(raw(SYS_getpid, 0, 0, 0, 0, 0, 0), getpid());
	IS(raw(SYS_gettid, 0, 0, 0, 0, 0, 0), gettid());
	IS(raw(SYS_getuid, 0, 0, 0, 0, 0, 0), getuid());
	IS(raw(SYS_close, -1, 0, 0, 0, 0, 0), -EBADF);
	IS(raw(SYS_read, 0, 8, -1, 0, 0, 0), raw(SYS_read, 0, 8, -1, 0, 0, 0));
	IS(raw(100000, 0, 0, 0, 0, 0, 0), -ENOSYS);
	IS(raw(SYS_futex, 8, 0, 0, 0, 0, 0), raw(SYS_futex, 8, 0, 0, 0, 0, 0));
	/* Five arguments or six. */
	long memory = raw(SYS_mmap, 0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(memory > 0);
	*(char *)memory = 7;
	IS(raw(SYS_munmap, memory, 8192, 0, 0, 0, 0), 0);
	return NULL;
}

/* The wide vector registers are as they were behind the call. */
static void *keeps_vectors(void *fd)
{
	for (int i = 0; i < 200; i++) {
		double in[4] = { i, i + 0.25, i + 0.5, i + 0.75 }, out[4] = { 0 };
		char byte;
		long result, number = SYS_read, from = *(int *)fd, length = 1;
		char *to = &byte;
		__asm__ volatile("vmovupd %[in], %%ymm9\n\t"
				 "sub $136, %%rsp\n\t" /* the red zone */
				 "call *%[code]\n\t"
				 "add $136, %%rsp\n\t"
				 "vmovupd %%ymm9, %[out]\n\t"
				 : "=a"(result), [out] "=m"(out), "+D"(number), "+S"(from), "+d"(to),
				   "+c"(length)
				 : [in] "m"(in), [code] "b"(raw)
				 : "r8", "r9", "r10", "r11", "xmm9", "memory", "cc");
		IS(result, 1);
		CHECK(memcmp(in, out, sizeof in) == 0);
	}
	return NULL;
}

static void *writes(void *fd)
{
	for (int i = 0; i < 200; i++) {
		IS(write(*(int *)fd, "v", 1), 1);
		if (i % 10 == 0)
			sleep_ms(1);
	}
	return NULL;
}

static void interrupted(int flags, pthread_t self, int ends[2])
{
	struct sigaction action = { .sa_handler = count, .sa_flags = flags };
	char byte;
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	(void)self;
	long result = raw(SYS_read, ends[0], (long)&byte, 1, 0, 0, 0);
	printf("interrupted with flags %d: %ld, handled %d\n", flags ? 1 : 0, result, handled);
}

struct poke {
	pthread_t target;
	int fd;
};

static void *pokes(void *raw_poke)
{
	struct poke *poke = raw_poke;
	sleep_ms(50);
	OK(pthread_kill(poke->target, SIGUSR1));
	sleep_ms(50);
	if (poke->fd >= 0)
		IS(write(poke->fd, "p", 1), 1);
	return NULL;
}

static void filtered(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { COUNT(filter), filter };
	IS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	IS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
	long result = parent_id();
	printf("filtered: %ld, code %d, call %d\n", result, code, number == SYS_getppid);
	result = getppid();
	printf("filtered in libc: %ld\n", result);
}

int main(void)
{
	int ends[2];
	raw = jit_call();
	IS(pipe(ends), 0);
	CHECK(signal(SIGUSR2, make_thread) != SIG_ERR);
	IS(raise(SIGUSR2), 0);
	pthread_t threads[10];
	for (int i = 0; i < 10; i++)
		threads[i] = start(compares, NULL);
	for (int i = 0; i < 10; i++)
		join(threads[i]);
	compares(NULL);

	if (__builtin_cpu_supports("avx")) {
		threads[0] = start(keeps_vectors, &ends[0]);
		threads[1] = start(writes, &ends[1]);
		join(threads[0]);
		join(threads[1]);
	}

	struct poke poke = { pthread_self(), -1 };
	threads[0] = start(pokes, &poke);
	interrupted(0, pthread_self(), ends);
	join(threads[0]);
	poke.fd = ends[1];
	threads[0] = start(pokes, &poke);
	interrupted(SA_RESTART, pthread_self(), ends);
	join(threads[0]);

	/* The child of a fork, by libc and by hand; both make threads again. */
	for (int by_hand = 0; by_hand < 2; by_hand++) {
		fflush(stdout);
		pid_t child = by_hand ? (pid_t)raw(SYS_fork, 0, 0, 0, 0, 0, 0) : fork();
		if (child == 0) {
			IS(raw(SYS_getpid, 0, 0, 0, 0, 0, 0), raw(SYS_gettid, 0, 0, 0, 0, 0, 0));
			if (!by_hand)
				join(start(compares, NULL));
			raw(SYS_exit_group, 7, 0, 0, 0, 0, 0);
		}
		int status;
		CHECK(child > 0);
		IS(raw(SYS_wait4, child, (long)&status, 0, 0, 0, 0), child);
		printf("child %d: %d\n", by_hand, WEXITSTATUS(status));
	}

	struct sigaction action = { .sa_sigaction = note, .sa_flags = SA_SIGINFO };
	IS(sigaction(SIGSYS, &action, NULL), 0);
	IS(raise(SIGSYS), 0);
	printf("raised: %d\n", code == SI_TKILL);
	sigset_t set, old;
	sigfillset(&set);
	OK(pthread_sigmask(SIG_BLOCK, &set, &old));
	IS(raw(SYS_getpid, 0, 0, 0, 0, 0, 0), getpid());
	OK(pthread_sigmask(SIG_SETMASK, &old, NULL));
	filtered();
	return 0;
}
