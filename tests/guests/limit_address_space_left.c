/*
 * Less and less of RLIMIT_AS or RLIMIT_DATA is left to a program that starts with it: its threads run,
 * or can't be made, as bare.
 * guest: limit=60
 */
#include <sys/resource.h>
#include <sys/wait.h>
#include "guest.h"

enum { LEAST_MIB = 12, MOST_MIB = 72, STEP_MIB = 4 };

static void *sleeps(void *raw)
{
	sleep_ms(1);
	*(int *)raw += 1;
	return raw;
}

static int main_of_limited(void)
{
	pthread_t threads[4];
	pthread_attr_t small;
	int ran[4] = { 0 }, made = 0;
	OK(pthread_attr_init(&small));
	OK(pthread_attr_setstacksize(&small, 256 << 10));
	while (made < 4) {
		int error = pthread_create(&threads[made], &small, sleeps, &ran[made]);
		if (error != 0) {
			IS(error, EAGAIN);
			break;
		}
		made++;
	}
	for (int i = 0; i < made; i++) {
		join(threads[i]);
		IS(ran[i], 1);
	}
	/* What malloc can't give is an error of the program's, and nothing else. */
	while (malloc(4096))
		;
	for (int i = 0; i < made; i++)
		if (pthread_create(&threads[i], &small, sleeps, &ran[i]) == 0)
			join(threads[i]);
	return made == 4 ? 0 : 1;
}

int main(int count, char **arguments)
{
	if (count > 1)
		return main_of_limited();
	for (int kind = 0; kind < 2; kind++)
		for (int mib = LEAST_MIB; mib <= MOST_MIB; mib += STEP_MIB) {
			pid_t child = fork();
			CHECK(child >= 0);
			if (child == 0) {
				rlim_t bytes = (rlim_t)mib << 20;
				struct rlimit limit = { bytes, bytes };
				IS(setrlimit(kind ? RLIMIT_DATA : RLIMIT_AS, &limit), 0);
				execl("/proc/self/exe", arguments[0], "limited", (char *)NULL);
				_exit(99);
			}
			int status;
			IS(waitpid(child, &status, 0), child);
			printf("%s %d MiB: %x\n", kind ? "data" : "space", mib, (unsigned)status);
		}
	return 0;
}
