// A program that AddressSanitizer checks: it runs as it does bare, and a use of freed memory by a thread is found.
// guest: exits=67 compile=-fsanitize=address
#include "guest.h"

/* Its report has addresses in it. It wants to be the first of the preloaded libraries, unless told. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "exitcode=67:log_path=/dev/null:detect_leaks=0:verify_asan_link_order=0";
}

static pthread_barrier_t barrier;

static void *fills(void *memory)
{
	memset(memory, 1, 100);
	pthread_barrier_wait(&barrier);
	return memory;
}

static void *uses(void *memory)
{
	((volatile char *)memory)[50] = 2;
	return memory;
}

int main(void)
{
	OK(pthread_barrier_init(&barrier, NULL, 2));
	/* The compiler sees it, too. */
	void *volatile memory = malloc(100);
	pthread_t thread = start(fills, memory);
	pthread_barrier_wait(&barrier);
	join(thread);
	free(memory);
	puts("freed");
	join(start(uses, memory));
	puts("never printed");
	return 0;
}
