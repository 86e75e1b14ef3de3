// guest: limit=20
// A filter whose calls another thread of the program answers for (seccomp_unotify(2)), as soon as it is there, and while many others wait for locks.
#include "guest.h"
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { CALLS = 5, LOCKS = 40, TURNS = 6 };

static int listener = -1;
static pthread_barrier_t installed, locking;

/* Answers the calls in turn: with a number, or by having the kernel carry them out. */
static void *supervisor(void *polls)
{
	pthread_barrier_wait(&installed);
	for (int i = 0; i < 2 * CALLS; i++) {
		struct seccomp_notif about = { 0 };
		struct seccomp_notif_resp answer = { 0 };
		struct pollfd one = { listener, POLLIN, 0 };
		if (polls)
			IS(poll(&one, 1, -1), 1);
		IS(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &about), 0);
		IS(about.data.nr, SYS_getppid);
		answer.id = about.id;
		if (about.data.args[0] == 1)
			answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		else
			answer.val = 4000 + (long)about.data.args[1];
		IS(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer), 0);
	}
	return NULL;
}

static void install(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { COUNT(code), code };
	IS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	CHECK(listener >= 0);
}

static void *asks(void *parent)
{
	install();
	pthread_barrier_wait(&installed);
	for (long i = 0; i < CALLS; i++) {
		printf("%ld\n", syscall(SYS_getppid, 0L, i));
		IS(syscall(SYS_getppid, 1L, i), *(pid_t *)parent);
	}
	return NULL;
}

/* Waits for ever. */
static void *locks(void *name)
{
	int file = open(name, O_RDWR);
	CHECK(file >= 0);
	pthread_barrier_wait(&locking);
	flock(file, LOCK_EX);
	return NULL;
}

static void lock_many(void)
{
	static char name[50];
	int file = memfd_create("lock", 0);
	CHECK(file >= 0);
	IS(flock(file, LOCK_EX), 0);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", file);
	OK(pthread_barrier_init(&locking, NULL, LOCKS + 1));
	for (int i = 0; i < LOCKS; i++)
		start(locks, name);
	pthread_barrier_wait(&locking);
	sleep_ms(2);
}

int main(void)
{
	static int polls;
	for (int i = 0; i < TURNS; i++) {
		fflush(stdout);
		pid_t parent = getpid(), child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			if (i >= TURNS - 2)
				lock_many();
			OK(pthread_barrier_init(&installed, NULL, 2));
			pthread_t answers = start(supervisor, i % 2 ? &polls : NULL);
			join(start(asks, &parent));
			join(answers);
			fflush(stdout);
			_exit(0);
		}
		int status;
		IS(waitpid(child, &status, 0), child);
		IS(status, 0);
	}
	return 0;
}
