/*
 * RLIMIT_MEMLOCK 0 for a user without privileges: threads wait as ever, and mlock fails as bare.
 */
#include <sys/mman.h>
#include "limit.h"

static void *locks_memory(void *unused)
{
	static char page[8192];
	printf("mlock %d ", mlock(page, sizeof page) == 0 ? 0 : errno);
	printf("mlockall %d\n", mlockall(MCL_FUTURE) == 0 ? 0 : errno);
	return unused;
}

int main(void)
{
	const struct rlimit none = { 0, 0 };
	prepare();
	if (geteuid() == 0)
		IS(setresuid(65534, 65534, 65534), 0);
	IS(setrlimit(RLIMIT_MEMLOCK, &none), 0);
	everything();
	join(start(locks_memory, NULL));
	everything();
	puts("everything goes on");
	return 0;
}
