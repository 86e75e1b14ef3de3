/*
 * No address space is left while threads run: calls for many descriptors, locks and children wait
 * and end as ever.
 * guest: limit=60
 */
#include <poll.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <fcntl.h>
#include "guest.h"

enum { THREADS = 40, MANY = 3000 };

static pthread_barrier_t ready, limited;
static int ends[2], locked, again;
static struct pollfd sets[THREADS][MANY];
static atomic_int timed, woken;

static void *polls(void *raw)
{
	struct pollfd *set = raw;
	for (int i = 0; i < MANY; i++)
		set[i] = (struct pollfd){ .fd = ends[0], .events = POLLIN };
	pthread_barrier_wait(&ready);
	pthread_barrier_wait(&limited);
	IS(poll(set, MANY, 20), 0);
	atomic_fetch_add(&timed, 1);
	IS(poll(set, MANY, -1), MANY);
	CHECK(set[0].revents == POLLIN && set[MANY - 1].revents == POLLIN);
	atomic_fetch_add(&woken, 1);
	return NULL;
}

static void *locks(void *unused)
{
	pthread_barrier_wait(&ready);
	pthread_barrier_wait(&limited);
	IS(flock(again, LOCK_EX), 0);
	IS(flock(again, LOCK_UN), 0);
	return unused;
}

static void *forks(void *unused)
{
	pthread_barrier_wait(&ready);
	pthread_barrier_wait(&limited);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0)
		_exit(7);
	int status;
	IS(waitpid(child, &status, 0), child);
	IS(status, 7 << 8);
	return unused;
}

/* Nothing more fits from here on. */
static void use_up(void)
{
	unsigned long pages;
	FILE *file = fopen("/proc/self/statm", "r");
	CHECK(file && fscanf(file, "%lu", &pages) == 1);
	IS(fclose(file), 0);
	struct rlimit limit = { pages * 4096, pages * 4096 };
	IS(setrlimit(RLIMIT_AS, &limit), 0);
}

int main(void)
{
	char name[] = "/tmp/limit.XXXXXX";
	locked = mkstemp(name);
	again = open(name, O_RDWR);
	CHECK(locked >= 0 && again >= 0);
	IS(unlink(name), 0);
	IS(flock(locked, LOCK_EX), 0);
	IS(pipe(ends), 0);
	OK(pthread_barrier_init(&ready, NULL, THREADS + 3));
	OK(pthread_barrier_init(&limited, NULL, THREADS + 3));
	pthread_t threads[THREADS + 2];
	for (int i = 0; i < THREADS; i++)
		threads[i] = start(polls, sets[i]);
	threads[THREADS] = start(locks, NULL);
	threads[THREADS + 1] = start(forks, NULL);
	pthread_barrier_wait(&ready);
	use_up();
	pthread_barrier_wait(&limited);
	while (atomic_load(&timed) < THREADS)
		sleep_ms(1);
	sleep_ms(20);
	IS(write(ends[1], "x", 1), 1);
	IS(flock(locked, LOCK_UN), 0);
	for (int i = 0; i < THREADS + 2; i++)
		join(threads[i]);
	IS(woken, THREADS);
	puts("woken, locked, forked");
	return 0;
}
