// Threads made by one that shares neither table of descriptors nor directory any more have its own.
// guest: limit=60
#include "guest.h"
#include <fcntl.h>
#include <poll.h>
#include <sched.h>

enum { ROUNDS = 20, AT_ONCE = 8 };

static int ends[AT_ONCE][2];

static void *writes(void *raw)
{
	int *own = raw;
	char directory[100];
	CHECK(getcwd(directory, sizeof directory));
	IS(strcmp(directory, "/usr"), 0);
	sleep_ms(1);
	IS(write(own[1], "x", 1), 1);
	return NULL;
}

static void *uses(void *unused)
{
	IS(unshare(CLONE_FILES | CLONE_FS), 0);
	IS(chdir("/usr"), 0);
	for (int round = 0; round < ROUNDS; round++) {
		pthread_t threads[AT_ONCE];
		for (int i = 0; i < AT_ONCE; i++) {
			IS(pipe(ends[i]), 0);
			threads[i] = start(writes, ends[i]);
		}
		for (int i = 0; i < AT_ONCE; i++) {
			struct pollfd one = { .fd = ends[i][0], .events = POLLIN };
			char byte;
			IS(poll(&one, 1, 10000), 1);
			IS(read(ends[i][0], &byte, 1), 1);
			join(threads[i]);
			IS(close(ends[i][0]), 0);
			IS(close(ends[i][1]), 0);
		}
	}
	return unused;
}

int main(void)
{
	join(start(uses, NULL));
	puts("its own");
	return 0;
}
