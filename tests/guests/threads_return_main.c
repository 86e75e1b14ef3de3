// Returning from main ends the process with its status, whatever the threads are parked in.
// guest: exits=17
#include "guest.h"

static int ends[2];

static void *reads(void *unused)
{
	char byte;
	(void)unused;
	CHECK(read(ends[0], &byte, 1) == 1);
	return NULL;
}

static void *sleeps(void *unused)
{
	(void)unused;
	sleep(1000);
	return NULL;
}

int main(void)
{
	IS(pipe(ends), 0);
	for (int i = 0; i < 20; i++) {
		start(reads, NULL);
		start(sleeps, NULL);
	}
	sleep_ms(20);
	puts("returning 17");
	return 17;
}
