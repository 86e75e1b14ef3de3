// Writes larger than a pipe's buffer arrive whole and in order; small writes are not torn.
#include "guest.h"

enum { LARGE = 3 << 20, WRITERS = 8, RECORDS = 400, RECORD = 512 };

static int ends[2];

static void *writes_large(void *raw)
{
	IS(write(ends[1], raw, LARGE), LARGE);
	close(ends[1]);
	return NULL;
}

static void *writes_records(void *raw)
{
	char record[RECORD];
	memset(record, 'a' + (int)(intptr_t)raw, sizeof record);
	for (int i = 0; i < RECORDS; i++)
		IS(write(ends[1], record, sizeof record), RECORD);
	return NULL;
}

int main(void)
{
	unsigned char *text = malloc(LARGE), *back = malloc(LARGE);
	for (int i = 0; i < LARGE; i++)
		text[i] = (unsigned char)(i * 31 >> 8);
	IS(pipe(ends), 0);
	pthread_t writer = start(writes_large, text);
	size_t total = 0;
	ssize_t length;
	while ((length = read(ends[0], back + total, LARGE - total)) > 0)
		total += (size_t)length;
	join(writer);
	close(ends[0]);
	CHECK(total == LARGE && !memcmp(text, back, LARGE));
	puts("3 MiB in one write");

	IS(pipe(ends), 0);
	pthread_t writers[WRITERS];
	int seen[WRITERS] = { 0 };
	for (intptr_t i = 0; i < WRITERS; i++)
		writers[i] = start(writes_records, (void *)i);
	for (int i = 0; i < WRITERS * RECORDS; i++) {
		char record[RECORD];
		size_t have = 0;
		while (have < RECORD) {
			length = read(ends[0], record + have, RECORD - have);
			CHECK(length > 0);
			have += (size_t)length;
		}
		for (int j = 1; j < RECORD; j++)
			CHECK(record[j] == record[0]);
		seen[record[0] - 'a']++;
	}
	for (int i = 0; i < WRITERS; i++) {
		join(writers[i]);
		CHECK(seen[i] == RECORDS);
	}
	puts("records whole");
	free(text);
	free(back);
	return 0;
}
