// exit from a thread while main and others are parked: atexit handlers run, stdio is flushed.
// guest: exits=42
#include "guest.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int ends[2];

static void at_exit(void)
{
	puts("atexit ran");
}

static void *locks(void *unused)
{
	OK(pthread_mutex_lock(&lock));
	return unused;
}

static void *reads(void *unused)
{
	char byte;
	(void)unused;
	CHECK(read(ends[0], &byte, 1) == 1);
	return NULL;
}

static void *exits(void *unused)
{
	(void)unused;
	sleep_ms(20);
	printf("exiting with text in the buffer\n");
	exit(42);
}

int main(void)
{
	atexit(at_exit);
	IS(pipe(ends), 0);
	OK(pthread_mutex_lock(&lock));
	for (int i = 0; i < 10; i++) {
		start(locks, NULL);
		start(reads, NULL);
	}
	start(exits, NULL);
	reads(NULL);
	return 1;
}
