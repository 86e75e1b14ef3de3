// A program that is bound to one processor is told by every thread that it runs there.
#include "guest.h"
#include <sched.h>
#include <sys/syscall.h>

static int last;

static void *looks(void *unused)
{
	unsigned asked;
	IS(sched_getcpu(), last);
	IS(syscall(SYS_getcpu, &asked, NULL, NULL), 0);
	IS((int)asked, last);
	return unused;
}

int main(void)
{
	cpu_set_t set;
	IS(sched_getaffinity(0, sizeof set, &set), 0);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set))
			last = i;
	CPU_ZERO(&set);
	CPU_SET(last, &set);
	IS(sched_setaffinity(0, sizeof set, &set), 0);
	looks(NULL);
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		threads[i] = start(looks, NULL);
	for (int i = 0; i < 4; i++)
		join(threads[i]);
	puts("there");
	return 0;
}
