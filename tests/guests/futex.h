/* Raw futex calls, for the programs about them. */
#ifndef FUTEX_H
#define FUTEX_H

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "guest.h"

UNUSED static long futex(uint32_t *word, int operation, uint32_t value, const void *timeout,
			 uint32_t *other, uint32_t value3)
{
	return syscall(SYS_futex, word, operation, value, timeout, other, value3);
}

/* Wakes `count` waiters of `word`, retrying until that many are asleep there. */
UNUSED static void wake_exactly(uint32_t *word, int count)
{
	while (count > 0) {
		long woken = futex(word, FUTEX_WAKE_PRIVATE, (uint32_t)count, NULL, NULL, 0);
		CHECK(woken >= 0 && woken <= count);
		count -= (int)woken;
		if (count)
			sleep_ms(1);
	}
}

#endif
