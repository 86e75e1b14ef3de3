// FUTEX_WAKE_OP: changes the second word, wakes the first, and the second when the comparison holds.
#include "futex.h"

static uint32_t one, two;

static void *waits(void *raw)
{
	uint32_t *word = raw;
	IS(futex(word, FUTEX_WAIT_PRIVATE, __atomic_load_n(word, __ATOMIC_SEQ_CST), NULL, NULL, 0), 0);
	return NULL;
}

static void asleep(uint32_t *word)
{
	while (futex(word, FUTEX_CMP_REQUEUE_PRIVATE, 0, (void *)1, word, *word) != 1)
		sleep_ms(1);
}

static long operate(int operation, int argument, int compare, int with)
{
	return futex(&one, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &two,
		     (uint32_t)FUTEX_OP(operation, argument, compare, with));
}

int main(void)
{
	pthread_t first, second;
	two = 5;
	first = start(waits, &one);
	second = start(waits, &two);
	asleep(&one);
	asleep(&two);
	IS(operate(FUTEX_OP_SET, 9, FUTEX_OP_CMP_EQ, 4), 1); /* 5 is not 4: the second sleeps on */
	IS(two, 9);
	join(first);
	first = start(waits, &one);
	asleep(&one);
	IS(operate(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_GE, 9), 2);
	IS(two, 10);
	join(first);
	join(second);
	IS(operate(FUTEX_OP_OR, 5, FUTEX_OP_CMP_NE, 0), 0);
	IS(two, 15);
	IS(operate(FUTEX_OP_ANDN, 3, FUTEX_OP_CMP_LT, 0), 0);
	IS(two, 12);
	IS(operate(FUTEX_OP_XOR, 10, FUTEX_OP_CMP_GT, 0), 0);
	IS(two, 6);
	IS(operate(FUTEX_OP_SET | FUTEX_OP_OPARG_SHIFT, 4, FUTEX_OP_CMP_LE, 0), 0);
	IS(two, 16);
	FAILS(operate(FUTEX_OP_SET, 0, 9, 0), ENOSYS);
	puts("every operation");
	return 0;
}
