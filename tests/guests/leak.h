/* What a process holds: descriptors, mappings, resident memory; and that it comes back to what it was. */
#ifndef LEAK_H
#define LEAK_H

#include "guest.h"
#include <dirent.h>

struct held {
	int descriptors, mappings;
	long resident_kib;
};

UNUSED static struct held what_is_held(void)
{
	struct held held = { 0 };
	DIR *descriptors = opendir("/proc/self/fd");
	CHECK(descriptors);
	while (readdir(descriptors))
		held.descriptors++;
	IS(closedir(descriptors), 0);
	FILE *file = fopen("/proc/self/maps", "r");
	CHECK(file);
	for (int byte; (byte = getc(file)) != EOF;)
		held.mappings += byte == '\n';
	IS(fclose(file), 0);
	long pages[2];
	file = fopen("/proc/self/statm", "r");
	CHECK(file);
	IS(fscanf(file, "%ld %ld", &pages[0], &pages[1]), 2);
	IS(fclose(file), 0);
	held.resident_kib = pages[1] * 4;
	return held;
}

/* Mappings that may come and go: heaps of malloc's, stacks that are kept or of helpers. */
#define MAPPINGS_MORE 48
/* What a thousand leaked records or kilobytes would exceed. */
#define RESIDENT_MORE_KIB 768

/*
 * Runs `work` until it has had all it keeps, then `rounds` times, and compares what is held.
 */
UNUSED static void leaks_nothing(const char *what, void (*work)(void), int rounds)
{
	for (int i = 0; i < 3; i++)
		work();
	struct held before = what_is_held();
	for (int i = 0; i < rounds; i++)
		work();
	struct held after = what_is_held();
	/* What is handed over, or closed by a helper, may end a moment later. */
	for (int i = 0; i < 200 && after.descriptors > before.descriptors; i++) {
		sleep_ms(5);
		after = what_is_held();
	}
	if (after.descriptors > before.descriptors || after.mappings > before.mappings + MAPPINGS_MORE ||
	    after.resident_kib > before.resident_kib + RESIDENT_MORE_KIB) {
		char text[200];
		snprintf(text, sizeof text, "%s: %d descriptors were %d, %d mappings were %d, %ld KiB were %ld", what,
			 after.descriptors, before.descriptors, after.mappings, before.mappings, after.resident_kib,
			 before.resident_kib);
		fail(__FILE__, __LINE__, text, 0);
	}
	printf("%s\n", what);
}

#endif
