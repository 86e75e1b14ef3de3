// A program that ThreadSanitizer checks: it runs as it does bare, and its race is found.
// guest: exits=66 compile=-fsanitize=thread
#include "guest.h"

/* Its report has addresses in it. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "exitcode=66:log_path=/dev/null";
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t barrier;
static int guarded, raced;

static void *counts(void *unused)
{
	for (int i = 0; i < 100; i++) {
		OK(pthread_mutex_lock(&mutex));
		guarded++;
		OK(pthread_mutex_unlock(&mutex));
	}
	pthread_barrier_wait(&barrier);
	raced++;
	return unused;
}

int main(void)
{
	OK(pthread_barrier_init(&barrier, NULL, 4));
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		threads[i] = start(counts, NULL);
	for (int i = 0; i < 4; i++)
		join(threads[i]);
	IS(guarded, 400);
	puts("counted");
	return 0;
}
