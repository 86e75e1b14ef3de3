// Several threads wait for different children that end in another order; then all wait for any.
#include "guest.h"
#include <sys/wait.h>

enum { CHILDREN = 12 };

static struct job {
	int gate[2];
	pid_t child;
	int index;
} jobs[CHILDREN];
static atomic_int finished, reaped;

static void *waits_for_its_own(void *raw)
{
	struct job *job = raw;
	int status;
	IS(waitpid(job->child, &status, 0), job->child);
	CHECK(WIFEXITED(status));
	IS(WEXITSTATUS(status), job->index);
	atomic_fetch_add(&finished, 1);
	return NULL;
}

static void *waits_for_any(void *unused)
{
	int status;
	(void)unused;
	for (;;) {
		pid_t child = waitpid(-1, &status, 0);
		if (child == -1) {
			CHECK(errno == ECHILD);
			return NULL;
		}
		atomic_fetch_add(&reaped, 1 << WEXITSTATUS(status));
	}
}

static void make_children(void)
{
	for (int i = 0; i < CHILDREN; i++) {
		struct job *job = &jobs[i];
		job->index = i;
		IS(pipe(job->gate), 0);
		job->child = fork();
		CHECK(job->child >= 0);
		if (job->child == 0) {
			char byte;
			IS(read(job->gate[0], &byte, 1), 1);
			_exit(i);
		}
	}
}

int main(void)
{
	pthread_t threads[CHILDREN];
	make_children();
	for (int i = 0; i < CHILDREN; i++)
		threads[i] = start(waits_for_its_own, &jobs[i]);
	for (int i = CHILDREN; i-- > 0;) {
		IS(write(jobs[i].gate[1], "x", 1), 1);
		join(threads[i]); /* only this one's child has ended by now */
		IS(atomic_load(&finished), CHILDREN - i);
	}
	puts("each got its own");
	make_children();
	for (int i = 0; i < 4; i++)
		threads[i] = start(waits_for_any, NULL);
	for (int i = 0; i < CHILDREN; i++)
		IS(write(jobs[i].gate[1], "x", 1), 1);
	for (int i = 0; i < 4; i++)
		join(threads[i]);
	printf("reaped %x\n", atomic_load(&reaped));
	return 0;
}
