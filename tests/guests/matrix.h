/*
 * A matrix of waiting calls: each blocks one thread for a known time while another ticks, whose
 * longest pause must stay well below that time. A file about a family names its calls in a line
 * "covers:", and a test of the table of calls demands that every call that waits is named.
 */
#ifndef MATRIX_H
#define MATRIX_H

#include <sys/syscall.h>
#include "guest.h"

enum { BLOCK_MS = 300, TRIES = 5 };

struct cell {
	const char *name;
	void (*prepare)(void); /* may be NULL */
	void (*block)(void);
	void (*unblock)(void); /* NULL: the call ends by itself after BLOCK_MS */
};

static atomic_bool cell_done;
static atomic_llong cell_pause;

static void *cell_ticks(void *unused)
{
	int64_t last = now_ns(CLOCK_MONOTONIC);
	while (!atomic_load(&cell_done)) {
		sleep_ms(1);
		int64_t now = now_ns(CLOCK_MONOTONIC);
		if (now - last > atomic_load(&cell_pause))
			atomic_store(&cell_pause, now - last);
		last = now;
	}
	return unused;
}

static void *cell_unblocks(void *raw)
{
	const struct cell *cell = raw;
	sleep_ms(BLOCK_MS);
	cell->unblock();
	return NULL;
}

static bool cell_passes(const struct cell *cell)
{
	pthread_t ticker, other = 0;
	if (cell->prepare)
		cell->prepare();
	atomic_store(&cell_done, false);
	atomic_store(&cell_pause, 0);
	ticker = start(cell_ticks, NULL);
	if (cell->unblock)
		other = start(cell_unblocks, (void *)cell);
	int64_t begun = now_ns(CLOCK_MONOTONIC);
	cell->block();
	int64_t took = now_ns(CLOCK_MONOTONIC) - begun;
	atomic_store(&cell_done, true);
	if (cell->unblock)
		join(other);
	join(ticker);
	return took >= BLOCK_MS * MS * 2 / 3 && atomic_load(&cell_pause) < took / 3;
}

/* A loaded machine may pause the ticker; a call that stops it does so every time. */
UNUSED static void run_cells(const struct cell *cells, size_t count)
{
	for (const struct cell *cell = cells; cell < cells + count; cell++) {
		int tries = 1;
		while (!cell_passes(cell)) {
			if (tries++ == TRIES)
				fail(__FILE__, __LINE__, cell->name, 0);
		}
		printf("%s\n", cell->name);
	}
}

#endif
