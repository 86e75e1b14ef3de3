// select on descriptors above FD_SETSIZE, with sets of the program's own size.
#include "net.h"
#include <sys/resource.h>
#include <sys/select.h>

enum { HIGH = 3000, WORDS = 64 };

static int ends[2];

static void write_one(void *unused)
{
	(void)unused;
	IS(write(ends[1], "x", 1), 1);
}

static void *body(void *unused)
{
	static __thread unsigned long set[WORDS], other[WORDS];
	struct timeval quarter = { 0, 250000 };
	struct ticker ticker;
	char byte;
	(void)unused;
	set[HIGH / 64] = 1UL << (HIGH % 64);
	ticker_start(&ticker);
	IS(select(HIGH + 1, (fd_set *)set, NULL, NULL, &quarter), 0);
	ticker_check(&ticker, "select");
	IS(set[HIGH / 64], 0);
	set[HIGH / 64] = 1UL << (HIGH % 64);
	other[ends[1] / 64] = 0;
	BLOCKS("select", write_one, NULL, 1,
	       select(HIGH + 1, (fd_set *)set, (fd_set *)other, NULL, NULL));
	IS(set[HIGH / 64], 1UL << (HIGH % 64));
	IS(read(HIGH, &byte, 1), 1);
	set[HIGH / 64] = 1UL << (HIGH % 64) | 1UL << (HIGH % 64 + 1);
	FAILS(select(HIGH + 2, (fd_set *)set, NULL, NULL, NULL), EBADF);
	return NULL;
}

int main(void)
{
	struct rlimit limit;
	IS(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
	IS(setrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_cur <= HIGH + 1) {
		puts("too few descriptors here");
		return 0;
	}
	IS(pipe(ends), 0);
	IS(dup2(ends[0], HIGH), HIGH);
	IS(close(ends[0]), 0);
	body(NULL);
	join(start(body, NULL));
	return 0;
}
