/*
 * Every wait that ends at a time of CLOCK_REALTIME, while that clock is set forward and back:
 * the first ends it, the second makes it longer. Waits for a span, and those on other clocks,
 * take no notice.
 * guest: compile=-lrt limit=60
 */
#include "../guest.h"
#include <limits.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* From CLOCK_MONOTONIC to the CLOCK_REALTIME that everybody else relies on. */
static int64_t offset;

static int set_clock(int64_t ns)
{
	struct timespec time = timespec_of(ns);
	return clock_settime(CLOCK_REALTIME, &time);
}

static void step(int64_t ms)
{
	CHECK(set_clock(now_ns(CLOCK_MONOTONIC) + offset + ms * MS) == 0);
}

/* What the waits are for, and nobody gives; all but `joined` and what is shared held by main. */
static struct shared {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	uint32_t word;
} *shared;
static sem_t semaphore;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, inheriting;
static pthread_mutex_t of_cond = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_t joined;
static sem_t end_of_joined;
static mqd_t empty, full;
static uint32_t word, second, owned;

static long futex(void *address, int op, uint32_t value, const struct timespec *until,
		  void *address2, uint32_t value3)
{
	return syscall(SYS_futex, address, op, value, until, address2, value3);
}

static void sleeps(const struct timespec *until)
{
	IS(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, until, NULL), 0);
}

static void sleeps_tai(const struct timespec *until)
{
	int64_t ahead = (now_ns(CLOCK_TAI) - now_ns(CLOCK_REALTIME) + 500 * MS) / (1000 * MS);
	struct timespec same = { until->tv_sec + ahead, until->tv_nsec };
	IS(clock_nanosleep(CLOCK_TAI, TIMER_ABSTIME, &same, NULL), 0);
}

static void semaphores(const struct timespec *until)
{
	FAILS(sem_timedwait(&semaphore, until), ETIMEDOUT);
}

static void mutexes(const struct timespec *until)
{
	IS(pthread_mutex_timedlock(&mutex, until), ETIMEDOUT);
}

static void inheriting_mutexes(const struct timespec *until)
{
	IS(pthread_mutex_timedlock(&inheriting, until), ETIMEDOUT);
}

static void shared_mutexes(const struct timespec *until)
{
	IS(pthread_mutex_timedlock(&shared->mutex, until), ETIMEDOUT);
}

static void conditions(const struct timespec *until)
{
	int result;
	OK(pthread_mutex_lock(&of_cond));
	do
		result = pthread_cond_timedwait(&cond, &of_cond, until);
	while (result == 0);
	IS(result, ETIMEDOUT);
	OK(pthread_mutex_unlock(&of_cond));
}

static void readers(const struct timespec *until)
{
	IS(pthread_rwlock_timedrdlock(&lock, until), ETIMEDOUT);
}

static void writers(const struct timespec *until)
{
	IS(pthread_rwlock_timedwrlock(&lock, until), ETIMEDOUT);
}

static void joins(const struct timespec *until)
{
	IS(pthread_timedjoin_np(joined, NULL, until), ETIMEDOUT);
}

static void receives(const struct timespec *until)
{
	char message[16];
	FAILS(mq_timedreceive(empty, message, sizeof message, NULL, until), ETIMEDOUT);
}

static void sends(const struct timespec *until)
{
	FAILS(mq_timedsend(full, "x", 1, 0, until), ETIMEDOUT);
}

static void words(const struct timespec *until)
{
	FAILS(futex(&word, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 0, until, NULL,
		    FUTEX_BITSET_MATCH_ANY),
	      ETIMEDOUT);
}

static void shared_words(const struct timespec *until)
{
	FAILS(futex(&shared->word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, until, NULL,
		    FUTEX_BITSET_MATCH_ANY),
	      ETIMEDOUT);
}

static void owned_words(const struct timespec *until)
{
	FAILS(futex(&owned, FUTEX_LOCK_PI_PRIVATE, 0, until, NULL, 0), ETIMEDOUT);
}

static void requeued_words(const struct timespec *until)
{
	FAILS(futex(&word, FUTEX_WAIT_REQUEUE_PI_PRIVATE | FUTEX_CLOCK_REALTIME, 0, until, &second, 0),
	      ETIMEDOUT);
}

static void several_words(const struct timespec *until)
{
	struct futex_waitv words[] = {
		{ 0, (uintptr_t)&word, FUTEX_32 | FUTEX_PRIVATE_FLAG, 0 },
		{ 0, (uintptr_t)&second, FUTEX_32 | FUTEX_PRIVATE_FLAG, 0 },
	};
	FAILS(syscall(SYS_futex_waitv, words, 2, 0, until, CLOCK_REALTIME), ETIMEDOUT);
}

