// Create and join: the value comes back, from return and from pthread_exit.
#include "guest.h"

static void *returns(void *argument)
{
	return (char *)argument + 1;
}

static void *exits(void *argument)
{
	pthread_exit((char *)argument + 2);
}

int main(void)
{
	char base[4];
	pthread_t one = start(returns, base), two = start(exits, base);
	CHECK(!pthread_equal(one, two));
	CHECK(join(one) == base + 1);
	CHECK(join(two) == base + 2);

	uintptr_t sum = 0;
	pthread_t many[100];
	for (uintptr_t i = 0; i < COUNT(many); i++)
		many[i] = start(returns, (void *)i);
	for (size_t i = COUNT(many); i-- > 0;)
		sum += (uintptr_t)join(many[i]);
	printf("sum %lu\n", (unsigned long)sum);
	return 0;
}
