// C11 threads: create, join, detach, mutexes, conditions, storage, sleep.
#include "guest.h"
#include <threads.h>

static mtx_t lock;
static cnd_t changed;
static tss_t storage;
static int arrived;
static atomic_int dropped;

static void drop(void *value)
{
	atomic_fetch_add(&dropped, *(int *)value);
}

static int body(void *raw)
{
	int *value = raw;
	CHECK(tss_set(storage, value) == thrd_success);
	CHECK(mtx_lock(&lock) == thrd_success);
	arrived++;
	CHECK(cnd_signal(&changed) == thrd_success);
	CHECK(mtx_unlock(&lock) == thrd_success);
	CHECK(thrd_sleep(&(struct timespec){ 0, MS }, NULL) == 0);
	thrd_yield();
	CHECK(tss_get(storage) == value);
	if (*value % 2)
		thrd_exit(*value);
	return *value;
}

int main(void)
{
	thrd_t threads[10];
	int values[10], sum = 0;
	CHECK(mtx_init(&lock, mtx_timed) == thrd_success);
	CHECK(cnd_init(&changed) == thrd_success);
	CHECK(tss_create(&storage, drop) == thrd_success);
	for (int i = 0; i < 10; i++) {
		values[i] = i;
		CHECK(thrd_create(&threads[i], body, &values[i]) == thrd_success);
	}
	CHECK(mtx_lock(&lock) == thrd_success);
	while (arrived < 10)
		CHECK(cnd_wait(&changed, &lock) == thrd_success);
	struct timespec until = in_ms(CLOCK_REALTIME, 20);
	CHECK(cnd_timedwait(&changed, &lock, &until) == thrd_timedout);
	CHECK(mtx_unlock(&lock) == thrd_success);
	for (int i = 0; i < 10; i++) {
		int value;
		CHECK(thrd_join(threads[i], &value) == thrd_success);
		sum += value;
	}
	printf("sum %d dropped %d\n", sum, atomic_load(&dropped));
	CHECK(thrd_equal(thrd_current(), thrd_current()));
	return 0;
}
