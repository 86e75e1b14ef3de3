// All of libc's thread-specific keys are the program's, before it makes a thread and after.
#include "guest.h"
#include <limits.h>

static pthread_key_t keys[PTHREAD_KEYS_MAX + 1];

/* How many there are, which are all had then. */
static int take_all(void)
{
	int count = 0;
	while (count <= PTHREAD_KEYS_MAX && pthread_key_create(&keys[count], NULL) == 0)
		count++;
	return count;
}

static void *uses(void *raw)
{
	for (int i = 0; i < PTHREAD_KEYS_MAX; i++)
		OK(pthread_setspecific(keys[i], (char *)raw + i));
	sleep_ms(1);
	for (int i = 0; i < PTHREAD_KEYS_MAX; i++)
		CHECK(pthread_getspecific(keys[i]) == (char *)raw + i);
	return NULL;
}

int main(void)
{
	IS(take_all(), PTHREAD_KEYS_MAX);
	static char values[2][PTHREAD_KEYS_MAX];
	pthread_t one = start(uses, values[0]), two = start(uses, values[1]);
	join(one);
	join(two);
	for (int i = 0; i < PTHREAD_KEYS_MAX; i++)
		OK(pthread_key_delete(keys[i]));
	IS(take_all(), PTHREAD_KEYS_MAX);
	printf("%d keys\n", PTHREAD_KEYS_MAX);
	return 0;
}
