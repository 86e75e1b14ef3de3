// Thread-specific keys: values of each thread, destructors, and destructors that set them again.
#include "guest.h"

static pthread_key_t first, second, again;
static atomic_int seconds, agains;

static void drop_first(void *value)
{
	printf("first: %s\n", (char *)value);
	sleep_ms(1); /* a destructor may block */
	CHECK(pthread_getspecific(first) == NULL);
}

static void drop_second(void *value)
{
	atomic_fetch_add(&seconds, (int)(intptr_t)value);
}

static void drop_again(void *value)
{
	atomic_fetch_add(&agains, 1);
	OK(pthread_setspecific(again, value));
}

static void *names_itself(void *name)
{
	CHECK(pthread_getspecific(first) == NULL);
	OK(pthread_setspecific(first, name));
	sched_yield();
	CHECK(pthread_getspecific(first) == name);
	return NULL;
}

static void *counts(void *raw)
{
	OK(pthread_setspecific(second, raw));
	sleep_ms(1);
	CHECK(pthread_getspecific(second) == raw);
	pthread_exit(NULL);
}

static void *sets_again(void *raw)
{
	OK(pthread_setspecific(again, raw));
	return NULL;
}

int main(void)
{
	OK(pthread_key_create(&first, drop_first));
	OK(pthread_key_create(&second, drop_second));
	OK(pthread_key_create(&again, drop_again));
	join(start(names_itself, "one"));
	join(start(names_itself, "two"));
	pthread_t many[100];
	for (intptr_t i = 0; i < 100; i++)
		many[i] = start(counts, (void *)(i + 1));
	for (int i = 0; i < 100; i++)
		join(many[i]);
	printf("second: %d\n", atomic_load(&seconds));
	join(start(sets_again, "again"));
	printf("a destructor that sets again ran %d times\n", atomic_load(&agains));
	OK(pthread_key_delete(first));
	CHECK(pthread_setspecific(first, "deleted") == EINVAL);
	return 0;
}
