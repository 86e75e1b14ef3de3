// guest: limit=20
// A program that allows itself what it needs, once it has had a thread: what the kernel would do besides is done otherwise.
#include "guest.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int ends[2], pair[2];

static void *reader(void *fd)
{
	char byte = 0;
	IS(read(*(int *)fd, &byte, 1), 1);
	return (void *)(long)byte;
}

static void hand_over(const char *name, int from, int to)
{
	pthread_t threads[3];
	for (unsigned i = 0; i < COUNT(threads); i++)
		threads[i] = start(reader, &from);
	sleep_ms(2);
	long sum = 0;
	for (unsigned i = 0; i < COUNT(threads); i++)
		IS(write(to, "x", 1), 1);
	for (unsigned i = 0; i < COUNT(threads); i++)
		sum += (long)join(threads[i]);
	printf("%s: %ld\n", name, sum);
}

static void allow(const int *allowed, unsigned count, uint32_t otherwise)
{
	struct sock_filter code[80];
	unsigned length = 0;
	code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (unsigned i = 0; i < count; i++) {
		code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)allowed[i], 0, 1);
		code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, otherwise);
	struct sock_fprog program = { (unsigned short)length, code };
	IS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	IS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static const int needed[] = {
	SYS_read, SYS_write, SYS_futex, SYS_clone3, SYS_clone, SYS_mmap, SYS_munmap, SYS_mprotect, SYS_madvise,
	SYS_clock_nanosleep, SYS_exit, SYS_exit_group, SYS_rt_sigprocmask, SYS_set_robust_list, SYS_rseq,
	SYS_newfstatat, SYS_brk, SYS_getrandom,
};

/* Everything that a thread needs, with this answer to the rest. */
static void under(uint32_t otherwise)
{
	IS(pipe(ends), 0);
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	hand_over("before", ends[0], ends[1]);
	/* Waits while the filter is installed. */
	pthread_t waits = start(reader, &ends[0]);
	sleep_ms(2);
	allow(needed, COUNT(needed), otherwise);
	IS(write(ends[1], "y", 1), 1);
	printf("waited: %ld\n", (long)join(waits));
	hand_over("pipe", ends[0], ends[1]);
	hand_over("socket", pair[0], pair[1]);
	fflush(stdout);
	_exit(0);
}

int main(void)
{
	static const uint32_t answers[] = { SECCOMP_RET_ERRNO | EPERM, SECCOMP_RET_ERRNO | ENOSYS, SECCOMP_RET_TRAP,
					    SECCOMP_RET_KILL_PROCESS };
	for (unsigned i = 0; i < COUNT(answers); i++) {
		fflush(stdout);
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0)
			under(answers[i]);
		int status = -1;
		IS(waitpid(child, &status, 0), child);
		printf("%u: %x\n", i, (unsigned)status);
	}
}
