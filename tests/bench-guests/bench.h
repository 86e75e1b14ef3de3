/* What the measuring programs share: a clock, and an end on any error. */
#ifndef BENCH_H
#define BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Nanoseconds of the monotonic clock. */
static inline double now_ns(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

/* Ends the program when a pthread function returned an error number. */
static inline void must(const char *what, int error)
{
	if (error != 0) {
		fprintf(stderr, "%s: %s\n", what, strerror(error));
		exit(1);
	}
}

/* The argument at a place, as a positive number. */
static inline long count_argument(int argc, char **argv, int place, long otherwise)
{
	long count = argc > place ? atol(argv[place]) : otherwise;
	if (count <= 0) {
		fprintf(stderr, "%s: argument %d must be a positive number\n", argv[0], place);
		exit(2);
	}
	return count;
}

#endif
