// Running off a thread's stack dies of SIGSEGV, as it does bare.
// guest: dies=11
#include "guest.h"

static int eat(volatile char *above, unsigned depth)
{
	volatile char block[1024];
	block[0] = above[0];
	return depth == 0 ? block[0] : eat(block, depth - 1) + block[0];
}

static void *body(void *raw)
{
	volatile char begin = 0;
	return (void *)(intptr_t)eat(&begin, *(unsigned *)raw);
}

int main(void)
{
	pthread_attr_t attributes;
	pthread_t thread;
	unsigned fits = 100, endless = 1000000;
	OK(pthread_attr_init(&attributes));
	OK(pthread_attr_setstacksize(&attributes, 256 << 10));
	OK(pthread_create(&thread, &attributes, body, &fits));
	join(thread);
	puts("100 frames fit");
	fflush(stdout);
	OK(pthread_create(&thread, &attributes, body, &endless));
	join(thread);
	puts("never printed");
	return 0;
}
