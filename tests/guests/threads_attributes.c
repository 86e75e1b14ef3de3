// Attributes: stack size, guard size, user stack; pthread_getattr_np's bounds contain a local.
#include "guest.h"
#include <limits.h>
#include <sys/mman.h>

struct expected {
	size_t stack, guard;
	void *base;
};

static void *body(void *raw)
{
	struct expected *expected = raw;
	pthread_attr_t attributes;
	void *base;
	size_t size, guard;
	char local;
	OK(pthread_getattr_np(pthread_self(), &attributes));
	OK(pthread_attr_getstack(&attributes, &base, &size));
	OK(pthread_attr_getguardsize(&attributes, &guard));
	CHECK(&local >= (char *)base && &local < (char *)base + size);
	IS(guard, expected->guard);
	CHECK(size >= expected->stack - 2 * 65536 && size <= expected->stack + 2 * 65536);
	if (expected->base)
		CHECK(base == expected->base && size == expected->stack);
	/* The stack can be used to near its end. */
	size_t room = (size_t)(&local - (char *)base) - 12288;
	volatile char *deep = __builtin_alloca(room > 4 << 20 ? 4 << 20 : room);
	for (size_t i = 0; i < (room > 4 << 20 ? 4 << 20 : room); i += 4096)
		deep[i] = (char)i;
	OK(pthread_attr_destroy(&attributes));
	return NULL;
}

static void with(size_t stack, size_t guard, void *base, const char *what)
{
	pthread_attr_t attributes;
	pthread_t thread;
	struct expected expected = { stack, guard, base };
	OK(pthread_attr_init(&attributes));
	if (base) {
		OK(pthread_attr_setstack(&attributes, base, stack));
		expected.guard = 0;
	} else {
		OK(pthread_attr_setstacksize(&attributes, stack));
		OK(pthread_attr_setguardsize(&attributes, guard));
	}
	OK(pthread_create(&thread, &attributes, body, &expected));
	join(thread);
	OK(pthread_attr_destroy(&attributes));
	puts(what);
}

int main(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	with(1 << 20, page, NULL, "one mebibyte");
	with(64 << 20, page, NULL, "64 mebibytes");
	with(256 << 10, 16 * page, NULL, "a guard of 16 pages");
	with(256 << 10, 0, NULL, "no guard");
	size_t size = 512 << 10;
	void *own = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(own != MAP_FAILED);
	with(size, 0, own, "a stack of the program's");
	IS(munmap(own, size), 0);

	pthread_attr_t attributes;
	OK(pthread_attr_init(&attributes));
	IS(pthread_attr_setstacksize(&attributes, 1), EINVAL);
	void *base;
	char local;
	OK(pthread_getattr_np(pthread_self(), &attributes));
	OK(pthread_attr_getstack(&attributes, &base, &size));
	CHECK(&local >= (char *)base && &local < (char *)base + size);
	puts("the main thread's bounds contain a local");
	return 0;
}
