// A thread parked in getc holds its stream's lock; others print, and flush their own streams.
#include "guest.h"

static FILE *parked_stream;
static int ends[2];

static void *gets_character(void *unused)
{
	(void)unused;
	return (void *)(intptr_t)getc(parked_stream);
}

static void *gets_line(void *unused)
{
	char line[64];
	(void)unused;
	/* Waits for the stream's lock, which the first reader holds while it is parked. */
	CHECK(fgets(line, sizeof line, parked_stream) != NULL);
	CHECK(!strcmp(line, "est\n"));
	return NULL;
}

static void *prints(void *raw)
{
	for (int i = 0; i < 200; i++) {
		printf("thread %ld line %d\n", (long)(intptr_t)raw, i);
		if (i % 50 == 0) {
			fflush(stdout);
			sched_yield();
		}
	}
	return NULL;
}

int main(void)
{
	pthread_t printers[4];
	char *text;
	size_t length;
	IS(pipe(ends), 0);
	parked_stream = fdopen(ends[0], "r");
	CHECK(parked_stream != NULL);
	pthread_t reader = start(gets_character, NULL);
	while (ftrylockfile(parked_stream) == 0) { /* until the reader holds it */
		funlockfile(parked_stream);
		sleep_ms(1);
	}
	pthread_t next = start(gets_line, NULL);
	FILE *saved = stdout;
	FILE *memory = open_memstream(&text, &length);
	CHECK(memory != NULL);
	stdout = memory;
	for (intptr_t i = 0; i < 4; i++)
		printers[i] = start(prints, (void *)i);
	for (int i = 0; i < 4; i++)
		join(printers[i]);
	fclose(memory);
	stdout = saved;
	int lines = 0;
	for (size_t i = 0; i < length; i++)
		lines += text[i] == '\n';
	free(text);
	printf("%d whole lines\n", lines);
	fflush(stdout);
	IS(write(ends[1], "rest\n", 5), 5);
	printf("getc gave %c\n", (char)(intptr_t)join(reader));
	join(next);
	return 0;
}
