/*
 * All memory is locked before the first thread is made and after it: the program's own is there at
 * once, what it maps later too, and nothing else takes memory because of it.
 */
#include <sys/mman.h>
#include <sys/wait.h>
#include "guest.h"

enum { PAGE = 4096, LENGTH = 64 * PAGE };

static char untouched[LENGTH] __attribute__((aligned(4096)));

static int resident(void *at)
{
	unsigned char pages[LENGTH / PAGE];
	int count = 0;
	IS(mincore(at, LENGTH, pages), 0);
	for (size_t i = 0; i < COUNT(pages); i++)
		count += pages[i] & 1;
	return count;
}

static void *anew(void)
{
	void *at = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(at != MAP_FAILED);
	return at;
}

static long locked_mib(void)
{
	char line[200];
	long kib = -1;
	FILE *status = fopen("/proc/self/status", "r");
	CHECK(status);
	while (fgets(line, sizeof line, status))
		sscanf(line, "VmLck: %ld kB", &kib);
	IS(fclose(status), 0);
	CHECK(kib >= 0);
	return kib >> 10;
}

static void *sleeps(void *unused)
{
	sleep_ms(5);
	return unused;
}

static void run(int flags, bool first)
{
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		char *before = anew();
		if (!first)
			join(start(sleeps, NULL));
		IS(resident(untouched), 0);
		if (mlockall(flags) != 0) {
			printf("it is not allowed here: %s\n", strerrorname_np(errno));
			exit(0);
		}
		printf("of what is there %d and %d", resident(untouched), resident(before));
		char *after = anew();
		printf(", of what comes %d", resident(after));
		before[0] = after[0] = 1;
		printf(", touched %d and %d\n", resident(before), resident(after));
		join(start(sleeps, NULL));
		printf("more than 500 MiB: %s\n", locked_mib() > 500 ? "yes" : "no");
		IS(munlockall(), 0);
		IS(locked_mib(), 0);
		exit(0);
	}
	int status;
	IS(waitpid(child, &status, 0), child);
	IS(status, 0);
}

int main(void)
{
	FAILS(mlockall(0), EINVAL);
	FAILS(mlockall(1024), EINVAL);
	for (int first = 1; first >= 0; first--) {
		printf("%s a thread\n", first ? "before" : "after");
		run(MCL_CURRENT, first);
		run(MCL_FUTURE, first);
		run(MCL_CURRENT | MCL_FUTURE, first);
		run(MCL_CURRENT | MCL_ONFAULT, first);
		run(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT, first);
	}
	join(start(sleeps, NULL));
	FAILS(mlockall(0), EINVAL);
	FAILS(mlockall(1024), EINVAL);
	return 0;
}
