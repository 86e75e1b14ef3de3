// Threads on small stacks that spin for each other without a system call all get the processor.
#include "guest.h"

enum { SPINNERS = 4, ROUNDS = 60 };

static atomic_int turn;

static void *body(void *raw)
{
	int me = (int)(intptr_t)raw;
	for (int i = 0; i < ROUNDS; i++) {
		while (atomic_load(&turn) % SPINNERS != me)
			;
		atomic_fetch_add(&turn, 1);
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[SPINNERS];
	pthread_attr_t attributes;
	OK(pthread_attr_init(&attributes));
	OK(pthread_attr_setstacksize(&attributes, 32 << 10));
	for (intptr_t i = 0; i < SPINNERS; i++)
		OK(pthread_create(&threads[i], &attributes, body, (void *)i));
	for (int i = 0; i < SPINNERS; i++)
		join(threads[i]);
	printf("%d turns\n", atomic_load(&turn));
	return 0;
}