/* Linux 6.7; before it, futex(2) is what there is. */
static void newer_words(const struct timespec *until)
{
	long result = syscall(455, &word, 0L, 1L, FUTEX_32 | FUTEX_PRIVATE_FLAG, until, CLOCK_REALTIME);
	if (result == -1 && errno == ENOSYS)
		words(until);
	else
		FAILS(result, errno == ETIMEDOUT ? ETIMEDOUT : 0);
}

struct wait {
	const char *name;
	void (*until)(const struct timespec *);
	struct timespec end;
	int64_t begun, took;
	bool early;
};

static struct wait waits[] = {
	{ .name = "clock_nanosleep", .until = sleeps },
	{ .name = "clock_nanosleep by CLOCK_TAI", .until = sleeps_tai },
	{ .name = "sem_timedwait", .until = semaphores },
	{ .name = "pthread_mutex_timedlock", .until = mutexes },
	{ .name = "the same with PTHREAD_PRIO_INHERIT", .until = inheriting_mutexes },
	{ .name = "the same in shared memory", .until = shared_mutexes },
	{ .name = "pthread_cond_timedwait", .until = conditions },
	{ .name = "pthread_rwlock_timedrdlock", .until = readers },
	{ .name = "pthread_rwlock_timedwrlock", .until = writers },
	{ .name = "pthread_timedjoin_np", .until = joins },
	{ .name = "mq_timedreceive", .until = receives },
	{ .name = "mq_timedsend", .until = sends },
	{ .name = "FUTEX_WAIT_BITSET", .until = words },
	{ .name = "FUTEX_WAIT_BITSET in shared memory", .until = shared_words },
	{ .name = "FUTEX_LOCK_PI", .until = owned_words },
	{ .name = "FUTEX_WAIT_REQUEUE_PI", .until = requeued_words },
	{ .name = "futex_waitv", .until = several_words },
	{ .name = "futex_wait", .until = newer_words },
};

enum { SPAN = 600 }; /* milliseconds */

static void span_sleep(const struct timespec *span)
{
	IS(clock_nanosleep(CLOCK_REALTIME, 0, span, NULL), 0);
}

static void span_nanosleep(const struct timespec *span)
{
	IS(nanosleep(span, NULL), 0);
}

static void span_futex(const struct timespec *span)
{
	FAILS(futex(&word, FUTEX_WAIT_PRIVATE, 0, span, NULL, 0), ETIMEDOUT);
}

static void span_poll(const struct timespec *span)
{
	IS(poll(NULL, 0, (int)(span->tv_nsec / MS)), 0);
}

static void span_select(const struct timespec *span)
{
	IS(pselect(0, NULL, NULL, NULL, span, NULL), 0);
}

static void monotonic_semaphore(const struct timespec *span)
{
	struct timespec until = timespec_of(now_ns(CLOCK_MONOTONIC) + span->tv_nsec);
	FAILS(sem_clockwait(&semaphore, CLOCK_MONOTONIC, &until), ETIMEDOUT);
}

static void boot_sleep(const struct timespec *span)
{
	struct timespec until = timespec_of(now_ns(CLOCK_BOOTTIME) + span->tv_nsec);
	IS(clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &until, NULL), 0);
}

static struct wait spans[] = {
	{ .name = "clock_nanosleep for a span", .until = span_sleep },
	{ .name = "nanosleep", .until = span_nanosleep },
	{ .name = "FUTEX_WAIT", .until = span_futex },
	{ .name = "poll", .until = span_poll },
	{ .name = "pselect", .until = span_select },
	{ .name = "sem_clockwait by CLOCK_MONOTONIC", .until = monotonic_semaphore },
	{ .name = "clock_nanosleep by CLOCK_BOOTTIME", .until = boot_sleep },
};

static pthread_barrier_t begin;

static void *body(void *raw)
{
	struct wait *wait = raw;
	pthread_barrier_wait(&begin);
	wait->begun = now_ns(CLOCK_MONOTONIC);
	wait->until(&wait->end);
	wait->early = now_ns(CLOCK_REALTIME) < wait->end.tv_sec * INT64_C(1000000000) + wait->end.tv_nsec;
	wait->took = now_ns(CLOCK_MONOTONIC) - wait->begun;
	return NULL;
}

/* Starts them all; once they are on their way, gives them the time to get into their calls. */
static void begin_all(struct wait *which, size_t count, struct timespec end, pthread_t *threads)
{
	for (size_t i = 0; i < count; i++) {
		which[i].end = end;
		threads[i] = start(body, &which[i]);
	}
}

