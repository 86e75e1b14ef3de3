/*
 * Less and less address space is left when the first thread is made: it may fail, as bare, but with
 * nothing worse, and where it succeeds the thread runs.
 * guest: limit=60
 */
#include <sys/resource.h>
#include <sys/wait.h>
#include "guest.h"

enum { MOST_MIB = 192, STEP_KIB = 1536 };

static uint64_t mapped(void)
{
	unsigned long pages;
	FILE *file = fopen("/proc/self/statm", "r");
	CHECK(file && fscanf(file, "%lu", &pages) == 1);
	IS(fclose(file), 0);
	return pages * 4096;
}

static void *sleeps(void *raw)
{
	sleep_ms(2);
	*(int *)raw += 1;
	return raw;
}

int main(void)
{
	int succeeded = 0;
	uint64_t base = mapped();
	for (uint64_t more = 0; more < (uint64_t)MOST_MIB << 20; more += STEP_KIB << 10) {
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			struct rlimit limit = { base + more, base + more };
			pthread_attr_t small;
			pthread_t threads[2];
			int ran[2] = { 0, 0 };
			IS(setrlimit(RLIMIT_AS, &limit), 0);
			OK(pthread_attr_init(&small));
			OK(pthread_attr_setstacksize(&small, 64 << 10));
			for (int i = 0; i < 2; i++) {
				int error = pthread_create(&threads[i], &small, sleeps, &ran[i]);
				if (error != 0) {
					IS(error, EAGAIN);
					ran[i] = 1;
					threads[i] = pthread_self();
				}
			}
			for (int i = 0; i < 2; i++)
				if (!pthread_equal(threads[i], pthread_self()))
					join(threads[i]);
			_exit(ran[0] == 1 && ran[1] == 1 ? !pthread_equal(threads[0], pthread_self()) : 99);
		}
		int status;
		IS(waitpid(child, &status, 0), child);
		if (!WIFEXITED(status) || WEXITSTATUS(status) > 1) {
			printf("with %lu KiB more: status %x\n", (unsigned long)(more >> 10), (unsigned)status);
			return 1;
		}
		succeeded += WEXITSTATUS(status);
	}
	CHECK(succeeded > 0);
	puts("threads run, or cannot be made");
	return 0;
}
