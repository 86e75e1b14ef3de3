/*
 * A program that answers for its own filter (seccomp_unotify(2)): it installs that while it has one thread, and makes the
 * thread that answers afterwards. Its child is who asks.
 */
#include "../guest.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { CALLS = 5 };

static int listener = -1;

static void *supervisor(void *unused)
{
	for (long i = 0; i < CALLS; i++) {
		struct pollfd one = { listener, POLLIN, 0 };
		IS(poll(&one, 1, -1), 1);
		struct seccomp_notif about = { 0 };
		IS(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &about), 0);
		IS(about.data.nr, SYS_getsid);
		struct seccomp_notif_resp answer = { .id = about.id, .val = 4000 + i };
		IS(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer), 0);
	}
	return unused;
}

int main(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getsid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { COUNT(code), code };
	IS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	CHECK(listener >= 0);
	pthread_t answers = start(supervisor, NULL);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		for (long i = 0; i < CALLS; i++)
			IS(syscall(SYS_getsid, 0L), 4000 + i);
		_exit(0);
	}
	int status;
	IS(waitpid(child, &status, 0), child);
	IS(status, 0);
	join(answers);
	puts("answered");
	return 0;
}
