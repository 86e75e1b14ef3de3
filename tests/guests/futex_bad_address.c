// Futex words, and arrays of them, at addresses that are unmapped or not to be accessed so: EFAULT.
#include "futex.h"
#include <signal.h>
#include <sys/mman.h>

enum { PRIVATE = FUTEX_32 | FUTEX_PRIVATE_FLAG };

static uint32_t good;
static char *gone, *nothing, *readable; /* unmapped, not to be read, not to be written */

/* futex_waitv is Linux 5.16, futex_wait 6.7. */
static bool is_known(long call)
{
	return syscall(call, NULL, 0, 0, 0, 0, 0) == -1 && errno != ENOSYS;
}

static long operate(uint32_t *second)
{
	return futex(&good, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, second,
		     (uint32_t)FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0));
}

static void reads(void *address)
{
	uint32_t *bad = address;
	struct timespec soon = { 0, 1000 };
	FAILS(futex(bad, FUTEX_WAIT_PRIVATE, 0, &soon, NULL, 0), EFAULT);
	FAILS(futex(bad, FUTEX_WAIT, 0, &soon, NULL, 0), EFAULT);
	FAILS(futex(bad, FUTEX_WAIT_BITSET_PRIVATE, 0, &soon, NULL, 1), EFAULT);
	FAILS(futex(bad, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, &soon, &good, 0), EFAULT);
	FAILS(futex(bad, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)1, &good, 0), EFAULT);
	FAILS(futex(bad, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)1, &good, 0), EFAULT);
	FAILS(futex(bad, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0), EFAULT);
	FAILS(futex(&good, FUTEX_WAIT_PRIVATE, 0, bad, NULL, 0), EFAULT);
	IS(futex(bad, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0);
	IS(futex(&good, FUTEX_REQUEUE_PRIVATE, 1, (void *)1, bad, 0), 0);
	if (is_known(SYS_futex_waitv)) {
		struct futex_waitv words[2] = { { 0, (uintptr_t)&good, PRIVATE, 0 },
						{ 0, (uintptr_t)bad, PRIVATE, 0 } };
		FAILS(syscall(SYS_futex_waitv, words, 2, 0, NULL, 0), EFAULT);
		FAILS(syscall(SYS_futex_waitv, bad, 1, 0, NULL, 0), EFAULT);
	}
	if (is_known(455))
		FAILS(syscall(455, bad, 0L, -1L & 0xffffffff, PRIVATE, NULL, 0), EFAULT);
}

static void writes(void *address)
{
	uint32_t *bad = address;
	FAILS(operate(bad), EFAULT);
	FAILS(futex(bad, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0), EFAULT);
	FAILS(futex(bad, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0), EFAULT);
	IS(futex(bad, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0);
}

static void *waits(void *unused)
{
	(void)unused;
	return (void *)futex(&good, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

/* What failed has left no lock and no waiter behind. */
static void still_works(void)
{
	good = 0;
	IS(operate(&good), 0);
	IS(good, 1);
	good = 0;
	pthread_t thread = start(waits, NULL);
	wake_exactly(&good, 1);
	IS((long)join(thread), 0);
}

static void *body(void *unused)
{
	(void)unused;
	reads(gone);
	writes(gone);
	reads(nothing);
	writes(nothing);
	writes(readable);
	struct timespec soon = { 0, 1000 };
	FAILS(futex((uint32_t *)readable, FUTEX_WAIT_PRIVATE, 0, &soon, NULL, 0), ETIMEDOUT);
	FAILS(futex((uint32_t *)readable, FUTEX_WAIT_PRIVATE, 1, &soon, NULL, 0), EAGAIN);
	/* An array that ends where nothing is mapped. */
	if (is_known(SYS_futex_waitv)) {
		struct futex_waitv *last = (struct futex_waitv *)gone - 1;
		*last = (struct futex_waitv){ 0, (uintptr_t)&good, PRIVATE, 0 };
		FAILS(syscall(SYS_futex_waitv, last, 2, 0, NULL, 0), EFAULT);
		last->flags = 0xff;
		FAILS(syscall(SYS_futex_waitv, last, 2, 0, NULL, 0), EINVAL);
	}
	still_works();
	return NULL;
}

static void never(int signal)
{
	(void)signal;
	_exit(97);
}

int main(void)
{
	/* Where nobody who does not ask for it gets memory. */
	char *pages = mmap((void *)0x200000000, 2 * 4096, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(pages != MAP_FAILED);
	gone = pages + 4096;
	IS(munmap(gone, 4096), 0);
	nothing = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	readable = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(nothing != MAP_FAILED && readable != MAP_FAILED);
	body(NULL);
	join(start(body, NULL));
	body(NULL);
	puts("without a handler");
	signal(SIGSEGV, never);
	join(start(body, NULL));
	body(NULL);
	puts("with a handler, which is not called");
	return 0;
}