static void forward(void)
{
	pthread_t threads[COUNT(waits)], others[COUNT(spans)];
	OK(pthread_barrier_init(&begin, NULL, COUNT(waits) + COUNT(spans) + 1));
	begin_all(waits, COUNT(waits), in_ms(CLOCK_REALTIME, 3000), threads);
	begin_all(spans, COUNT(spans), timespec_of(SPAN * MS), others);
	pthread_barrier_wait(&begin);
	sleep_ms(100);
	step(4000);
	for (size_t i = 0; i < COUNT(waits); i++)
		join(threads[i]);
	step(0);
	for (size_t i = 0; i < COUNT(spans); i++)
		join(others[i]);
	for (size_t i = 0; i < COUNT(waits); i++)
		printf("%s %s\n", waits[i].name,
		       waits[i].took < 2500 * MS ? "ends with a step forward" : "goes on after it");
	for (size_t i = 0; i < COUNT(spans); i++)
		printf("%s %s\n", spans[i].name,
		       spans[i].took >= SPAN * MS ? "takes no notice" : "ends with it");
	OK(pthread_barrier_destroy(&begin));
}

/* False if the machine was so slow that the waits may have been over before the step. */
static bool step_back(void)
{
	pthread_t threads[COUNT(waits)];
	int64_t begun = now_ns(CLOCK_MONOTONIC);
	OK(pthread_barrier_init(&begin, NULL, COUNT(waits) + 1));
	begin_all(waits, COUNT(waits), in_ms(CLOCK_REALTIME, 500), threads);
	pthread_barrier_wait(&begin);
	sleep_ms(50);
	step(-400);
	bool in_time = now_ns(CLOCK_MONOTONIC) - begun < 450 * MS;
	for (size_t i = 0; i < COUNT(waits); i++)
		join(threads[i]);
	step(0);
	OK(pthread_barrier_destroy(&begin));
	return in_time;
}

static void back(void)
{
	for (int tries = 1; !step_back(); tries++)
		CHECK(tries < 10);
	for (size_t i = 0; i < COUNT(waits); i++)
		printf("%s %s\n", waits[i].name,
		       waits[i].early ? "ends too early" : "is longer by a step back");
}

/* Takes and fills all that the others are to wait for. */
static void prepare(void)
{
	pthread_mutexattr_t attributes;
	OK(pthread_mutexattr_init(&attributes));
	OK(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED));
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	OK(pthread_mutex_init(&shared->mutex, &attributes));
	OK(pthread_mutex_lock(&shared->mutex));
	OK(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_PRIVATE));
	OK(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT));
	OK(pthread_mutex_init(&inheriting, &attributes));
	OK(pthread_mutex_lock(&inheriting));
	OK(pthread_mutex_lock(&mutex));
	OK(pthread_rwlock_wrlock(&lock));
	OK(sem_init(&semaphore, 0, 0));
	OK(sem_init(&end_of_joined, 0, 0));
	owned = (uint32_t)gettid();

	struct mq_attr small = { .mq_maxmsg = 1, .mq_msgsize = 16 };
	char name[40];
	for (int i = 0; i < 2; i++) {
		snprintf(name, sizeof name, "/clock_steps.%d.%d", (int)getpid(), i);
		mqd_t queue = mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &small);
		CHECK(queue != (mqd_t)-1);
		CHECK(mq_unlink(name) == 0);
		*(i ? &full : &empty) = queue;
	}
	CHECK(mq_send(full, "x", 1, 0) == 0);
}

static void *waits_for_the_end(void *unused)
{
	CHECK(sem_wait(&end_of_joined) == 0);
	return unused;
}

static void both(void)
{
	joined = start(waits_for_the_end, NULL);
	forward();
	back();
	CHECK(sem_post(&end_of_joined) == 0);
	join(joined);
}

int main(void)
{
	int64_t monotonic = now_ns(CLOCK_MONOTONIC);
	offset = now_ns(CLOCK_REALTIME) - monotonic;
	if (set_clock(now_ns(CLOCK_MONOTONIC) + offset) != 0) {
		printf("the clock cannot be set here: %s\n", strerrorname_np(errno));
		return 0;
	}
	prepare();
	both();
	/* The child's threads have what main has in the child: all of it but the owned words. */
	puts("in a child:");
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		owned = (uint32_t)gettid();
		pthread_mutexattr_t attributes;
		OK(pthread_mutexattr_init(&attributes));
		OK(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT));
		OK(pthread_mutex_init(&inheriting, &attributes));
		OK(pthread_mutex_lock(&inheriting));
		both();
		exit(0);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child);
	IS(status, 0);
	return 0;
}
