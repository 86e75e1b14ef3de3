// siglongjmp out of a handler leaves a blocking read, and the thread and its mask go on as they were.
#include "guest.h"
#include <setjmp.h>
#include <signal.h>

static int ends[2];
static __thread sigjmp_buf back;
static __thread volatile bool armed;
static atomic_int jumped;
static __thread int after;

static void handler(int signal)
{
	CHECK(signal == SIGUSR1);
	if (armed) {
		armed = false;
		siglongjmp(back, 1);
	}
}

static void *body(void *unused)
{
	char byte;
	(void)unused;
	for (volatile int i = 0; i < 10; i++) {
		if (sigsetjmp(back, 1) == 0) {
			armed = true;
			CHECK(read(ends[0], &byte, 1) == 1);
			CHECK(false);
		}
		sigset_t mask;
		OK(pthread_sigmask(SIG_SETMASK, NULL, &mask));
		CHECK(!sigismember(&mask, SIGUSR1));
		atomic_fetch_add(&jumped, 1);
		after++;
		struct timespec moment = { 0, MS };
		nanosleep(&moment, NULL); /* blocking calls still work; a signal may end it */
	}
	CHECK(after == 10);
	return NULL;
}

int main(void)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	IS(pipe(ends), 0);
	pthread_t threads[3];
	for (int i = 0; i < 3; i++)
		threads[i] = start(body, NULL);
	while (atomic_load(&jumped) < 30)
		for (int i = 0; i < 3; i++) {
			sleep_ms(1);
			pthread_kill(threads[i], SIGUSR1);
		}
	for (int i = 0; i < 3; i++)
		join(threads[i]);
	printf("%d jumps\n", atomic_load(&jumped));
	return 0;
}
