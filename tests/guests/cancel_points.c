// Deferred cancellation in blocking calls: cleanup handlers run, join gives PTHREAD_CANCELED.
#include "net.h"
#include <poll.h>
#include <semaphore.h>
#include <sys/wait.h>

static int ends[2], pair[2];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static sem_t semaphore;
static atomic_int cleaned;

static void in_read(void)
{
	char byte;
	CHECK(read(ends[0], &byte, 1) == 1);
}

static void in_recv(void)
{
	char byte;
	CHECK(recv(pair[0], &byte, 1, 0) == 1);
}

static void in_sleep(void)
{
	sleep(1000);
}

static void in_nanosleep(void)
{
	nanosleep(&(struct timespec){ 1000, 0 }, NULL);
}

static void unlock(void *unused)
{
	(void)unused;
	OK(pthread_mutex_unlock(&mutex)); /* ours again while the handler runs */
}

static void in_cond_wait(void)
{
	OK(pthread_mutex_lock(&mutex));
	pthread_cleanup_push(unlock, NULL);
	for (;;)
		OK(pthread_cond_wait(&never, &mutex));
	pthread_cleanup_pop(0);
}

static void in_sem_wait(void)
{
	sem_wait(&semaphore);
}

static void in_poll(void)
{
	poll(NULL, 0, -1);
}

static void in_select(void)
{
	select(0, NULL, NULL, NULL, NULL);
}

static void *sleeps(void *unused)
{
	in_sleep();
	return unused;
}

static void in_join(void)
{
	pthread_t thread = start(sleeps, NULL);
	OK(pthread_detach(start(sleeps, NULL)));
	pthread_join(thread, NULL);
}

static void in_testcancel(void)
{
	for (;;) {
		pthread_testcancel();
		sched_yield();
	}
}

static const struct {
	void (*call)(void);
	const char *name;
} calls[] = {
	{ in_read, "read" },	     { in_recv, "recv" },	  { in_sleep, "sleep" },
	{ in_nanosleep, "nanosleep" }, { in_cond_wait, "cond_wait" }, { in_sem_wait, "sem_wait" },
	{ in_poll, "poll" },	     { in_select, "select" },	  { in_join, "join" },
	{ in_testcancel, "testcancel" },
};

static void count(void *unused)
{
	(void)unused;
	sleep_ms(1); /* a cleanup handler may block */
	atomic_fetch_add(&cleaned, 1);
}

static void *body(void *raw)
{
	pthread_cleanup_push(count, NULL);
	calls[(intptr_t)raw].call();
	pthread_cleanup_pop(0);
	return NULL;
}

int main(void)
{
	IS(pipe(ends), 0);
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	IS(sem_init(&semaphore, 0, 0), 0);
	for (size_t i = 0; i < COUNT(calls); i++)
		for (int late = 0; late < 2; late++) {
			atomic_store(&cleaned, 0);
			pthread_t thread = start(body, (void *)i);
			if (late)
				sleep_ms(10); /* parked by now, most likely; either way it must end */
			OK(pthread_cancel(thread));
			CHECK(join(thread) == PTHREAD_CANCELED);
			CHECK(atomic_load(&cleaned) <= 1);
			if (late)
				printf("%s cancelled\n", calls[i].name);
		}
	OK(pthread_mutex_lock(&mutex)); /* nobody left with it */
	return 0;
}
