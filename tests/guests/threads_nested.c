// Threads that create threads, five deep, each joined by its parent or by another.
#include "guest.h"

static void *tree(void *raw)
{
	intptr_t depth = (intptr_t)raw;
	if (depth == 0)
		return (void *)1;
	pthread_t left = start(tree, (void *)(depth - 1));
	pthread_t right = start(tree, (void *)(depth - 1));
	return (void *)((intptr_t)join(left) + (intptr_t)join(right) + 1);
}

static pthread_t grandchild;

static void *makes_and_leaves(void *argument)
{
	grandchild = start(tree, argument);
	return NULL;
}

int main(void)
{
	printf("tree of %ld\n", (long)join(start(tree, (void *)5)));
	join(start(makes_and_leaves, (void *)3));
	printf("grandchild's tree of %ld\n", (long)join(grandchild));
	return 0;
}
