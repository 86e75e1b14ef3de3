// capget and capset about the caller by each of its ids, about other threads, and with bad headers.
#include "guest.h"
#include <linux/capability.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { VERSION = _LINUX_CAPABILITY_VERSION_3 };

static struct __user_cap_data_struct sets[2];
static sem_t ready, go_on;
static atomic_int parked;

static long get(int id)
{
	struct __user_cap_header_struct header = { VERSION, id };
	struct __user_cap_data_struct data[2];
	long ret = syscall(SYS_capget, &header, data);
	if (ret == 0)
		CHECK(!memcmp(data, sets, sizeof data));
	CHECK(header.version == VERSION && header.pid == id);
	return ret;
}

/* Sets what there is. */
static long set(int id)
{
	struct __user_cap_header_struct header = { VERSION, id };
	long ret = syscall(SYS_capset, &header, sets);
	CHECK(header.version == VERSION && header.pid == id);
	return ret;
}

static void *parks(void *unused)
{
	atomic_store(&parked, gettid());
	IS(sem_post(&ready), 0);
	while (sem_wait(&go_on) != 0)
		;
	return unused;
}

static void *about_each(void *unused)
{
	int me = gettid(), process = getpid(), other = atomic_load(&parked);
	IS(get(0), 0);
	IS(get(me), 0);
	IS(get(process), 0);
	IS(get(other), 0);
	FAILS(get(-1), EINVAL);
	FAILS(get(0x3fffffff), ESRCH);
	IS(set(0), 0);
	IS(set(me), 0);
	if (me != process)
		FAILS(set(process), EPERM);
	FAILS(set(other), EPERM);
	FAILS(set(getppid()), EPERM);
	FAILS(set(-1), EPERM);
	FAILS(set(0x3fffffff), EPERM);
	puts(me == process ? "by the initial thread" : "by another thread");
	return unused;
}

static void *bad_headers(void *unused)
{
	int me = gettid();
	struct __user_cap_header_struct header = { 1, me };
	FAILS(syscall(SYS_capget, &header, sets), EINVAL);
	CHECK(header.version == VERSION && header.pid == me);
	header.version = 1;
	IS(syscall(SYS_capget, &header, NULL), 0);
	CHECK(header.version == VERSION && header.pid == me);
	header.version = 1;
	FAILS(syscall(SYS_capset, &header, sets), EINVAL);
	CHECK(header.version == VERSION && header.pid == me);
	IS(syscall(SYS_capget, &header, NULL), 0);
	FAILS(syscall(SYS_capget, &header, unmapped), EFAULT);
	FAILS(syscall(SYS_capset, &header, unmapped), EFAULT);
	FAILS(syscall(SYS_capget, unmapped, sets), EFAULT);
	FAILS(syscall(SYS_capset, unmapped, sets), EFAULT);
	/* Neither is written to but for its version. */
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct __user_cap_header_struct *fixed =
		mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(fixed != MAP_FAILED);
	*fixed = (struct __user_cap_header_struct){ VERSION, me };
	IS(mprotect(fixed, page, PROT_READ), 0);
	struct __user_cap_data_struct data[2];
	IS(syscall(SYS_capget, fixed, data), 0);
	IS(syscall(SYS_capset, fixed, data), 0);
	FAILS(syscall(SYS_capget, fixed, unmapped), EFAULT);
	IS(mprotect(fixed, page, PROT_READ | PROT_WRITE), 0);
	fixed->pid = getppid();
	IS(mprotect(fixed, page, PROT_READ), 0);
	FAILS(syscall(SYS_capset, fixed, data), EPERM);
	IS(mprotect(fixed, page, PROT_READ | PROT_WRITE), 0);
	*fixed = (struct __user_cap_header_struct){ 1, me };
	IS(mprotect(fixed, page, PROT_READ), 0);
	FAILS(syscall(SYS_capget, fixed, data), EFAULT);
	FAILS(syscall(SYS_capset, fixed, data), EFAULT);
	IS(munmap(fixed, page), 0);
	puts("bad headers");
	return unused;
}

int main(void)
{
	struct __user_cap_header_struct header = { VERSION, 0 };
	IS(syscall(SYS_capget, &header, sets), 0);
	IS(sem_init(&ready, 0, 0), 0);
	IS(sem_init(&go_on, 0, 0), 0);
	pthread_t other = start(parks, NULL);
	while (sem_wait(&ready) != 0)
		;
	join(start(about_each, NULL));
	join(start(bad_headers, NULL));
	about_each(NULL);
	IS(sem_post(&go_on), 0);
	join(other);
	return 0;
}
