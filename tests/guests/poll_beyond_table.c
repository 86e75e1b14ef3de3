// select looks at no descriptor beyond the process's table: what the sets say there is not read, is not wrong, and stays.
// guest: limit=60
#include "guest.h"
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>

enum { SETS = 4096, WORDS = SETS / 64 };

static int ends[2];

static void one(const char *name, int n, int fd, int beyond, int timeout)
{
	static __thread unsigned long set[WORDS];
	struct timeval time = { 0, timeout };
	memset(set, 0, sizeof set);
	if (fd >= 0)
		set[fd / 64] |= 1UL << (fd % 64);
	set[beyond / 64] |= 1UL << (beyond % 64);
	errno = 0;
	int result = select(n, (fd_set *)set, NULL, NULL, timeout < 0 ? NULL : &time);
	printf("%s: %d %s, bit %d\n", name, result, result < 0 ? strerrorname_np(errno) : "",
	       (int)(set[beyond / 64] >> (beyond % 64) & 1));
}

/* A set at the end of its memory, which ends with the table's part of it. */
static void at_the_end(void)
{
	char *memory = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED);
	IS(munmap(memory + 4096, 4096), 0);
	for (int bytes = 128; bytes <= 512; bytes *= 2) {
		struct timeval time = { 0, 1000 };
		fd_set *set = (fd_set *)(memory + 4096 - bytes);
		memset(set, 0, (size_t)bytes);
		IS(select(SETS, set, NULL, NULL, &time), 0);
	}
	struct timeval time = { 0, 1000 };
	FAILS(select(SETS, (fd_set *)(memory + 4096 - 8), NULL, NULL, &time), EFAULT);
	IS(munmap(memory, 4096), 0);
}

static void *body(void *unused)
{
	one("nobody is ready", SETS, -1, 1500, 1000);
	one("one is ready", SETS, ends[0], 1500, 1000);
	one("one is ready, for ever", SETS, ends[0], 3000, -1);
	one("in the table", SETS, ends[0], 900, 1000);
	one("its last", 1025, ends[0], 1023, 0);
	one("the first beyond it", 1025, ends[0], 1024, 0);
	at_the_end();
	puts("at the end of its memory");
	return unused;
}

int main(void)
{
	struct rlimit limit;
	IS(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max < SETS ? limit.rlim_max : SETS;
	IS(setrlimit(RLIMIT_NOFILE, &limit), 0);
	IS(pipe(ends), 0);
	IS(write(ends[1], "x", 1), 1);
	/* The table holds 1,024 from here on, whoever started this. */
	IS(dup2(ends[0], 700), 700);
	IS(close(700), 0);
	join(start(body, NULL));
	IS(dup2(ends[0], 701), 701);
	body(NULL);
	return 0;
}
