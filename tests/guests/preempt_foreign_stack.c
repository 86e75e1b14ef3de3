// A thread that computes on a stack of its own making, whose memory below is in use, gives way unharmed.
#include "guest.h"
#include <signal.h>

enum { WORDS = 16384, USED = 16000 };

static uint64_t area[WORDS] __attribute__((aligned(64)));
static atomic_int others, wanted;

static uint64_t pattern(int index)
{
	return (uint64_t)index * UINT64_C(0x9e3779b97f4a7c15);
}

/* Waits on the stack that ends at `top`, without a call and with nothing below the red zone its own. */
static void wait_there(uint64_t *top)
{
	__asm__ volatile("mov %%rsp, %%r12\n\t"
			 "mov %0, %%rsp\n"
			 "1:\n\t"
			 "mov (%1), %%eax\n\t"
			 "cmp (%2), %%eax\n\t"
			 "pause\n\t"
			 "jl 1b\n\t"
			 "mov %%r12, %%rsp"
			 :
			 : "r"(top), "r"(&others), "r"(&wanted)
			 : "rax", "r12", "cc", "memory");
}

static void *computes(void *unused)
{
	static char alternate[64 << 10];
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof alternate };
	IS(sigaltstack(&stack, NULL), 0);
	for (int round = 0; round < 5; round++) {
		atomic_fetch_add(&wanted, 3);
		wait_there(area + USED + 64);
		for (int i = 0; i < USED; i++)
			CHECK(area[i] == pattern(i));
	}
	return unused;
}

static void *counts(void *unused)
{
	for (int i = 0; i < 15; i++) {
		while (atomic_load(&others) >= atomic_load(&wanted))
			sleep_ms(1);
		atomic_fetch_add(&others, 1);
	}
	return unused;
}

int main(void)
{
	pthread_t computing, counting;
	for (int i = 0; i < USED; i++)
		area[i] = pattern(i);
	computing = start(computes, NULL);
	counting = start(counts, NULL);
	join(computing);
	join(counting);
	printf("%d of %d, unharmed\n", atomic_load(&others), atomic_load(&wanted));
	return 0;
}
