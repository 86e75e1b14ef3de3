// The area for restartable sequences that libc registers for each thread, what rseq(2)
// answers about it and about another one, and what a child of each thread has of it.
#include "guest.h"
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define SIGNATURE 0x53053053u
#define UNREGISTER 1
#define NOT_REGISTERED UINT32_MAX

struct area {
	uint32_t cpu_id_start, cpu_id;
	uint64_t rseq_cs;
	uint32_t flags, more[3];
} __attribute__((aligned(32)));

// glibc has none before 2.35, and registers nothing if it is told so.
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

static struct area *of_libc(void)
{
	if (!&__rseq_offset || !__rseq_size)
		return NULL;
	// The thread pointer, on x86-64.
	return (struct area *)((char *)pthread_self() + __rseq_offset);
}

static uint32_t size_of_libc(void)
{
	return __rseq_size < sizeof(struct area) ? sizeof(struct area) : __rseq_size;
}

static int ask(struct area *area, uint32_t size, int flags, uint32_t signature)
{
	return syscall(SYS_rseq, area, size, flags, signature) ? errno : 0;
}

static void is_on_a_processor(void)
{
	cpu_set_t allowed;
	CHECK(sched_getaffinity(0, sizeof(allowed), &allowed) == 0);
	CHECK(CPU_ISSET(sched_getcpu(), &allowed));
}

static void another(void)
{
	static _Thread_local struct area mine;
	mine.cpu_id = NOT_REGISTERED;
	IS(ask(&mine, sizeof(mine), 0, SIGNATURE), EINVAL);
	IS(ask(&mine, sizeof(mine), UNREGISTER, SIGNATURE), EINVAL);
	CHECK(mine.cpu_id == NOT_REGISTERED);
}

static void *registers(void *unused)
{
	struct area *area = of_libc();
	is_on_a_processor();
	if (!area)
		return unused;
	uint32_t size = size_of_libc();
	IS(ask(area, size, 0, SIGNATURE), EBUSY);
	IS(ask(area, size, 0, SIGNATURE + 1), EPERM);
	IS(ask(area, size + 32, 0, SIGNATURE), EINVAL);
	IS(ask(area, size, 1 << 30, SIGNATURE), EINVAL);
	another();
	IS(ask(area, size, UNREGISTER, SIGNATURE + 1), EPERM);
	IS(ask(area, size + 32, UNREGISTER, SIGNATURE), EINVAL);
	for (int i = 0; i < 2; i++) {
		IS(ask(area, size, UNREGISTER, SIGNATURE), 0);
		CHECK(area->cpu_id == NOT_REGISTERED);
		is_on_a_processor();
		IS(ask(area, size, UNREGISTER, SIGNATURE), EINVAL);
		IS(ask(area, size, 0, SIGNATURE), 0);
	}
	is_on_a_processor();
	return unused;
}

static void *forks(void *unused)
{
	pid_t child = fork();
	if (child == 0) {
		// The kernel writes the area that is the child's, from here on.
		sched_yield();
		struct area *area = of_libc();
		CHECK(!area || area->cpu_id != NOT_REGISTERED);
		registers(NULL);
		join(start(registers, NULL));
		pid_t grandchild = fork();
		if (grandchild == 0) {
			registers(NULL);
			_exit(0);
		}
		int status;
		CHECK(waitpid(grandchild, &status, 0) == grandchild && status == 0);
		_exit(0);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child);
	IS(status, 0);
	return unused;
}

int main(void)
{
	join(start(registers, NULL));
	registers(NULL);
	join(start(forks, NULL));
	forks(NULL);
	// More than one hub: some of them fork there.
	pthread_t many[8];
	for (int i = 0; i < 8; i++)
		many[i] = start(forks, NULL);
	for (int i = 0; i < 8; i++)
		join(many[i]);
	registers(NULL);
	puts("registered");
	return 0;
}
