/*
 * What RLIMIT_AS and RLIMIT_DATA leave to a program with threads is the program's, whether the limit
 * was there when the first thread was made or is set later; and the stacks of threads that ended are
 * given back.
 * guest: limit=60
 */
#include <sys/resource.h>
#include <sys/wait.h>
#include "guest.h"

enum { MIB = 1 << 20, THREADS = 4, STACK = 8, LIMIT = 256, MANY = 200, PIECE = 64 << 10 };

static pthread_barrier_t made;

/* A field of proc_pid_status(5), in MiB. */
static long status(const char *name)
{
	char line[256];
	long value = -1;
	size_t length = strlen(name);
	FILE *file = fopen("/proc/self/status", "r");
	CHECK(file != NULL);
	while (fgets(line, sizeof line, file))
		if (!strncmp(line, name, length) && line[length] == ':')
			value = atol(line + length + 1);
	IS(fclose(file), 0);
	CHECK(value >= 0);
	return value >> 10;
}

static void *waits(void *unused)
{
	pthread_barrier_wait(&made);
	pause();
	return unused;
}

static void *nothing(void *unused)
{
	return unused;
}

static void limit_to(int resource, long mib)
{
	struct rlimit limit = { (rlim_t)mib * MIB, (rlim_t)mib * MIB };
	IS(setrlimit(resource, &limit), 0);
}

/* MiB that malloc gives. */
static long what_is_left(void)
{
	long pieces = 0;
	while (malloc(PIECE))
		pieces++;
	return pieces * PIECE / MIB;
}

static pthread_attr_t large;

static void make(int count)
{
	pthread_t thread;
	OK(pthread_barrier_init(&made, NULL, (unsigned)count + 1));
	for (int i = 0; i < count; i++)
		OK(pthread_create(&thread, &large, waits, NULL));
	pthread_barrier_wait(&made);
}

/* Most of the limit is there for malloc beside the threads' stacks. */
static void uses_it(int resource, bool early)
{
	if (early)
		limit_to(resource, LIMIT);
	make(THREADS);
	if (!early)
		limit_to(resource, LIMIT);
	CHECK(what_is_left() >= (LIMIT - THREADS * STACK - 4) * 95 / 100);
}

/* As many threads as there is room for their stacks. */
static void fills_it(int resource, bool early)
{
	pthread_t thread;
	int count = 0, error;
	/* They wait until the process ends. */
	OK(pthread_barrier_init(&made, NULL, 2000));
	if (!early)
		OK(pthread_create(&thread, &large, waits, NULL));
	limit_to(resource, 1024);
	while ((error = pthread_create(&thread, &large, waits, NULL)) == 0)
		count++;
	IS(error, EAGAIN);
	CHECK(count >= 1024 / STACK * 95 / 100 && count < 1024 / STACK);
}

/* Of many threads that ended, only the stacks that libc keeps are left. */
static void gives_back(int resource, bool early)
{
	static pthread_t threads[MANY];
	if (early)
		limit_to(resource, 2048);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < MANY; i++)
			OK(pthread_create(&threads[i], &large, nothing, NULL));
		for (int i = 0; i < MANY; i++)
			join(threads[i]);
	}
	CHECK(status("VmSize") < 128 && status("VmData") < 128);
	limit_to(resource, LIMIT);
	CHECK(what_is_left() >= (LIMIT - 40 - 4) * 95 / 100);
}

/* Threads take hardly more address space than their stacks. */
static void is_small(int resource, bool early)
{
	(void)resource, (void)early;
	long size = status("VmSize"), data = status("VmData");
	make(THREADS);
	CHECK(status("VmSize") - size < THREADS * STACK + 12);
	CHECK(status("VmData") - data < THREADS * STACK + 12);
	size = status("VmSize");
	make(MANY);
	CHECK(status("VmSize") - size < MANY * STACK * 105 / 100);
}

int main(void)
{
	void (*const all[])(int, bool) = { uses_it, fills_it, gives_back, is_small };
	const int resources[] = { RLIMIT_AS, RLIMIT_DATA };
	OK(pthread_attr_init(&large));
	OK(pthread_attr_setstacksize(&large, STACK * MIB));
	for (size_t i = 0; i < 4; i++)
		for (int j = 0; j < 4; j++) {
			pid_t child = fork();
			CHECK(child >= 0);
			if (child == 0) {
				all[i](resources[j / 2], j % 2);
				_exit(0);
			}
			int ended;
			IS(waitpid(child, &ended, 0), child);
			printf("%zu, %d: %d\n", i, j, ended);
		}
	return 0;
}
