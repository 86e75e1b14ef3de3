/*
 * In a control group that allows few threads (pids.max): pthread_create ends with EAGAIN at the same number as bare,
 * and goes on when threads have ended.
 */
#include "../guest.h"

enum { MOST = 100 };

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;

static void *waits(void *unused)
{
	OK(pthread_mutex_lock(&held));
	OK(pthread_mutex_unlock(&held));
	return unused;
}

int main(void)
{
	pthread_t threads[MOST];
	pthread_attr_t small;
	OK(pthread_attr_init(&small));
	OK(pthread_attr_setstacksize(&small, 64 << 10));
	for (int round = 0; round < 2; round++) {
		int made = 0, error = 0;
		OK(pthread_mutex_lock(&held));
		while (made < MOST && (error = pthread_create(&threads[made], &small, waits, NULL)) == 0)
			made++;
		printf("%d threads, then %s\n", made, error ? strerrorname_np(error) : "no end");
		OK(pthread_mutex_unlock(&held));
		for (int i = 0; i < made; i++)
			join(threads[i]);
		/* The kernel's thread ends a moment after it has been joined. */
		sleep_ms(200);
	}
	return 0;
}
