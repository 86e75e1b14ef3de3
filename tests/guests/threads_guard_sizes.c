// Stacks that take the same memory, one after the other, with guards of different sizes: each
// thread uses its stack to the last byte, and finds its guard below. libc keeps none of them.
// guest: limit=60
#include "guest.h"
#include <sys/uio.h>

// Beyond what libc keeps of ended threads' stacks.
#define MEMORY ((size_t)48 << 20)

static bool is_readable(const char *address)
{
	char byte;
	struct iovec to = { &byte, 1 }, from = { (void *)address, 1 };
	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1;
}

static void *uses(void *guard)
{
	pthread_attr_t attributes;
	void *low;
	size_t size;
	OK(pthread_getattr_np(pthread_self(), &attributes));
	OK(pthread_attr_getstack(&attributes, &low, &size));
	OK(pthread_attr_destroy(&attributes));
	volatile char *bytes = low;
	for (size_t at = 0; at < (size_t)16 << 10; at += 4096)
		bytes[at] = 1;
	if (*(size_t *)guard) {
		CHECK(!is_readable((char *)low - 1));
		CHECK(!is_readable((char *)low - *(size_t *)guard));
	}
	return NULL;
}

int main(void)
{
	static size_t guards[] = { 64 << 10, 0, 4 << 10, 16 << 10, 4 << 10, 0, 128 << 10 };
	for (size_t i = 0; i < 3 * COUNT(guards); i++) {
		size_t *guard = &guards[i % COUNT(guards)];
		pthread_attr_t attributes;
		OK(pthread_attr_init(&attributes));
		OK(pthread_attr_setstacksize(&attributes, MEMORY - *guard));
		OK(pthread_attr_setguardsize(&attributes, *guard));
		pthread_t thread;
		OK(pthread_create(&thread, &attributes, uses, guard));
		join(thread);
		OK(pthread_attr_destroy(&attributes));
	}
	puts("used");
	return 0;
}
