// Calls by code made at run time block their thread alone: read, futex, nanosleep, poll, accept.
// guest: set=GEVENT_SHIM_CATCH=1
#include "jit.h"
#include "net.h"
#include <linux/futex.h>
#include <poll.h>

static raw_call *raw;

static void put_byte(void *fd)
{
	IS(write(*(int *)fd, "x", 1), 1);
}

static void put_byte_raw(void *fd)
{
	IS(raw(SYS_write, *(int *)fd, (long)"y", 1, 0, 0, 0), 1);
}

static void set_word(void *word)
{
	atomic_store((atomic_int *)word, 1);
	raw(SYS_futex, (long)word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

static void set_word_through_libc(void *word)
{
	atomic_store((atomic_int *)word, 1);
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

static void *reads_of_its_own(void *fd)
{
	raw_call *own = jit_call();
	char byte = 0;
	IS(own(SYS_read, *(int *)fd, (long)&byte, 1, 0, 0, 0), 1);
	CHECK(byte == 'z');
	return NULL;
}

int main(void)
{
	struct release release;
	struct ticker ticker;
	int ends[2];
	char byte;
	raw = jit_call();
	IS(pipe(ends), 0);

	release_start(&release, put_byte, &ends[1]);
	IS(raw(SYS_read, ends[0], (long)&byte, 1, 0, 0, 0), 1);
	release_check(&release, "read");

	release_start(&release, put_byte_raw, &ends[1]);
	IS(raw(SYS_read, ends[0], (long)&byte, 1, 0, 0, 0), 1);
	release_check(&release, "read, written by the same code");

	struct pollfd ready = { .fd = ends[0], .events = POLLIN };
	release_start(&release, put_byte, &ends[1]);
	IS(raw(SYS_poll, (long)&ready, 1, -1, 0, 0, 0), 1);
	release_check(&release, "poll");
	IS(read(ends[0], &byte, 1), 1);

	atomic_int word = 0;
	release_start(&release, set_word, &word);
	while (!atomic_load(&word))
		raw(SYS_futex, (long)&word, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0);
	release_check(&release, "futex");

	atomic_store(&word, 0);
	release_start(&release, set_word_through_libc, &word);
	while (!atomic_load(&word))
		raw(SYS_futex, (long)&word, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0);
	release_check(&release, "futex, woken through libc");

	struct timespec span = { .tv_nsec = 200 * MS };
	ticker_start(&ticker);
	IS(raw(SYS_nanosleep, (long)&span, 0, 0, 0, 0, 0), 0);
	ticker_check(&ticker, "nanosleep");

	/* Each thread with code of its own, all waiting at once. */
	pthread_t threads[50];
	for (int i = 0; i < 50; i++)
		threads[i] = start(reads_of_its_own, &ends[0]);
	for (int i = 0; i < 50; i++)
		IS(raw(SYS_write, ends[1], (long)"z", 1, 0, 0, 0), 1);
	for (int i = 0; i < 50; i++)
		join(threads[i]);
	puts("all threads have read");
	return 0;
}
