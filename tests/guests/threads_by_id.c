// Calls that take a thread's id, of a live thread and of one that has ended.
#include "guest.h"
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

static sem_t go_on;
static atomic_int id;

static void *parks(void *unused)
{
	atomic_store(&id, gettid());
	while (sem_wait(&go_on) != 0)
		;
	return unused;
}

static void say(const char *name, long result)
{
	if (result < 0)
		printf("%s: %s\n", name, strerrorname_np(errno));
	else
		printf("%s: %s\n", name, result ? "positive" : "0");
}

#define SAY(name, call) (errno = 0, say(name, (long)(call)))

static void all(int tid)
{
	struct rlimit limit;
	struct timespec quantum;
	SAY("prlimit", prlimit((pid_t)tid, RLIMIT_NOFILE, NULL, &limit));
	SAY("prlimit of nothing", prlimit((pid_t)tid, 1000, NULL, &limit));
	SAY("sched_rr_get_interval", sched_rr_get_interval(tid, &quantum));
	SAY("ioprio_get", syscall(SYS_ioprio_get, 1, tid));
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, tid };
	struct __user_cap_data_struct data[2];
	SAY("capget", syscall(SYS_capget, &header, data));
	long fd = syscall(SYS_pidfd_open, tid, 0);
	/* ENOENT or EINVAL by the kernel's version. */
	if (fd >= 0) { puts("pidfd_open: a descriptor"); close((int)fd); errno = 0; } else
	puts(errno == ESRCH ? "pidfd_open: ESRCH" : "pidfd_open: refused");
	SAY("kcmp with itself", syscall(SYS_kcmp, tid, tid, KCMP_VM, 0, 0));
	SAY("kcmp", syscall(SYS_kcmp, getpid(), tid, KCMP_FILES, 0, 0));
	void *head;
	size_t length = 0;
	SAY("get_robust_list", syscall(SYS_get_robust_list, tid, &head, &length));
	CHECK(length == 0 || length == 24);
	SAY("getpgid", getpgid(tid));
	SAY("getsid", getsid(tid));
	SAY("kill", kill(tid, 0));
	SAY("tgkill", tgkill(getpid(), tid, 0));
	SAY("tkill", syscall(SYS_tkill, tid, 0));
	SAY("tgkill of another", tgkill(getppid(), tid, 0));
	siginfo_t info = { .si_code = SI_QUEUE };
	SAY("rt_tgsigqueueinfo", syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, 0, &info));
	SAY("rt_sigqueueinfo", syscall(SYS_rt_sigqueueinfo, tid, 0, &info));
	int from = 77, to = 0;
	struct iovec local = { &to, sizeof to }, remote = { &from, sizeof from };
	SAY("process_vm_readv", process_vm_readv(tid, &local, 1, &remote, 1, 0));
	printf("read %d\n", to);
	to = 66;
	SAY("process_vm_writev", process_vm_writev(tid, &local, 1, &remote, 1, 0));
	printf("wrote %d\n", from);
	unsigned long nodes = 1;
	SAY("migrate_pages", syscall(SYS_migrate_pages, tid, 8, &nodes, &nodes));
	void *page = &go_on;
	int node;
	SAY("move_pages", syscall(SYS_move_pages, tid, 1, &page, NULL, &node, 0));
	SAY("wait4", wait4(tid, NULL, 0, NULL));
	SAY("setpgid", setpgid(tid, 0));
	SAY("sched_getscheduler", sched_getscheduler(tid));
}

int main(void)
{
	IS(sem_init(&go_on, 0, 0), 0);
	pthread_t thread = start(parks, NULL);
	while (!atomic_load(&id))
		sched_yield();
	all(atomic_load(&id));
	IS(sem_post(&go_on), 0);
	join(thread);
	/* The kernel tells of the end before it forgets the id. */
	while (syscall(SYS_tgkill, getpid(), atomic_load(&id), 0) == 0)
		sched_yield();
	puts("ended");
	all(atomic_load(&id));
	puts("itself");
	all(gettid());
	return 0;
}
