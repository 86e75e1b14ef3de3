/* System calls made by code that the program itself makes, at run time and in anonymous memory. */
#ifndef JIT_H
#define JIT_H

#include <sys/mman.h>
#include <sys/syscall.h>
#include "guest.h"

typedef long raw_call(long number, long a, long b, long c, long d, long e, long f);

/* A new function in memory of its own, with its one call, which returns -errno on failure. */
UNUSED static raw_call *jit_call(void)
{
	static const unsigned char code[] = {
		0x48, 0x89, 0xf8,		/* mov rax, rdi */
		0x48, 0x89, 0xf7,		/* mov rdi, rsi */
		0x48, 0x89, 0xd6,		/* mov rsi, rdx */
		0x48, 0x89, 0xca,		/* mov rdx, rcx */
		0x4d, 0x89, 0xc2,		/* mov r10, r8 */
		0x4d, 0x89, 0xc8,		/* mov r8, r9 */
		0x4c, 0x8b, 0x4c, 0x24, 0x08,	/* mov r9, [rsp + 8] */
		0x0f, 0x05,			/* syscall */
		0xc3,				/* ret */
	};
	void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED);
	memcpy(memory, code, sizeof code);
	IS(mprotect(memory, 4096, PROT_READ | PROT_EXEC), 0);
	return (raw_call *)memory;
}

#endif
