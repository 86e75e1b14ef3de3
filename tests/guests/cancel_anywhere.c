// A thread that makes one short call after the other is cancelled wherever it is in one.
// guest: limit=60
#include "guest.h"
#include <fcntl.h>

enum { ROUNDS = 400 };

static int zero;
static atomic_int begun;

static void counts(void *count)
{
	++*(int *)count;
}

/* Cancelled in the call, which is a cancellation point. */
static void *reads(void *count)
{
	char byte;
	pthread_cleanup_push(counts, count);
	atomic_fetch_add(&begun, 1);
	for (;;)
		IS(read(zero, &byte, 1), 1);
	pthread_cleanup_pop(1);
	return NULL;
}

/* Cancelled on the way to a call, in it, or behind it. */
static void *asks(void *count)
{
	pthread_cleanup_push(counts, count);
	OK(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL));
	atomic_fetch_add(&begun, 1);
	for (;;) {
		/* lseek(2), which no group wants; and sched_yield(2), without libc's code around them. */
		long result = 8;
		__asm__ volatile("syscall" : "+a"(result) : "D"(zero), "S"(0L), "d"(1L) : "rcx", "r11", "memory");
		result = 24;
		__asm__ volatile("syscall" : "+a"(result) : : "rcx", "r11", "memory");
	}
	pthread_cleanup_pop(1);
	return NULL;
}

static void cancelled(const char *what, void *(*body)(void *))
{
	int count = 0;
	for (int i = 0; i < ROUNDS; i++) {
		int before = atomic_load(&begun);
		pthread_t other = start(body, &count);
		while (atomic_load(&begun) == before)
			sched_yield();
		/* Somewhere else each time. */
		for (volatile int n = i * 17 % 1000; n > 0; n--)
			;
		OK(pthread_cancel(other));
		CHECK(join(other) == PTHREAD_CANCELED);
	}
	IS(count, ROUNDS);
	puts(what);
}

int main(void)
{
	zero = open("/dev/zero", O_RDONLY);
	CHECK(zero >= 0);
	cancelled("in a call", reads);
	cancelled("around a call", asks);
	return 0;
}
