// A thread made by clone(2) alone that leaves the others' table of descriptors closes none of theirs.
#include "guest.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

enum { STACK = 1 << 16, ROUNDS = 3 };

static int ends[2];
static atomic_int step, way;

static void *reads(void *unused)
{
	char byte;
	(void)unused;
	IS(read(ends[0], &byte, 1), 1);
	return NULL;
}

/* It has no thread control block of its own, so it makes system calls alone. */
static int leaves(void *unused)
{
	bool ranged = false;
	if (atomic_load(&way) == 0)
		ranged = syscall(SYS_close_range, 3U, ~0U, 2U /* CLOSE_RANGE_UNSHARE */) == 0;
	if (!ranged) {
		syscall(SYS_unshare, CLONE_FILES);
		syscall(SYS_close, ends[0]);
		syscall(SYS_dup2, 0, ends[1]);
	}
	atomic_store(&step, 1);
	while (atomic_load(&step) != 2)
		syscall(SYS_sched_yield);
	syscall(SYS_exit, 0);
	return unused != NULL;
}

static void writes_and_joins(pthread_t reader)
{
	IS(write(ends[1], "x", 1), 1);
	join(reader);
}

int main(void)
{
	for (int round = 0; round < ROUNDS * 2; round++) {
		IS(pipe(ends), 0);
		pthread_t reader = start(reads, NULL);
		char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(stack != MAP_FAILED);
		atomic_store(&way, round % 2);
		atomic_store(&step, 0);
		int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
		CHECK(clone(leaves, stack + STACK, flags, NULL) > 0);
		while (atomic_load(&step) != 1)
			sched_yield();
		writes_and_joins(reader);
		writes_and_joins(start(reads, NULL));
		atomic_store(&step, 2);
		IS(close(ends[0]), 0);
		IS(close(ends[1]), 0);
	}
	puts("both tables");
	return 0;
}
