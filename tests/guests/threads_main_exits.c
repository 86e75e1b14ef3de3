// pthread_exit from main: the others run on, and the last one's end ends the process with status 0.
#include "guest.h"

static pthread_t main_thread;

static void *last(void *unused)
{
	(void)unused;
	sleep_ms(30);
	puts("the last thread is done");
	return NULL;
}

static void *joins_main(void *unused)
{
	(void)unused;
	CHECK(join(main_thread) == (void *)5);
	puts("main was joined");
	fflush(stdout);
	start(last, NULL);
	return NULL;
}

static void at_exit(void)
{
	puts("atexit ran");
}

int main(void)
{
	atexit(at_exit);
	main_thread = pthread_self();
	start(joins_main, NULL);
	pthread_exit((void *)5);
}
