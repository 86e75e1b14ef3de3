// guest: limit=20
// Each thread has the filters that it installed or inherited, and no other: what one denies to itself the others may do.
#include "guest.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

struct rule {
	unsigned number;
	uint32_t answer;
};

static pthread_barrier_t step;
static pid_t second;

static long install(const struct rule *rules, unsigned count, unsigned flags)
{
	struct sock_filter code[20];
	unsigned length = 0;
	code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (unsigned i = 0; i < count; i++) {
		code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, rules[i].number, 0, 1);
		code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, rules[i].answer);
	}
	code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { (unsigned short)length, code };
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

/* What the calls of this test come to on the calling thread: 0, or the errno. */
static void tell(const char *who, bool may_end)
{
	const unsigned calls[] = { SYS_getppid, SYS_getuid, SYS_getsid, SYS_geteuid, SYS_getgid };
	printf("%s:", who);
	for (unsigned i = 0; i < COUNT(calls); i++) {
		if (!may_end && calls[i] == SYS_getgid)
			continue;
		errno = 0;
		long ret = syscall(calls[i], 0, 0, 0);
		printf(" %d", ret == -1 ? errno : 0);
	}
	puts("");
}

static void *inherits(void *who)
{
	tell(who, true);
	return who;
}

/* Ends by its filter in the middle of a call. */
static void *ends(void *unused)
{
	syscall(SYS_getgid);
	puts("not here");
	return unused;
}

static void *first_thread(void *unused)
{
	const struct rule rules[] = { { SYS_getppid, SECCOMP_RET_ERRNO | EPERM },
				      { SYS_getsid, SECCOMP_RET_ERRNO | EACCES },
				      { SYS_geteuid, SECCOMP_RET_KILL_THREAD },
				      { SYS_getgid, SECCOMP_RET_ERRNO | ENOSYS } };
	IS(install(rules, COUNT(rules) - 2, 0), 0);
	tell("first", true);
	IS(install(rules + 2, 2, 0), 0);
	pthread_barrier_wait(&step);
	/* The second one installs its own. */
	pthread_barrier_wait(&step);
	errno = 0;
	IS(syscall(SYS_getppid), -1);
	IS(errno, EPERM);
	IS(syscall(SYS_getuid), 0);
	FAILS(syscall(SYS_getsid, 0), EACCES);
	FAILS(syscall(SYS_getgid), ENOSYS);
	/* Another thread has filters that this one has not. */
	const struct rule none[] = { { SYS_getppid, SECCOMP_RET_ALLOW } };
	IS(install(none, 1, SECCOMP_FILTER_FLAG_TSYNC), second);
	FAILS(install(none, 1, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH), ESRCH);
	pthread_barrier_wait(&step);
	return unused;
}

static void *second_thread(void *unused)
{
	second = (pid_t)syscall(SYS_gettid);
	const struct rule rules[] = { { SYS_getuid, SECCOMP_RET_ERRNO | EXDEV },
				      { SYS_getsid, SECCOMP_RET_ERRNO | ENXIO },
				      { SYS_geteuid, SECCOMP_RET_ERRNO | EDOM } };
	pthread_barrier_wait(&step);
	IS(install(rules, COUNT(rules), 0), 0);
	tell("second", true);
	char name[] = "a child of the second";
	CHECK(join(start(inherits, name)) == name);
	pthread_barrier_wait(&step);
	pthread_barrier_wait(&step);
	return unused;
}

static void *third_thread(void *unused)
{
	const struct rule rules[] = { { SYS_getgid, SECCOMP_RET_KILL_THREAD } };
	IS(install(rules, 1, 0), 0);
	tell("third", false);
	pthread_t thread = start(ends, NULL);
	/* One that ended so wakes who joins it. */
	pthread_join(thread, NULL);
	return unused;
}

static void *receives(void *socket)
{
	char bytes[4] = "";
	IS(recv(*(int *)socket, bytes, 4, MSG_WAITALL), 4);
	printf("received %.4s\n", bytes);
	return socket;
}

int main(void)
{
	int pair[2];
	IS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	OK(pthread_barrier_init(&step, NULL, 2));
	pthread_t one = start(first_thread, NULL), two = start(second_thread, NULL);
	join(one);
	join(two);
	tell("initial", true);
	join(start(third_thread, NULL));
	tell("initial", true);
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	pthread_t receiver = start(receives, &pair[0]);
	IS(send(pair[1], "ab", 2, 0), 2);
	sleep_ms(2);
	IS(send(pair[1], "cd", 2, 0), 2);
	join(receiver);
	return 0;
}
