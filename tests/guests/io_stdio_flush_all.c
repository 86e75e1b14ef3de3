// fflush(NULL) waits for a stream whose lock a parked reader holds, and for nothing else.
#include "guest.h"

static FILE *stream;
static int ends[2];

static void *gets_character(void *unused)
{
	(void)unused;
	return (void *)(intptr_t)getc(stream);
}

static void let_go(void *unused)
{
	(void)unused;
	IS(write(ends[1], "x", 1), 1);
}

int main(void)
{
	struct release release;
	IS(pipe(ends), 0);
	stream = fdopen(ends[0], "r+");
	if (stream == NULL)
		stream = fdopen(ends[0], "r");
	CHECK(stream != NULL);
	pthread_t reader = start(gets_character, NULL);
	while (ftrylockfile(stream) == 0) {
		funlockfile(stream);
		sleep_ms(1);
	}
	release_start(&release, let_go, NULL);
	IS(fflush(NULL), 0);
	join(reader);
	/* Whether fflush itself had to wait is the C library's choice; the reader had to. */
	release_check(&release, "getc");
	return 0;
}
