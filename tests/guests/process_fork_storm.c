// Threads fork all at once, children fork again and make threads, while others lock, print and allocate.
// guest: limit=120
#include "guest.h"
#include <sys/wait.h>

static atomic_bool stop;
static atomic_int ended;

static void *busy(void *unused)
{
	(void)unused;
	while (!atomic_load(&stop)) {
		char *block = malloc(1000);
		CHECK(block != NULL);
		snprintf(block, 1000, "%d", rand());
		free(block);
		sched_yield();
	}
	return NULL;
}

static void *allocates(void *unused)
{
	(void)unused;
	for (int i = 0; i < 100; i++) {
		char *block = malloc(200);
		CHECK(block != NULL);
		memset(block, i, 200);
		if (i % 10 == 0)
			sched_yield();
		free(block);
	}
	return NULL;
}

static int check_child(pid_t child)
{
	int status;
	CHECK(child >= 0);
	IS(waitpid(child, &status, 0), child);
	IS(status, 0);
	return status;
}

static void *forks(void *unused)
{
	(void)unused;
	for (int i = 0; i < 10; i++) {
		pid_t child = fork();
		if (child == 0) {
			pthread_t one = start(allocates, NULL), two = start(allocates, NULL);
			pid_t grandchild = fork();
			if (grandchild == 0) {
				join(start(allocates, NULL));
				_exit(0);
			}
			check_child(grandchild);
			join(one);
			join(two);
			_exit(0);
		}
		check_child(child);
		atomic_fetch_add(&ended, 1);
	}
	return NULL;
}

int main(void)
{
	pthread_t working[4], forking[6];
	for (int i = 0; i < 4; i++)
		working[i] = start(busy, NULL);
	for (int i = 0; i < 6; i++)
		forking[i] = start(forks, NULL);
	for (int i = 0; i < 6; i++)
		join(forking[i]);
	atomic_store(&stop, true);
	for (int i = 0; i < 4; i++)
		join(working[i]);
	printf("%d children ended\n", atomic_load(&ended));
	return 0;
}
