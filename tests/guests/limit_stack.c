/*
 * RLIMIT_STACK at the program's start is the size of its threads' stacks; without a limit it is libc's
 * own; and what is set later changes nothing.
 */
#include <sys/resource.h>
#include <sys/wait.h>
#include "guest.h"

static void *tells(void *unused)
{
	pthread_attr_t attributes;
	size_t size;
	OK(pthread_getattr_np(pthread_self(), &attributes));
	OK(pthread_attr_getstacksize(&attributes, &size));
	OK(pthread_attr_destroy(&attributes));
	printf("%zu KiB\n", size >> 10);
	sleep_ms(1);
	return unused;
}

static void main_of_limited(void)
{
	pthread_attr_t attributes;
	size_t size;
	OK(pthread_attr_init(&attributes));
	OK(pthread_attr_getstacksize(&attributes, &size));
	printf("default %zu KiB, ", size >> 10);
	join(start(tells, NULL));
	struct rlimit limit = { 3 << 20, RLIM_INFINITY };
	IS(getrlimit(RLIMIT_STACK, &limit), 0);
	limit.rlim_cur = 3 << 20;
	IS(setrlimit(RLIMIT_STACK, &limit), 0);
	join(start(tells, NULL));
}

int main(int count, char **arguments)
{
	if (count > 1) {
		main_of_limited();
		return 0;
	}
	const rlim_t limits[] = { 100 << 10, 1 << 20, (3 << 20) + 1234, 64 << 20, RLIM_INFINITY };
	for (size_t i = 0; i < COUNT(limits); i++) {
		fflush(stdout);
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			struct rlimit limit;
			IS(getrlimit(RLIMIT_STACK, &limit), 0);
			limit.rlim_cur = limits[i] < limit.rlim_max ? limits[i] : limit.rlim_max;
			IS(setrlimit(RLIMIT_STACK, &limit), 0);
			execl("/proc/self/exe", arguments[0], "limited", (char *)NULL);
			_exit(99);
		}
		int status;
		IS(waitpid(child, &status, 0), child);
		printf("%zu: %x\n", i, (unsigned)status);
	}
	return 0;
}
