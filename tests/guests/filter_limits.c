// guest: limit=20
// Filters and the limits of a process: one that allows files without prlimit(2), and one that binds another thread.
#include "guest.h"
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static const int needed[] = {
	SYS_read, SYS_write, SYS_futex, SYS_clone3, SYS_clone, SYS_mmap, SYS_munmap, SYS_mprotect, SYS_madvise,
	SYS_clock_nanosleep, SYS_exit, SYS_exit_group, SYS_rt_sigprocmask, SYS_set_robust_list, SYS_rseq,
	SYS_newfstatat, SYS_brk, SYS_getrandom, SYS_openat, SYS_open, SYS_close, SYS_fstat, SYS_stat, SYS_statx,
	SYS_restart_syscall,
};

static void install(const struct sock_filter *code, unsigned length)
{
	struct sock_fprog program = { (unsigned short)length, (struct sock_filter *)code };
	IS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	IS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void allow(uint32_t otherwise)
{
	struct sock_filter code[80];
	unsigned length = 0;
	code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (unsigned i = 0; i < COUNT(needed); i++) {
		code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)needed[i], 0, 1);
		code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, otherwise);
	install(code, length);
}

static void *uses_files(void *unused)
{
	struct stat state;
	int fd = open("/proc/self/status", O_RDONLY);
	CHECK(fd >= 0);
	IS(fstat(fd, &state), 0);
	char byte;
	IS(read(fd, &byte, 1), 1);
	IS(close(fd), 0);
	IS(stat("/", &state), 0);
	FAILS(open("/none", O_RDONLY), ENOENT);
	return unused;
}

static void under(uint32_t otherwise)
{
	join(start(uses_files, NULL));
	allow(otherwise);
	uses_files(NULL);
	/* What the library knows of files is old by now. */
	sleep_ms(1100);
	uses_files(NULL);
	join(start(uses_files, NULL));
	_exit(0);
}

static atomic_int ready;

static void *without_limits(void *unused)
{
	static const int refused[] = { SYS_getrlimit, SYS_setrlimit, SYS_prlimit64 };
	struct sock_filter code[8];
	unsigned length = 0;
	code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (unsigned i = 0; i < COUNT(refused); i++) {
		code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)refused[i], 0, 1);
		code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	}
	code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	install(code, length);
	struct rlimit limit;
	FAILS(syscall(SYS_getrlimit, RLIMIT_NOFILE, &limit), EPERM);
	FAILS(getrlimit(RLIMIT_NOFILE, &limit), EPERM);
	atomic_store(&ready, 1);
	while (atomic_load(&ready) == 1)
		sleep_ms(1);
	return unused;
}

/* The filter is another thread's. */
static void beside(void)
{
	pthread_t thread = start(without_limits, NULL);
	while (!atomic_load(&ready))
		sleep_ms(1);
	static const int resources[] = { RLIMIT_NOFILE, RLIMIT_CORE, RLIMIT_AS };
	for (unsigned i = 0; i < COUNT(resources); i++) {
		struct rlimit limit, same;
		IS(syscall(SYS_getrlimit, resources[i], &limit), 0);
		IS(getrlimit(resources[i], &same), 0);
		IS(limit.rlim_cur, same.rlim_cur);
		IS(syscall(SYS_setrlimit, resources[i], &limit), 0);
	}
	atomic_store(&ready, 2);
	join(thread);
	uses_files(NULL);
	_exit(0);
}

int main(void)
{
	static const uint32_t answers[] = { SECCOMP_RET_ERRNO | EPERM, SECCOMP_RET_TRAP, SECCOMP_RET_KILL_PROCESS };
	pid_t children[COUNT(answers) + 1];
	for (unsigned i = 0; i < COUNT(children); i++) {
		children[i] = fork();
		CHECK(children[i] >= 0);
		if (children[i] == 0 && i < COUNT(answers))
			under(answers[i]);
		else if (children[i] == 0)
			beside();
	}
	for (unsigned i = 0; i < COUNT(children); i++) {
		int status = -1;
		IS(waitpid(children[i], &status, 0), children[i]);
		printf("%u: %x\n", i, (unsigned)status);
	}
}
