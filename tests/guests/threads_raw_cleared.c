// The end of a thread made by a raw clone(2) or clone3(2) wakes who waits for its CLONE_CHILD_CLEARTID word, whatever was in it.
// guest: limit=60
#include "guest.h"
#include <linux/futex.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { STACK = 256 << 10, WITH_TLS = 1, WITH_TID = 2, BY_CLONE3 = 4, SHARED_WORD = 8, IN_THREAD = 16, KINDS = 32 };

static atomic_int go_on;

/* Uses nothing of libc's: it may have no thread-local storage of its own. */
static int body(void *counter)
{
	while (!atomic_load(&go_on))
		;
	for (volatile long i = 0; i < 2000000; i++)
		;
	atomic_fetch_add((atomic_int *)counter, 1);
	return 0;
}

struct start { int (*body)(void *); void *argument; };

/* clone3(2), whose child begins on the new stack. */
static long clone3_on(struct clone_args *args, struct start *start)
{
	long ret;
	register struct start *kept __asm__("r12") = start;
	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "mov 8(%%r12), %%rdi\n\t"
			 "call *(%%r12)\n\t"
			 "mov %%eax, %%edi\n\t"
			 "mov %[exit], %%eax\n\t"
			 "syscall\n\t"
			 "1:"
			 : "=a"(ret)
			 : "0"((long)SYS_clone3), "D"(args), "S"(sizeof *args), [exit] "i"(SYS_exit), "r"(kept)
			 : "rcx", "r11", "memory");
	return ret;
}

/* A thread control block as far as anybody looks at it: its own address. */
static void *fake_tls(void)
{
	char *at = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(at != MAP_FAILED);
	void **block = (void **)(at + 32768);
	block[0] = block[2] = block;
	return block;
}

static void *runs(void *kind_of)
{
	int kind = (int)(intptr_t)kind_of;
	atomic_int counter = 0;
	atomic_store(&go_on, 0);
	char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	int flags = kind & SHARED_WORD ? MAP_SHARED : MAP_PRIVATE;
	atomic_int *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
	CHECK(stack != MAP_FAILED && word != MAP_FAILED);
	atomic_store(word, 77);
	unsigned how = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM
		       | CLONE_CHILD_CLEARTID;
	how |= kind & WITH_TLS ? CLONE_SETTLS : 0;
	how |= kind & WITH_TID ? CLONE_CHILD_SETTID : 0;
	void *tls = kind & WITH_TLS ? fake_tls() : NULL;
	struct start start = { body, &counter };
	if (kind & BY_CLONE3) {
		struct clone_args args = {
			.flags = how,
			.child_tid = (uintptr_t)word,
			.stack = (uintptr_t)stack,
			.stack_size = STACK,
			.tls = (uintptr_t)tls,
		};
		CHECK(clone3_on(&args, &start) > 0);
	} else {
		pid_t unused;
		CHECK(clone(body, stack + STACK, (int)how, &counter, &unused, tls, word) > 0);
	}
	atomic_store(&go_on, 1);
	int value;
	while ((value = atomic_load(word)) != 0)
		syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
	IS(atomic_load(&counter), 1);
	IS(munmap(stack, STACK), 0);
	IS(munmap((void *)word, 4096), 0);
	return NULL;
}

static void *quick(void *unused)
{
	return unused;
}

int main(void)
{
	pthread_t thread = start(quick, NULL);
	OK(pthread_join(thread, NULL));
	for (int kind = 0; kind < KINDS; kind++) {
		if (kind & IN_THREAD) {
			thread = start(runs, (void *)(intptr_t)kind);
			OK(pthread_join(thread, NULL));
		} else {
			runs((void *)(intptr_t)kind);
		}
	}
	puts("each end was seen");
	return 0;
}
