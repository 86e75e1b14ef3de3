// Thread-local variables and errno are each thread's own across blocking calls.
#include "guest.h"

static __thread int zeroed;
static __thread int counted = 7;
static _Alignas(64) __thread char aligned[64];

static void *body(void *raw)
{
	int index = (int)(intptr_t)raw;
	CHECK(zeroed == 0 && counted == 7);
	CHECK((uintptr_t)aligned % 64 == 0);
	for (int i = 0; i < 20; i++) {
		zeroed += index;
		counted -= index;
		aligned[index] = (char)index;
		errno = 1000 + index;
		CHECK(sched_yield() == 0);
		struct timespec moment = { 0, 100000 };
		CHECK(nanosleep(&moment, NULL) == 0);
		CHECK(errno == 1000 + index);
		FAILS(close(-1 - index), EBADF);
	}
	CHECK(zeroed == 20 * index && counted == 7 - 20 * index);
	for (int i = 0; i < 64; i++)
		CHECK(aligned[i] == (i == index ? index : 0));
	return &zeroed;
}

int main(void)
{
	pthread_t threads[32];
	zeroed = -1;
	for (intptr_t i = 0; i < 32; i++)
		threads[i] = start(body, (void *)i);
	for (int i = 0; i < 32; i++)
		CHECK(join(threads[i]) != &zeroed);
	CHECK(zeroed == -1 && counted == 7);
	puts("every thread kept its own");
	return 0;
}
