// A program that may have 8 or 64 descriptors gets each number, and its threads run.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "guest.h"

static void *reads(void *raw)
{
	char byte;
	IS(read(*(int *)raw, &byte, 1), 1);
	return raw;
}

/* The numbers that are free, all of which are used. */
static void opens_all(void)
{
	int ends[2], fd, count = 0;
	IS(pipe(ends), 0);
	pthread_t thread = start(reads, &ends[0]);
	IS(write(ends[1], "x", 1), 1);
	join(thread);
	while ((fd = open("/dev/null", O_RDONLY)) >= 0) {
		IS(fd, 5 + count);
		count++;
	}
	IS(errno, EMFILE);
	printf("%d opened\n", count);
	thread = start(reads, &ends[0]);
	IS(write(ends[1], "x", 1), 1);
	join(thread);
}

int main(int count, char **arguments)
{
	if (count > 1) {
		opens_all();
		return 0;
	}
	for (rlim_t most = 8; most <= 64; most *= 8) {
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			struct rlimit limit = { most, most };
			for (int fd = 3; fd < 256; fd++)
				close(fd);
			IS(setrlimit(RLIMIT_NOFILE, &limit), 0);
			execl("/proc/self/exe", arguments[0], "limited", (char *)NULL);
			_exit(99);
		}
		int status;
		IS(waitpid(child, &status, 0), child);
		printf("%lu: %x\n", (unsigned long)most, (unsigned)status);
	}
	return 0;
}
