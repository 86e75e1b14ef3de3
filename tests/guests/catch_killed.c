// A filter's SIGSYS that nobody handles ends the program.
// guest: set=GEVENT_SHIM_CATCH=1 dies=31
#include "jit.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static void *idle(void *unused)
{
	pause();
	return unused;
}

int main(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { COUNT(filter), filter };
	struct rlimit none = { 0, 0 };
	raw_call *raw = jit_call();
	IS(setrlimit(RLIMIT_CORE, &none), 0);
	start(idle, NULL);
	CHECK(raw(SYS_getpid, 0, 0, 0, 0, 0, 0) == getpid());
	CHECK(signal(SIGSYS, SIG_IGN) != SIG_ERR);
	CHECK(raw(SYS_getpid, 0, 0, 0, 0, 0, 0) == getpid());
	puts("an ignored SIGSYS is no matter");
	IS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	IS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
	raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
	puts("not reached");
	return 0;
}
