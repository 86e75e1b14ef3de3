// A futex with and one without FUTEX_PRIVATE_FLAG are two, and the latter needs a page that may be written.
#include "futex.h"
#include <sys/mman.h>

static uint32_t word, other, spare;

static void *waits(void *operation)
{
	return (void *)futex(&word, (int)(intptr_t)operation, 0, NULL, NULL, 0);
}

static void *waits_for_any(void *flags)
{
	struct futex_waitv words[2] = { { 0, (uintptr_t)&other, FUTEX_32 | FUTEX_PRIVATE_FLAG, 0 },
					{ 0, (uintptr_t)&word, FUTEX_32 | (uint32_t)(uintptr_t)flags, 0 } };
	return (void *)syscall(SYS_futex_waitv, words, 2, 0, NULL, 0);
}

/* A thread that waits for the word with these flags is not to be woken with those. */
static void asleep(int flags, int others)
{
	while (futex(&word, FUTEX_CMP_REQUEUE | flags, 0, (void *)1, &word, 0) != 1)
		sleep_ms(1);
	IS(futex(&word, FUTEX_WAKE | others, 1, NULL, NULL, 0), 0);
	IS(futex(&word, FUTEX_WAKE_BITSET | others, 1, NULL, NULL, 1), 0);
	IS(futex(&word, FUTEX_CMP_REQUEUE | others, 1, (void *)1, &spare, 0), 0);
	uint32_t nothing = (uint32_t)FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 0);
	IS(futex(&spare, FUTEX_WAKE_OP | others, 1, (void *)1, &word, nothing), 0);
}

static void two_keys(int flags, int others)
{
	pthread_t thread = start(waits, (void *)(intptr_t)(FUTEX_WAIT | flags));
	asleep(flags, others);
	IS(futex(&word, FUTEX_WAKE | flags, 1, NULL, NULL, 0), 1);
	IS((long)join(thread), 0);

	thread = start(waits_for_any, (void *)(intptr_t)flags);
	asleep(flags, others);
	/* Moved, it is found at the other word, and likewise by its own kind alone. */
	IS(futex(&word, FUTEX_CMP_REQUEUE | flags, 0, (void *)1, &other, 0), 1);
	IS(futex(&word, FUTEX_WAKE | flags, 1, NULL, NULL, 0), 0);
	if (others == FUTEX_PRIVATE_FLAG) {
		IS(futex(&other, FUTEX_WAKE | others, 1, NULL, NULL, 0), 1);
		IS((long)join(thread), 0);
	} else {
		IS(futex(&other, FUTEX_WAKE | others, 1, NULL, NULL, 0), 0);
		IS(futex(&other, FUTEX_WAKE | flags, 2, NULL, NULL, 0), 2);
		IS((long)join(thread), 1);
	}
}

static void no_page(void *address)
{
	uint32_t *bad = address;
	struct timespec soon = { 0, 1000 };
	FAILS(futex(bad, FUTEX_WAIT, 0, &soon, NULL, 0), EFAULT);
	FAILS(futex(bad, FUTEX_WAKE, 1, NULL, NULL, 0), EFAULT);
	FAILS(futex(bad, FUTEX_WAKE_BITSET, 1, NULL, NULL, 1), EFAULT);
	FAILS(futex(bad, FUTEX_REQUEUE, 1, (void *)1, &word, 0), EFAULT);
	FAILS(futex(&word, FUTEX_REQUEUE, 1, (void *)1, bad, 0), EFAULT);
	FAILS(futex(bad, FUTEX_WAKE_OP, 1, (void *)1, &word, 0), EFAULT);
	IS(futex(bad, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0);
	IS(futex(&word, FUTEX_REQUEUE_PRIVATE, 1, (void *)1, bad, 0), 0);
}

static void *body(void *program)
{
	int flags[2] = { 0, FUTEX_PRIVATE_FLAG };
	for (int i = 0; i < 2; i++)
		two_keys(flags[i], flags[!i]);
	puts("two keys");
	no_page(NULL);
	no_page((void *)4096);
	no_page(mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	no_page(page);
	IS(mprotect(page, 4096, PROT_READ | PROT_WRITE), 0);
	page[0] = 0;
	IS(mprotect(page, 4096, PROT_READ), 0);
	no_page(page);
	puts("no page");
	/* A page of a file will do, though it cannot be written. */
	IS(futex(program, FUTEX_WAKE, 1, NULL, NULL, 0), 0);
	FAILS(futex(program, FUTEX_WAIT, 0, NULL, NULL, 0), EAGAIN);
	puts("a page of a file");
	return NULL;
}

int main(void)
{
	static const uint32_t constant[4096] = { [2048] = 1 };
	body((void *)&constant[2048]);
	join(start(body, (void *)&constant[2048]));
	return 0;
}
