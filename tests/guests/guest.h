/* What every guest program shares: checks, names, threads, and a release that proves cooperation. */
#ifndef GUEST_H
#define GUEST_H

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>
#include "older.h"

#define UNUSED __attribute__((unused))
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Ends the process at once and without stdio locks, which may be what is broken. */
UNUSED static void fail(const char *file, int line, const char *what, int error)
{
	char text[512];
	int length = snprintf(text, sizeof text, "%s:%d: check failed: %s (errno %d %s)\n", file, line,
			      what, error, error ? strerrorname_np(error) : "");
	if (write(2, text, (size_t)length) != length)
		_exit(98);
	_exit(99);
}

/* The condition holds, or the program ends. */
#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			fail(__FILE__, __LINE__, #condition, errno);                               \
	} while (0)

/* A call that answers -1 with this errno. */
#define FAILS(call, error)                                                                         \
	do {                                                                                       \
		errno = 0;                                                                         \
		long fails_result = (long)(call);                                                  \
		int fails_error = errno;                                                           \
		if (fails_result != -1 || fails_error != (error))                                  \
			fail(__FILE__, __LINE__, #call " fails with " #error, fails_error);        \
	} while (0)

/* A call that answers exactly this. */
#define IS(call, expected)                                                                         \
	do {                                                                                       \
		long is_expected = (long)(expected);                                               \
		long is_result = (long)(call);                                                     \
		if (is_result != is_expected) {                                                    \
			char is_text[300];                                                         \
			snprintf(is_text, sizeof is_text, "%s is %ld, expected %s = %ld", #call,   \
				 is_result, #expected, is_expected);                               \
			fail(__FILE__, __LINE__, is_text, errno);                                  \
		}                                                                                  \
	} while (0)

/* A pthread call that answers 0 or an error number. */
#define OK(call)                                                                                   \
	do {                                                                                       \
		int ok_error = (call);                                                             \
		if (ok_error)                                                                      \
			fail(__FILE__, __LINE__, #call, ok_error);                                 \
	} while (0)

/* An address nothing is mapped at, that the compiler does not know. */
static void *volatile unmapped UNUSED = (void *)8;

/* A program that is killed, or fails, has said all it had to say. */
__attribute__((constructor)) static void write_whole_lines(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
}

UNUSED static pthread_t start(void *(*body)(void *), void *argument)
{
	pthread_t thread;
	OK(pthread_create(&thread, NULL, body, argument));
	return thread;
}

UNUSED static void *join(pthread_t thread)
{
	void *value = NULL;
	OK(pthread_join(thread, &value));
	return value;
}

/* Lets the harness count our kernel threads. Run by hand, with no socket as stdin, it does nothing. */
UNUSED static void hold(void)
{
	struct stat about;
	char byte = 'H';
	if (fstat(0, &about) == 0 && S_ISSOCK(about.st_mode)) {
		IS(write(0, &byte, 1), 1);
		IS(read(0, &byte, 1), 1);
	}
}

UNUSED static int64_t now_ns(clockid_t clock)
{
	struct timespec time;
	CHECK(clock_gettime(clock, &time) == 0);
	return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

UNUSED static struct timespec timespec_of(int64_t ns)
{
	return (struct timespec){ .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
}

#define MS INT64_C(1000000)

UNUSED static struct timespec in_ms(clockid_t clock, int64_t ms)
{
	return timespec_of(now_ns(clock) + ms * MS);
}

UNUSED static void sleep_ms(int64_t ms)
{
	struct timespec left = timespec_of(ms * MS);
	while (nanosleep(&left, &left) != 0)
		CHECK(errno == EINTR);
}

/*
 * A release: a thread that sleeps 1 ms RELEASE_TICKS times and then lets another thread go on. A
 * call that stops the whole process never lets it get there, and the time limit ends the test; a
 * call that does not block returns before the ticks are over. Neither depends on the machine's load.
 */
enum { RELEASE_TICKS = 20 };

struct release {
	void (*action)(void *);
	void *argument;
	pthread_t thread;
	atomic_int ticks;
};

UNUSED static void *release_body(void *raw)
{
	struct release *release = raw;
	for (int i = 0; i < RELEASE_TICKS; i++) {
		sleep_ms(1);
		atomic_fetch_add(&release->ticks, 1);
	}
	release->action(release->argument);
	return NULL;
}

UNUSED static void release_start(struct release *release, void (*action)(void *), void *argument)
{
	release->action = action;
	release->argument = argument;
	atomic_init(&release->ticks, 0);
	release->thread = start(release_body, release);
}

/* To be called as soon as the blocking call is back. */
UNUSED static void release_check(struct release *release, const char *call)
{
	int ticks = atomic_load(&release->ticks);
	join(release->thread);
	if (ticks != RELEASE_TICKS) {
		char text[200];
		snprintf(text, sizeof text, "%s came back after %d of %d ticks", call, ticks,
			 RELEASE_TICKS);
		fail(__FILE__, __LINE__, text, 0);
	}
	printf("%s blocks alone\n", call);
}

/* A ticker, for calls that end by themselves: a thread that counts its sleeps of 1 ms. */
struct ticker {
	pthread_t thread;
	atomic_int ticks;
	atomic_bool stop;
};

UNUSED static void *ticker_body(void *raw)
{
	struct ticker *ticker = raw;
	while (!atomic_load(&ticker->stop)) {
		sleep_ms(1);
		atomic_fetch_add(&ticker->ticks, 1);
	}
	return NULL;
}

UNUSED static void ticker_start(struct ticker *ticker)
{
	atomic_init(&ticker->ticks, 0);
	atomic_init(&ticker->stop, false);
	ticker->thread = start(ticker_body, ticker);
}

/* The ticker went on while `call` was blocked, for 200 ms or longer. */
UNUSED static void ticker_check(struct ticker *ticker, const char *call)
{
	int ticks = atomic_load(&ticker->ticks);
	atomic_store(&ticker->stop, true);
	join(ticker->thread);
	if (ticks < 5) {
		char text[200];
		snprintf(text, sizeof text, "%s: only %d ticks meanwhile", call, ticks);
		fail(__FILE__, __LINE__, text, 0);
	}
	printf("%s sleeps alone\n", call);
}

#endif
