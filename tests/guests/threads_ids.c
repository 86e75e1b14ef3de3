// Thread ids: gettid is the pid in main, differs in every live thread, and tgkill accepts it.
#include "guest.h"
#include <signal.h>
#include <sys/syscall.h>

enum { THREADS = 20 };

static pid_t ids[THREADS];
static pthread_barrier_t barrier;

static void *body(void *raw)
{
	int index = (int)(intptr_t)raw;
	ids[index] = gettid();
	CHECK(ids[index] > 0 && ids[index] != getpid());
	IS(syscall(SYS_gettid), ids[index]);
	CHECK(getpid() == (pid_t)syscall(SYS_getpid));
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	IS(gettid(), ids[index]);
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];
	IS(gettid(), getpid());
	OK(pthread_barrier_init(&barrier, NULL, THREADS + 1));
	for (intptr_t i = 0; i < THREADS; i++)
		threads[i] = start(body, (void *)i);
	pthread_barrier_wait(&barrier);
	IS(gettid(), getpid());
	for (int i = 0; i < THREADS; i++) {
		IS(tgkill(getpid(), ids[i], 0), 0);
		for (int j = 0; j < i; j++)
			CHECK(ids[i] != ids[j]);
	}
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < THREADS; i++)
		join(threads[i]);
	/* join returns a moment before the kernel forgets the id. */
	while (tgkill(getpid(), ids[0], 0) == 0)
		sleep_ms(1);
	CHECK(errno == ESRCH);
	FAILS(tgkill(getpid(), -1, 0), EINVAL);
	puts("ids differ");
	return 0;
}
