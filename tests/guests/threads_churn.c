// 20,000 threads made one after another and in tens: stacks are used again, memory does not grow.
#include "guest.h"

static void *body(void *raw)
{
	char block[8192];
	memset(block, 1, sizeof block);
	return (void *)((intptr_t)raw + block[77]);
}

static long resident_kib(void)
{
	long total, resident;
	FILE *file = fopen("/proc/self/statm", "r");
	CHECK(file != NULL);
	CHECK(fscanf(file, "%ld %ld", &total, &resident) == 2);
	fclose(file);
	return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

int main(void)
{
	long sum = 0, warm = 0;
	for (int round = 0; round < 2000; round++) {
		pthread_t threads[10];
		if (round == 200)
			warm = resident_kib();
		for (intptr_t i = 0; i < 5; i++)
			threads[i] = start(body, (void *)i);
		for (int i = 0; i < 5; i++)
			sum += (long)join(threads[i]);
		for (intptr_t i = 0; i < 5; i++)
			sum += (long)join(start(body, (void *)i));
	}
	CHECK(resident_kib() - warm < 8192);
	printf("sum %ld\n", sum);
	return 0;
}
